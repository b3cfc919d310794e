package maintenance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"drp/replicator"
)

// erasing is the mark of an account that is to be erased here, from the first look until nothing is left.
type erasing struct {
	Account      string    `json:"account"`
	Since        time.Time `json:"since,omitzero"` // asked for ever since; zero: it was taken back
	Began        time.Time `json:"began,omitzero"` // to be deleted; zero: it waits
	Repositories []string  `json:"repositories,omitempty"`
	// As many as will have been deleted when this is over: written before the first of them goes, so that whoever goes on
	// after a crash knows them.
	Objects int64 `json:"objects"`
	Bytes   int64 `json:"bytes"`

	marked time.Time // when the mark was written, by the store's clock
}

// erasedMark stays for good.
type erasedMark struct {
	Account      string    `json:"account"`
	Repositories []string  `json:"repositories,omitempty"`
	Objects      int64     `json:"objects"`
	Bytes        int64     `json:"bytes"`
	Empty        time.Time `json:"empty"` // when nothing was listed any more
}

func erasingKey(account string) string { return replicator.ErasingRoot + account + ".json" }
func erasedKey(account string) string  { return replicator.ErasedRoot + account + ".json" }

func accountOfMark(key string) (string, bool) {
	account, ok := strings.CutSuffix(strings.TrimPrefix(key, replicator.ErasingRoot), ".json")
	return account, ok && accountName.MatchString(account)
}

// errNoMark: what lies in the place of a mark.
var errNoMark = errors.New("no mark")

// erasing reads an account's mark; one that was never asked for is zero but for its name.
func (k *Keeper) erasing(ctx context.Context, account string) (*erasing, error) {
	m := &erasing{Account: account}
	key := erasingKey(account)
	list, err := k.Store.List(ctx, key)
	if err != nil {
		return nil, err
	}
	for _, o := range list {
		if o.Key != key {
			continue
		}
		content, err := k.Store.Get(ctx, key, o.Size)
		if err != nil {
			return nil, err
		}
		*m = erasing{marked: o.Modified}
		if err := json.Unmarshal(content, m); err != nil || m.Account != account {
			return nil, fmt.Errorf("read %s/%s: it is %w of account %s: remove it by hand, and the wait begins anew", k.Store, key, errNoMark, account)
		}
	}
	return m, nil
}

func (m *erasing) erasure() Erasure {
	return Erasure{Repositories: m.Repositories, Objects: m.Objects, Bytes: m.Bytes}
}

// without is the same while what was found is still there.
func (m *erasing) without(found *remains) Erasure {
	e := m.erasure()
	if objects, bytes := found.objects(); !m.Began.IsZero() {
		e.Objects, e.Bytes = max(0, e.Objects-objects), max(0, e.Bytes-bytes)
	}
	return e
}

// unknown is the same while nobody can say what is still there.
func (m *erasing) unknown() Erasure { return Erasure{Repositories: m.Repositories} }

// add takes over what was deleted before.
func (m *erasing) add(done erasedMark) {
	m.Objects, m.Bytes = max(m.Objects, done.Objects), max(m.Bytes, done.Bytes)
	m.Repositories = merge(m.Repositories, done.Repositories)
}

// wait writes down that an erasure is asked for from now on.
func (k *Keeper) wait(ctx context.Context, m *erasing) error {
	found, err := k.find(ctx, m.Account)
	if err != nil {
		return err
	}
	m.Repositories = merge(m.Repositories, found.repositories())
	if err := k.sinceNow(ctx, m); err != nil {
		return err
	}
	k.log(m.Account).Warn("an account is to be erased: the wait of this site's grace begins", "grace", k.grace(), "repositories", m.Repositories)
	return nil
}

func (k *Keeper) sinceNow(ctx context.Context, m *erasing) error {
	m.Since = k.now().UTC()
	if err := k.putJSON(ctx, erasingKey(m.Account), m); err != nil {
		return err
	}
	// Its age by the store's clock is not known until the next look; by this machine's it is none.
	m.marked = time.Time{}
	return nil
}

// waits tells until when nothing may be deleted; the zero time: the grace is over, by both clocks. A mark from a time that
// has yet to come was dated by a clock that was wrong: nobody can say how old it is, and the wait begins anew.
func (k *Keeper) waits(ctx context.Context, m *erasing) (until time.Time, err error) {
	now := k.now()
	anew := m.Since.After(now)
	if !anew {
		if age := now.Sub(m.Since); age < k.grace() {
			return now.Add(k.grace() - age), nil
		}
		theirs, err := k.storeNow(ctx)
		if err != nil {
			return time.Time{}, err
		}
		if m.marked.IsZero() {
			return time.Time{}, fmt.Errorf("erase account %s: %s does not say when an object was written", m.Account, k.Store)
		}
		anew = m.marked.After(theirs.Add(rounding))
		if age := theirs.Sub(m.marked); !anew && age < k.grace() {
			return now.Add(k.grace() - age), nil
		}
	}
	if !anew {
		return time.Time{}, nil
	}
	k.log(m.Account).Warn("the wait before an erasure begins anew: its mark bears a time that has yet to come, so a clock was wrong",
		"since", m.Since, "store_time", m.marked)
	if err := k.sinceNow(ctx, m); err != nil {
		return time.Time{}, err
	}
	return now.Add(k.grace()), nil
}

// begunKey lists the accounts of which the deletion has begun within the last day. No account's name begins with a dot.
const begunKey = replicator.ErasingRoot + ".begun.json"

// brakeSpan is what Keeper.Erasures counts in.
const brakeSpan = 24 * time.Hour

type begun struct {
	Account string    `json:"account"`
	At      time.Time `json:"at"`    // by the worker's clock
	Store   time.Time `json:"store"` // and by the store's
}

// age is the smaller one of those that the clocks say. One that was ahead when it was written says nothing; when both were, it
// is as if it had begun now.
func (b *begun) age(mine, theirs time.Time) time.Duration {
	a, s := mine.Sub(b.At), theirs.Sub(b.Store)
	switch {
	case a < 0 && s < 0:
		b.At, b.Store = mine.UTC(), theirs
		return 0
	case a < 0:
		return s
	case s < 0:
		return a
	}
	return min(a, s)
}

// ErasureBrakeError says that more accounts were to be erased within a day than this site's configuration allows.
type ErasureBrakeError struct {
	Account string
	Allowed int
	Next    time.Time // when one more may; zero: never
}

func (e *ErasureBrakeError) Error() string {
	if e.Allowed == 0 {
		return fmt.Sprintf("account %s waits: this site erases none at all (erasures: 0 in the configuration of its worker)", e.Account)
	}
	return fmt.Sprintf("account %s waits: the erasure of %d accounts has begun here within a day, and no more may (erasures in the configuration of this site's worker); the next may from %s",
		e.Account, e.Allowed, e.Next.UTC().Format(time.RFC3339))
}

// brakeErasure counts one more account whose deletion begins, or refuses it.
func (k *Keeper) brakeErasure(ctx context.Context, account string) error {
	if k.Erasures < 0 {
		return &ErasureBrakeError{Account: account}
	}
	allowed := k.Erasures
	if allowed == 0 {
		allowed = DefaultErasures
	}
	k.brakes.Lock()
	defer k.brakes.Unlock()
	var list, young []begun
	if _, err := k.getJSON(ctx, begunKey, &list); err != nil {
		return err
	}
	theirs, err := k.storeNow(ctx)
	if err != nil {
		return err
	}
	mine := k.now()
	oldest := time.Duration(0)
	for _, b := range list {
		age := b.age(mine, theirs) // of a copy: the list stays as it was read
		switch {
		case age >= brakeSpan:
			continue
		case b.Account == account:
			return nil // it was about to begin, and ended
		}
		oldest = max(oldest, age)
		young = append(young, b)
	}
	if len(young) >= allowed {
		brake := &ErasureBrakeError{Account: account, Allowed: allowed, Next: mine.Add(brakeSpan - oldest)}
		if slices.Equal(list, young) {
			return brake
		}
		return errors.Join(brake, k.putJSON(ctx, begunKey, young))
	}
	return k.putJSON(ctx, begunKey, append(young, begun{Account: account, At: mine.UTC(), Store: theirs}))
}
