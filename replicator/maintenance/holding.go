package maintenance

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"drp/replicator"
)

// order is how objects are taken away: what promises others goes before them. Back they come the other way round.
var order = []string{"snapshots", "index", "data", "keys", configName}

const configName = "config"

// classOf is the first part of a name below a repository.
func classOf(name string) string {
	class, _, _ := strings.Cut(name, "/")
	return class
}

// holding is what a store lists of one repository, by name below it.
type holding struct {
	objects map[string]replicator.Object // without locks and what is strange
	locks   []replicator.Object
	config  bool
	since   time.Time // when the config was written here
}

// hold lists a repository. It is complete or an error.
func hold(ctx context.Context, s *replicator.Store, account string) (*holding, error) {
	list, err := s.List(ctx, account+"/")
	if err != nil {
		return nil, err
	}
	h := &holding{objects: make(map[string]replicator.Object, len(list))}
	for _, o := range list {
		name := strings.TrimPrefix(o.Key, account+"/")
		switch _, named := replicator.Named(name); {
		case named:
			h.objects[name] = o
		case name == configName:
			h.config, h.since = true, o.Modified
		case classOf(name) == "locks":
			h.locks = append(h.locks, o)
		}
	}
	return h, nil
}

func (h *holding) has(name string) bool {
	_, ok := h.objects[name]
	return ok
}

func (h *holding) count(class string) (n int) {
	for name := range h.objects {
		if classOf(name) == class {
			n++
		}
	}
	return n
}

// snapshots are their ids.
func (h *holding) snapshots() map[string]bool {
	ids := make(map[string]bool)
	for name := range h.objects {
		if id, ok := strings.CutPrefix(name, "snapshots/"); ok {
			ids[id] = true
		}
	}
	return ids
}

// bytes is the size of all packs.
func (h *holding) bytes() (sum int64) {
	for name, o := range h.objects {
		if classOf(name) == "data" {
			sum += o.Size
		}
	}
	return sum
}

// whole refuses what cannot be a whole repository: a listing may be wrong, a disk not mounted.
func (h *holding) whole() error {
	switch {
	case !h.config:
		return errors.New("it has no config")
	case h.count("keys") == 0:
		return errors.New("it has no key")
	case h.count("snapshots") == 0:
		return errors.New("it lists no snapshot")
	case h.count("index") == 0 || h.count("data") == 0:
		return errors.New("it has snapshots and no index or no data")
	}
	return nil
}

// staleLock is after how long without being renewed the owner of a lock is dead: restic renews it every 5 minutes.
const staleLock = 30 * time.Minute

// unlock removes locks whose owners are dead. The leader says that nothing runs for this account, by giving the job; a
// younger lock says otherwise, and is believed.
func (k *Keeper) unlock(ctx context.Context, h *holding) error {
	if err := k.quiet(ctx, h); err != nil {
		return err
	}
	for _, l := range h.locks {
		if err := k.Store.Discard(ctx, l.Key); err != nil {
			return err
		}
	}
	return nil
}

type configMark struct {
	SHA256 string    `json:"sha256"`
	At     time.Time `json:"at"` // first seen
}

// CheckConfig holds an account's config against what it was when this site first looked at it. A repository's config
// never changes.
func (k *Keeper) CheckConfig(ctx context.Context, account string) error {
	key := account + "/config"
	list, err := k.Store.List(ctx, key)
	if err != nil {
		return err
	}
	for _, o := range list {
		if o.Key != key {
			continue
		}
		sum, err := k.Store.Sum(ctx, key, o.Size)
		if err != nil {
			return err
		}
		mark, at := configMark{}, replicator.MarkRoot+account+"/config.json"
		known, err := k.getJSON(ctx, at, &mark)
		if err != nil {
			return err
		}
		if got := hex.EncodeToString(sum[:]); !known {
			return k.putJSON(ctx, at, configMark{SHA256: got, At: k.now().UTC()})
		} else if got != mark.SHA256 {
			return fmt.Errorf("compare %s/%s: %w since %s", k.Store, key, replicator.ErrConfigDiffers, mark.At.Format(time.DateTime))
		}
		return nil
	}
	return fmt.Errorf("read %s/%s: %w", k.Store, key, replicator.ErrNotFound)
}

// Lost are those of the snapshots known that are not here. Over are others of these: a list of tombstones here names them, and so
// nothing brings them back. Whoever knows them to stay is behind the times, or who wrote that list had no right to.
func (k *Keeper) Lost(ctx context.Context, account string, known []string) (lost, over []string, err error) {
	if len(known) == 0 {
		return nil, nil, nil
	}
	list, err := k.Store.List(ctx, account+"/snapshots/")
	if err != nil {
		return nil, nil, err
	}
	here := make(map[string]bool, len(list))
	for _, o := range list {
		here[path.Base(o.Key)] = true
	}
	gone := slices.DeleteFunc(slices.Clone(known), func(id string) bool { return here[id] })
	if len(gone) == 0 {
		return nil, nil, nil
	}
	named, err := k.named(ctx, account)
	if err != nil {
		return nil, nil, err
	}
	for _, id := range gone {
		if named["snapshots/"+id] {
			over = append(over, id)
		} else {
			lost = append(lost, id)
		}
	}
	return lost, over, nil
}
