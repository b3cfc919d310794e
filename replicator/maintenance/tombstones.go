package maintenance

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"drp/replicator"
)

// List names what the home has deleted. Other sites read it with their read-only key; one that has followed it keeps
// a copy, so that it is known there should the home move to it.
type List struct {
	Account string    `json:"account"`
	Epoch   uint64    `json:"epoch"`
	Run     string    `json:"run"`
	At      time.Time `json:"at"`
	Names   []string  `json:"names"` // below the repository

	key     string
	content []byte
}

const (
	mostLists = 50                   // of an account, before they are written together into one
	listsFor  = 400 * 24 * time.Hour // older ones are dropped then
)

func listFolder(account string) string { return replicator.TombstoneRoot + account + "/" }

// seal gives a list its key: with its hash, so that a broken one is not believed.
func (l *List) seal() error {
	content, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("write tombstones of %s: %w", l.Account, err)
	}
	sum := sha256.Sum256(content)
	l.content, l.key = content, listFolder(l.Account)+l.Run+"-"+hex.EncodeToString(sum[:])+".json"
	return nil
}

// listName takes a key apart.
func listName(account, key string) (epoch uint64, sum string, ok bool) {
	name, ok := strings.CutSuffix(strings.TrimPrefix(key, listFolder(account)), ".json")
	part := strings.Split(name, "-")
	if !ok || len(part) != 4 || len(part[3]) != 2*sha256.Size {
		return 0, "", false
	}
	epoch, err := strconv.ParseUint(part[0], 10, 64)
	return epoch, part[3], err == nil
}

// listKeys are the lists that a store holds, of epochs up to one.
func listKeys(ctx context.Context, s *replicator.Store, account string, epoch uint64) ([]string, error) {
	found, err := s.List(ctx, listFolder(account))
	if err != nil {
		return nil, err
	}
	var keys []string
	for _, o := range found {
		if of, _, ok := listName(account, o.Key); ok && of <= epoch {
			keys = append(keys, o.Key)
		}
	}
	return keys, nil
}

// errBrokenList: not what its name says.
var errBrokenList = errors.New("list of tombstones is broken")

func readList(ctx context.Context, s *replicator.Store, account, key string) (List, error) {
	content, err := read(ctx, s, key)
	if err != nil {
		return List{}, err
	}
	_, want, _ := listName(account, key)
	l := List{key: key, content: content}
	sum := sha256.Sum256(content)
	if hex.EncodeToString(sum[:]) != want || json.Unmarshal(content, &l) != nil || l.Account != account {
		return List{}, fmt.Errorf("read %s/%s: %w", s, key, errBrokenList)
	}
	return l, nil
}

// put writes a list, unless it is there.
func (k *Keeper) putList(ctx context.Context, l List) error {
	_, err := k.Store.Stat(ctx, l.key)
	if errors.Is(err, replicator.ErrNotFound) {
		_, err = k.Store.Put(ctx, l.key, l.content, sha256.Sum256(l.content))
	}
	return err
}

// publish writes the list of a complete run of the home.
func (k *Keeper) publish(ctx context.Context, o Outcome) error {
	if o.From != "" {
		return nil // the home's lists are adopted by Follow
	}
	l := List{Account: o.Account, Epoch: o.Epoch, Run: o.Run, At: o.At, Names: o.Names}
	if err := l.seal(); err != nil {
		return err
	}
	return k.putList(ctx, l)
}

// condense writes an account's lists together when they have become many.
func (k *Keeper) condense(ctx context.Context, account string, epoch uint64) error {
	keys, err := listKeys(ctx, k.Store, account, epoch)
	if err != nil || len(keys) <= mostLists {
		return err
	}
	names := make(map[string]bool)
	all := List{Account: account, Epoch: epoch, Run: k.newRun(epoch)}
	for _, key := range keys {
		l, err := readList(ctx, k.Store, account, key)
		if errors.Is(err, errBrokenList) {
			continue
		}
		if err != nil {
			return err
		}
		if k.now().Sub(l.At) > listsFor {
			continue
		}
		if l.At.After(all.At) {
			all.At = l.At
		}
		for _, name := range l.Names {
			names[name] = true
		}
	}
	all.Names = slices.Sorted(maps.Keys(names))
	if err := all.seal(); err != nil {
		return err
	}
	if err := k.putList(ctx, all); err != nil {
		return err
	}
	for _, key := range keys {
		if err := k.Store.Discard(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

// Over tells a pass what is not to be copied back (replicator.Options.Skip), when it brings an account from a site
// that is not the home: what this site's lists name. From a site that holds a snapshot or an index file which this one never
// had, only snapshots are left out: that snapshot may need packs which are over for all others, and that index, which a prune may
// have left that was broken off, may name them. An index here that names what is not would have the next backup build on it.
func (k *Keeper) Over(ctx context.Context, account string) (func(listed []string) map[string]bool, error) {
	all, err := k.named(ctx, account)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	forgotten := make(map[string]bool)
	for name := range all {
		if classOf(name) == "snapshots" {
			forgotten[name] = true
		}
	}
	here, err := hold(ctx, k.Store, account)
	if err != nil {
		return nil, err
	}
	return func(listed []string) map[string]bool {
		for _, name := range listed {
			if !here.has(name) && !all[name] {
				return forgotten
			}
		}
		return all
	}, nil
}

// named is all that this site's lists name.
func (k *Keeper) named(ctx context.Context, account string) (map[string]bool, error) {
	if err := checkAccount(account); err != nil {
		return nil, err
	}
	keys, err := listKeys(ctx, k.Store, account, ^uint64(0))
	if err != nil {
		return nil, err
	}
	all := make(map[string]bool)
	for _, key := range keys {
		l, err := readList(ctx, k.Store, account, key)
		if errors.Is(err, errBrokenList) {
			k.log(account).Error("a list of tombstones is not believed", "error", err)
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, name := range l.Names {
			all[name] = true
		}
	}
	return all, nil
}

// disown writes a list of those snapshots that are over and were not here to be taken away: the home has lost them, or never had
// them. A replica that has one would wait for it to come to the home, and follow no list any more.
func (k *Keeper) disown(ctx context.Context, j Job, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	named, err := k.named(ctx, j.Account)
	if err != nil {
		return err
	}
	l := List{Account: j.Account, Epoch: j.Epoch, Run: k.newRun(j.Epoch), At: k.now().UTC()}
	for _, id := range ids {
		if name := "snapshots/" + id; !named[name] {
			l.Names = append(l.Names, name)
		}
	}
	if len(l.Names) == 0 {
		return nil
	}
	if err := l.seal(); err != nil {
		return err
	}
	return k.putList(ctx, l)
}
