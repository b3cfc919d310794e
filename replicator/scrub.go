package replicator

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Scrubbed is what reading every object of a copy has found.
type Scrubbed struct {
	Objects, Bytes int64    // that were read
	Broken         []string // keys of objects whose content is not what their name says
	Gone           []string // keys of objects that were listed and could not be found
}

// Damage says which objects are not what their names say, or not there any more; empty: all are good.
func (s Scrubbed) Damage() string {
	bad := slices.Concat(s.Broken, s.Gone)
	if len(bad) == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d objects are not what their names say: %s", len(bad), s.Objects, some(bad))
}

// Scrub reads every object of the repository under prefix ("NAME/", or "" for the store's folder) and holds it against
// its name. It needs no key and changes nothing. The config has no hash for a name: Heal compares it with another copy's.
func Scrub(ctx context.Context, s *Store, prefix string, o Options) (Scrubbed, error) {
	h, err := holdingOf(ctx, s, prefix)
	if err != nil {
		return Scrubbed{}, err
	}
	return scrub(ctx, s, prefix, h, o)
}

func holdingOf(ctx context.Context, s *Store, prefix string) (*holding, error) {
	h := &holding{}
	for o, err := range s.objects(ctx, prefix, "") {
		if err != nil {
			return nil, err
		}
		h.add(prefix, o)
	}
	h.sort()
	return h, nil
}

func scrub(ctx context.Context, s *Store, prefix string, h *holding, o Options) (Scrubbed, error) {
	var mu sync.Mutex
	var out Scrubbed
	group, each := errgroup.WithContext(ctx)
	group.SetLimit(cmp.Or(o.Workers, 4))
	for _, c := range order {
		list := *h.class(c)
		for n := range list {
			i := &list[n]
			if each.Err() != nil {
				break
			}
			group.Go(func() error {
				key := i.key(prefix, c)
				err := prove(each, s, i, key)
				if !judged(err) {
					return err
				}
				o.Progress.add(i.size)
				mu.Lock()
				defer mu.Unlock()
				out.Objects++
				out.Bytes += i.size
				switch {
				case errors.Is(err, ErrBroken):
					out.Broken = append(out.Broken, key)
				case err != nil:
					out.Gone = append(out.Gone, key)
				}
				return nil
			})
		}
	}
	err := cmp.Or(group.Wait(), context.Cause(ctx))
	slices.Sort(out.Broken)
	slices.Sort(out.Gone)
	return out, err
}

// Repaired is what came of a repair.
type Repaired struct {
	Written  []string // now what their names say
	Good     []string // were that already, and were left alone
	Unhealed []string // there is no good one at the other end
}

// Repair makes the named objects of the repository under prefix at to good again, from the copy at from. An object that
// is missing is written, one that is broken is replaced, and one that is good is left alone: each is read before. It is
// always the owner of to who repairs: a home whose objects a replica still has pulls them back, with a key that may only
// read there.
func Repair(ctx context.Context, from, to *Store, prefix string, keys []string, o Options) (Repaired, error) {
	type patient struct {
		item
		c   class
		key string
	}
	var list []patient
	for _, key := range keys {
		c, sum, ok := parseKey(strings.TrimPrefix(key, prefix))
		if !ok || c == locks || !strings.HasPrefix(key, prefix) {
			return Repaired{}, fmt.Errorf("repair %s: %q is no object of the repository %q that is named by its hash", to, key, prefix)
		}
		list = append(list, patient{item{sum: sum}, c, key})
	}
	// What promises others comes after them.
	slices.SortStableFunc(list, func(a, b patient) int { return slices.Index(order, a.c) - slices.Index(order, b.c) })
	log := cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	var out Repaired
	for _, p := range list {
		there := prove(ctx, to, &p.item, p.key)
		if !judged(there) {
			return out, there
		}
		if there == nil {
			out.Good = append(out.Good, p.key)
			continue
		}
		good, err := from.Stat(ctx, p.key)
		if err == nil {
			p.item = itemOf(p.sum, good)
			if errors.Is(there, ErrBroken) {
				p.item.there = differs
			}
			err = carry(ctx, from, to, &p.item, p.key)
		}
		switch {
		case err == nil:
			log.Warn("repaired an object", "store", to, "object", p.key, "was", there, "from", from)
			out.Written = append(out.Written, p.key)
		case judged(err):
			out.Unhealed = append(out.Unhealed, p.key)
		default:
			return out, err
		}
	}
	return out, nil
}

// Healed is what Heal found at both ends and did at one.
type Healed struct {
	Prefix      string
	Here, There Scrubbed // the source and the destination; one that has no such repository is empty
	Lost        []string // packs that the destination has lost; see Heal
	Repaired    Repaired // at the destination: those that were broken, gone or lost
}

// Sound reports whether every object at both ends is good now.
func (h *Healed) Sound() bool {
	return len(h.Here.Broken)+len(h.Here.Gone)+len(h.Repaired.Unhealed) == 0
}

// Heal reads every object of both copies of a repository and repairs the destination's from the source's. It copies
// nothing that is new: so it can be turned round, and a home be healed from its replica, without bringing back what was
// forgotten there.
//
// A pack that only the source has is lost at the destination when that has every index file of the source: prune takes away those
// that name a pack before the pack. It may have more: a home that has lost a pack goes on writing indexes, also with backups that fail
// for that, and none of those is copied. Should the pack belong to a backup that was broken off, it does no harm.
func Heal(ctx context.Context, src, dst *Store, prefix string, o Options) (Healed, error) {
	out := Healed{Prefix: prefix}
	here, there, err := bothEnds(ctx, src, dst, prefix)
	if err != nil {
		return out, err
	}
	if out.Here, err = scrub(ctx, src, prefix, here, o); err != nil {
		return out, err
	}
	return out, out.mend(ctx, src, dst, here, there, o)
}

// Mend is Heal for one who knows that dst is damaged: of src it reads only what dst needs.
func Mend(ctx context.Context, src, dst *Store, prefix string, o Options) (Repaired, error) {
	out := Healed{Prefix: prefix}
	here, there, err := bothEnds(ctx, src, dst, prefix)
	if err != nil {
		return out.Repaired, err
	}
	err = out.mend(ctx, src, dst, here, there, o)
	return out.Repaired, err
}

// MendKeys brings the key files to dst that only src has, but for those that were removed (by their names, keys/ID) and those that
// no restic has made.
func MendKeys(ctx context.Context, src, dst *Store, prefix string, removed map[string]bool, o Options) (Repaired, error) {
	here, there, err := bothEnds(ctx, src, dst, prefix)
	if err != nil {
		return Repaired{}, err
	}
	var lost []string
	for n := range here.keys {
		i := &here.keys[n]
		key := i.key(prefix, keys)
		if there.find(keys, i.sum) == nil && !removed[strings.TrimPrefix(key, prefix)] && !dearKey(ctx, src, i, key) {
			lost = append(lost, key)
		}
	}
	return Repair(ctx, src, dst, prefix, lost, o)
}

// bothEnds lists both copies. Two configs have to be the same.
func bothEnds(ctx context.Context, src, dst *Store, prefix string) (here, there *holding, err error) {
	if here, err = holdingOf(ctx, src, prefix); err != nil {
		return nil, nil, err
	}
	if there, err = holdingOf(ctx, dst, prefix); err != nil {
		return nil, nil, err
	}
	if here.config != nil && there.config != nil {
		err = compareConfigs(ctx, src, dst, prefix)
	}
	return here, there, err
}

func (h *Healed) mend(ctx context.Context, src, dst *Store, here, there *holding, o Options) (err error) {
	if h.There, err = scrub(ctx, dst, h.Prefix, there, o); err != nil {
		return err
	}
	ahead := func(i item) bool { return there.find(index, i.sum) == nil }
	if there.config != nil && len(here.index) > 0 && !slices.ContainsFunc(here.index, ahead) {
		for _, i := range here.data {
			if there.find(data, i.sum) == nil {
				h.Lost = append(h.Lost, i.key(h.Prefix, data))
			}
		}
	}
	h.Repaired, err = Repair(ctx, src, dst, h.Prefix, slices.Concat(h.There.Broken, h.There.Gone, h.Lost), o)
	return err
}

func compareConfigs(ctx context.Context, src, dst *Store, prefix string) error {
	p := newPass(src, dst, prefix, Options{})
	a, err := p.small(ctx, src, prefix+configName)
	if err != nil {
		return err
	}
	b, err := p.small(ctx, dst, prefix+configName)
	if err != nil {
		return err
	}
	if !bytes.Equal(a, b) {
		return fmt.Errorf("compare %s%s at %s and %s: %w: two repositories, or one was altered; nothing was repaired", prefix, configName, src, dst, ErrConfigDiffers)
	}
	return nil
}

// HealFolder heals every repository below two stores' folders, also those that only one of them has. each is told of
// every one; what fails for one keeps no other back.
func HealFolder(ctx context.Context, src, dst *Store, o Options, each func(Healed, error)) error {
	all := make(map[string]bool)
	for _, s := range []*Store{src, dst} {
		found, _, err := prefixes(ctx, s)
		if err != nil {
			return err
		}
		for prefix := range found {
			all[prefix] = true
		}
	}
	for _, prefix := range slices.Sorted(maps.Keys(all)) {
		h, err := Heal(ctx, src, dst, prefix, o)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		each(h, err)
	}
	return nil
}
