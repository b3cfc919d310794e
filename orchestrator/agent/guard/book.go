package guard

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"drp/raftstore/state"
)

// Route is one announced address.
type Route struct {
	Address netip.Addr        `json:"address"`
	Account state.AccountName `json:"account"`
	Token   state.Token       `json:"token"`
}

// announcer puts routes into BGP. Both are safe to repeat; an announcement replaces the one of the same address.
type announcer interface {
	announce(Route) error
	withdraw(Route) error
}

// book decides on orders, and keeps what has to outlive the process. Every change is in its file before it takes
// effect in BGP; a process that ends in between is put right by the agent, which repeats what was not answered.
type book struct {
	tokens, routes string // files

	mu        sync.Mutex
	seen      map[state.AccountName]state.Token // the highest of each account
	announced map[netip.Addr]Route
	bgp       announcer
}

// openBook reads what an earlier process left.
func openBook(data, run string) (*book, error) {
	b := &book{
		tokens:    filepath.Join(data, "tokens.json"),
		routes:    filepath.Join(run, "routes.json"),
		seen:      map[state.AccountName]state.Token{},
		announced: map[netip.Addr]Route{},
	}
	if err := readJSON(b.tokens, &b.seen); err != nil {
		return nil, fmt.Errorf("read tokens: %w", err)
	}
	var routes []Route
	if err := readJSON(b.routes, &routes); err != nil {
		return nil, fmt.Errorf("read routes: %w", err)
	}
	for _, r := range routes {
		b.announced[r.Address] = r
	}
	return b, nil
}

// list returns what is announced, sorted by address.
func (b *book) list() []Route {
	b.mu.Lock()
	defer b.mu.Unlock()
	return sorted(b.announced)
}

// tokensSeen returns the highest token seen of each account.
func (b *book) tokensSeen() map[state.AccountName]state.Token {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.seen)
}

func (b *book) announce(r Route) error {
	if err := r.check(); err != nil {
		return fmt.Errorf("announce %s: %w", r.Address, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if now, ok := b.announced[r.Address]; ok && now.Account != r.Account {
		return fmt.Errorf("announce %s for account %s: %w: %s", r.Address, r.Account, ErrTaken, now.Account)
	}
	if seen := b.seen[r.Account]; r.Token.Less(seen) {
		return fmt.Errorf("announce %s for account %s: %w: %s, and %s has been seen", r.Address, r.Account, ErrStaleToken, r.Token, seen)
	}
	if err := b.remember(r.Account, r.Token); err != nil {
		return fmt.Errorf("announce %s: %w", r.Address, err)
	}
	next := maps.Clone(b.announced)
	next[r.Address] = r
	if err := b.saveRoutes(next); err != nil {
		return fmt.Errorf("announce %s: %w", r.Address, err)
	}
	if err := b.bgp.announce(r); err != nil {
		return fmt.Errorf("announce %s: %w", r.Address, err)
	}
	b.announced = next
	return nil
}

// withdraw takes back what is announced for this account under a token up to the given one. Nothing there is no
// error: the order is fulfilled. A token above all seen ones counts as seen, so that no older order to announce
// can come after it.
func (b *book) withdraw(r Route) error {
	if err := r.check(); err != nil {
		return fmt.Errorf("withdraw %s: %w", r.Address, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now, ok := b.announced[r.Address]
	ok = ok && now.Account == r.Account
	if ok && r.Token.Less(now.Token) {
		return fmt.Errorf("withdraw %s of account %s: %w: %s, and %s is announced", r.Address, r.Account, ErrStaleToken, r.Token, now.Token)
	}
	if err := b.remember(r.Account, r.Token); err != nil {
		return fmt.Errorf("withdraw %s: %w", r.Address, err)
	}
	if !ok {
		return nil
	}
	next := maps.Clone(b.announced)
	delete(next, r.Address)
	if err := b.saveRoutes(next); err != nil {
		return fmt.Errorf("withdraw %s: %w", r.Address, err)
	}
	if err := b.bgp.withdraw(now); err != nil {
		return fmt.Errorf("withdraw %s: %w", r.Address, err)
	}
	b.announced = next
	return nil
}

// check refuses what could never be right. That a token fits into a preference is part of it.
func (r Route) check() error {
	if !r.Address.Is6() || r.Address.Is4In6() || r.Address.Zone() != "" || !r.Address.IsGlobalUnicast() {
		return fmt.Errorf("%w: %s is no global IPv6 address", ErrBadRequest, r.Address)
	}
	if r.Account == "" {
		return fmt.Errorf("%w: no account is named", ErrBadRequest)
	}
	_, err := Preference(r.Token)
	return err
}

// remember raises the highest token of an account. It is on disk when this returns.
func (b *book) remember(account state.AccountName, t state.Token) error {
	if !b.seen[account].Less(t) {
		return nil
	}
	next := maps.Clone(b.seen)
	next[account] = t
	if err := writeJSON(b.tokens, next); err != nil {
		return fmt.Errorf("save tokens: %w", err)
	}
	b.seen = next
	return nil
}

func (b *book) saveRoutes(routes map[netip.Addr]Route) error {
	if err := writeJSON(b.routes, sorted(routes)); err != nil {
		return fmt.Errorf("save routes: %w", err)
	}
	return nil
}

func sorted(routes map[netip.Addr]Route) []Route {
	list := make([]Route, 0, len(routes))
	for _, ip := range slices.SortedFunc(maps.Keys(routes), netip.Addr.Compare) {
		list = append(list, routes[ip])
	}
	return list
}

// readJSON leaves v as it is when there is no such file.
func readJSON(path string, v any) error {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// writeJSON replaces a file: after a crash it has the old content or the new, whole.
func writeJSON(path string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	// One name for all attempts is enough: there is one guard per directory, and it writes one at a time.
	temp := path + ".new"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
