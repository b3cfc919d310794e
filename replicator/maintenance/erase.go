package maintenance

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"drp/replicator"
)

// DefaultErasures is how many accounts may begin to be erased at a site within a day.
const DefaultErasures = 50

// Erasure is how far the erasure of an account is at this site.
type Erasure struct {
	Repositories   []string  // that were found, by name
	Until          time.Time // nothing is deleted before; zero: the wait is over
	Objects, Bytes int64     // deleted for good, all runs together; each version is one. With an error they may be fewer than were
	Empty          time.Time // when nothing was listed any more; zero: it is not done
	Next           time.Time // before this there is nothing to do; zero: that is not known
}

// ErrErased: the account of a repository was erased at this site. Nothing of it is made there again.
var ErrErased = errors.New("the account was erased at this site")

// accountName is that of an account. A later repository's is none.
var accountName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

// rounds is how often one Erase lists all that is left before it gives up on who writes there.
const rounds = 8

// Erase deletes for good all that this site has of an account: every version of every object of each of its repositories, in
// whatever place (replicator.Places). It is the one thing here that may delete a last good copy, and what asks for it is the
// leader alone. So nothing is deleted before it was asked for as long as the grace, by both clocks, nor more accounts within a day than
// Erasures, what has nothing here counted too; and never anything but objects that bear exactly this account's name. What is taken
// back meanwhile (TakeBack) waits anew.
//
// Keys go first: without them the rest cannot be read. It may be ended at any point and called again. Done again it finds
// nothing, and tells the same; what came later waits as the first did. Nothing else may work on the account's repositories
// meanwhile.
func (k *Keeper) Erase(ctx context.Context, account string) (Erasure, error) {
	if !accountName.MatchString(account) {
		return Erasure{}, fmt.Errorf("%q is no name of an account", account)
	}
	m, err := k.erasing(ctx, account)
	if err != nil {
		return Erasure{}, err
	}
	if m.Since.IsZero() {
		if e, done, err := k.confirm(ctx, m); done || err != nil {
			return e, err
		}
		if err := k.wait(ctx, m); err != nil {
			return Erasure{}, err
		}
	}
	if m.Began.IsZero() {
		until, err := k.waits(ctx, m)
		if err != nil || !until.IsZero() {
			e := m.erasure()
			e.Until, e.Next = until, until
			return e, err
		}
	}
	return k.eraseAll(ctx, m)
}

// confirm looks, where the account was erased before, whether that still holds.
func (k *Keeper) confirm(ctx context.Context, m *erasing) (e Erasure, done bool, err error) {
	var mark erasedMark
	if there, err := k.getJSON(ctx, erasedKey(m.Account), &mark); err != nil || !there {
		return e, false, err
	}
	m.add(mark)
	for range looks {
		if found, err := k.find(ctx, m.Account); err != nil || !found.empty() {
			return e, false, err
		}
	}
	e = m.erasure()
	e.Empty = mark.Empty
	return e, true, nil
}

// looks is how many listings in a row have to be empty before it is said that nothing is left: one may have lied.
const looks = 2

// eraseAll deletes until nothing is listed.
func (k *Keeper) eraseAll(ctx context.Context, m *erasing) (Erasure, error) {
	if m.Began.IsZero() { // before anything is listed: of many that wait for their turn each look would be dear
		if err := k.brakeErasure(ctx, m.Account); err != nil {
			e := m.erasure()
			if brake := (*ErasureBrakeError)(nil); errors.As(err, &brake) {
				e.Next = brake.Next
			}
			return e, err
		}
	}
	counted := make(map[string]bool)
	goesOn, empty := !m.Began.IsZero(), 0
	for range rounds {
		found, err := k.find(ctx, m.Account)
		if err != nil {
			return m.unknown(), err
		}
		if found.empty() {
			if empty++; empty == looks {
				return k.erasedAll(ctx, m)
			}
			continue
		}
		empty = 0
		if goesOn { // whoever began has counted it
			goesOn = false
			found.uncounted(counted)
		}
		if err := k.begin(ctx, m, found, counted); err != nil {
			return m.without(found), err
		}
		if e, err := k.eraseFound(ctx, m, found); err != nil {
			return e, err
		}
	}
	return m.unknown(), fmt.Errorf("erase account %s at %s: something was there again %d times after all of it was deleted: who still writes there?",
		m.Account, k.Store, rounds)
}

// begin looks whether what was found may be deleted now, and counts it before it is.
func (k *Keeper) begin(ctx context.Context, m *erasing, found *remains, counted map[string]bool) error {
	if err := k.quiet(ctx, &holding{locks: found.locks()}); err != nil {
		return fmt.Errorf("erase account %s at %s: %w; nothing is deleted now", m.Account, k.Store, err)
	}
	objects, bytes := found.uncounted(counted)
	if m.Began.IsZero() {
		m.Began = k.now().UTC()
	} else if objects == 0 {
		return nil
	}
	m.Objects, m.Bytes = m.Objects+objects, m.Bytes+bytes
	m.Repositories = merge(m.Repositories, found.repositories())
	return k.putJSON(ctx, erasingKey(m.Account), m)
}

// erasedAll writes down for good that nothing is left.
func (k *Keeper) erasedAll(ctx context.Context, m *erasing) (Erasure, error) {
	for _, name := range m.Repositories { // once more, by another question
		key := name + "/" + configName
		if _, err := k.Store.Stat(ctx, key); err == nil {
			return m.unknown(), fmt.Errorf("erase account %s at %s: nothing is listed, and yet %s is there: the store's listing is wrong", m.Account, k.Store, key)
		} else if !errors.Is(err, replicator.ErrNotFound) {
			return m.unknown(), err
		}
	}
	e := m.erasure()
	e.Empty = k.now().UTC()
	if err := k.putJSON(ctx, erasedKey(m.Account), erasedMark{
		Account: m.Account, Repositories: m.Repositories, Objects: m.Objects, Bytes: m.Bytes, Empty: e.Empty,
	}); err != nil {
		return m.erasure(), err
	}
	if err := k.Store.Discard(ctx, erasingKey(m.Account)); err != nil {
		return m.erasure(), err
	}
	k.log(m.Account).Info("account erased", "repositories", m.Repositories, "objects", e.Objects, "bytes", e.Bytes)
	return e, nil
}

// Erased refuses what would bring a repository back whose account was erased at a store: ErrErased.
func Erased(ctx context.Context, s *replicator.Store, name string) error {
	account, _ := numbered(name)
	switch o, err := s.Stat(ctx, erasedKey(account)); {
	case err == nil:
		return fmt.Errorf("%w, on %s: nothing of it is made or copied there (%s/%s says so)",
			ErrErased, o.Modified.UTC().Format(time.DateOnly), s, erasedKey(account))
	case errors.Is(err, replicator.ErrNotFound):
		return nil
	default:
		return err
	}
}

// TakeBack begins anew the wait of each account that nobody wants to be erased any more: whatever was deleted by then, a later
// order waits for the grace once more.
func (k *Keeper) TakeBack(ctx context.Context, wanted func(account string) bool) error {
	list, err := k.Store.List(ctx, replicator.ErasingRoot)
	if err != nil {
		return err
	}
	for _, o := range list {
		account, ok := accountOfMark(o.Key)
		if !ok || wanted(account) {
			continue
		}
		if failed := k.takeBack(ctx, account); failed != nil {
			err = errors.Join(err, fmt.Errorf("take back the erasure of account %s at %s: %w", account, k.Store, failed))
		}
	}
	return err
}

func (k *Keeper) takeBack(ctx context.Context, account string) error {
	m, err := k.erasing(ctx, account)
	if errors.Is(err, errNoMark) { // or no erasure at all would begin here as long as it lies there
		k.log(account).Error("the erasure of an account was taken back, whose mark says nothing", "error", err)
		return k.Store.Discard(ctx, erasingKey(account))
	}
	if err != nil || m.Since.IsZero() {
		return err
	}
	if !m.Began.IsZero() {
		found, err := k.find(ctx, account)
		if err != nil {
			return err
		}
		objects, bytes := found.objects()
		m.Objects, m.Bytes = max(0, m.Objects-objects), max(0, m.Bytes-bytes)
	}
	k.log(account).Warn("the erasure of an account was taken back", "since", m.Since, "began", m.Began, "deleted_objects", m.Objects)
	m.Since, m.Began = time.Time{}, time.Time{}
	if m.Objects > 0 {
		return k.putJSON(ctx, erasingKey(account), m)
	}
	return k.Store.Discard(ctx, erasingKey(account))
}

// merge makes one sorted list of two.
func merge(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}
