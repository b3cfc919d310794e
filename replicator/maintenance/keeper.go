package maintenance

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"

	"drp/replicator"
	"drp/replicator/gateway"
	"drp/replicator/restic"
)

// DefaultGrace is how long what was deleted is kept, and DefaultBrake the percentage that may go.
const (
	DefaultGrace = 7 * 24 * time.Hour
	DefaultBrake = 50
)

// Tool is restic, or what a test has in its place. The repository is reached through a door of ours.
type Tool interface {
	Forget(ctx context.Context, repo restic.Repository, ids []string) error
	Prune(ctx context.Context, repo restic.Repository) error
	Check(ctx context.Context, repo restic.Repository, o restic.CheckOptions) error
}

// Keeper looks after the repositories of one site. Store and, for Run, Tool are needed. Of one account only one of its
// methods may run at a time, and no pass beside it; backups may.
type Keeper struct {
	Site  string
	Store *replicator.Store // with the key that writes
	Tool  Tool
	Grace time.Duration // DefaultGrace when zero
	// Brake is how many percent of an account's snapshots may go within the grace, and how many of its bytes in a run in which
	// no snapshot goes. DefaultBrake when zero.
	Brake int
	// Erasures is how many accounts may begin to be erased within a day. DefaultErasures when zero, none at all when negative.
	Erasures int
	Scratch  string           // where the door's socket lies; empty: the system's
	Now      func() time.Time // time.Now when nil
	Log      *slog.Logger

	brakes sync.Mutex    // of the list of erasures that have begun
	door   gateway.Store // set by tests
}

func (k *Keeper) now() time.Time {
	if k.Now != nil {
		return k.Now()
	}
	return time.Now()
}

func (k *Keeper) grace() time.Duration { return cmp.Or(k.Grace, DefaultGrace) }
func (k *Keeper) brake() int           { return cmp.Or(k.Brake, DefaultBrake) }

func (k *Keeper) log(account string) *slog.Logger {
	return cmp.Or(k.Log, slog.New(slog.DiscardHandler)).With("account", account)
}

const (
	completeName = "complete.json"
	locksFolder  = "locks/"
)

// accountForm is that of the name of a repository: ACCOUNT, or ACCOUNT~N of a later one of the account.
var accountForm = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}(~[1-9][0-9]{0,8})?$`)

// checkAccount refuses a name that would lead elsewhere: it comes from the leader.
func checkAccount(account string) error {
	if !accountForm.MatchString(account) {
		return fmt.Errorf("%q is no name of an account", account)
	}
	return nil
}

// newRun names a run: in the order of time, and never twice.
func (k *Keeper) newRun(epoch uint64) string {
	return fmt.Sprintf("%d-%s-%s", epoch, k.now().UTC().Format("20060102T150405"), strings.ToLower(rand.Text()[:10]))
}

// putJSON writes one of our own objects.
func (k *Keeper) putJSON(ctx context.Context, key string, v any) error {
	content, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write %s: %w", key, err)
	}
	_, err = k.Store.Put(ctx, key, content, sha256.Sum256(content))
	return err
}

// mostJSON is more than a list of a million names takes.
const mostJSON = 128 << 20

// read returns a small object; ErrNotFound only from a store whose bucket is there.
func read(ctx context.Context, s *replicator.Store, key string) ([]byte, error) {
	list, err := s.List(ctx, key)
	if err != nil {
		return nil, err
	}
	for _, o := range list {
		if o.Key != key {
			continue
		}
		if o.Size > mostJSON {
			return nil, fmt.Errorf("read %s/%s: %d bytes are too many", s, key, o.Size)
		}
		return s.Get(ctx, key, o.Size)
	}
	return nil, fmt.Errorf("read %s/%s: %w", s, key, replicator.ErrNotFound)
}

// getJSON reports whether there is one.
func (k *Keeper) getJSON(ctx context.Context, key string, v any) (bool, error) {
	content, err := read(ctx, k.Store, key)
	if errors.Is(err, replicator.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(content, v); err != nil {
		return false, fmt.Errorf("read %s/%s: %w", k.Store, key, err)
	}
	return true, nil
}
