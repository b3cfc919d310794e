package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"drp/orchestrator"
	"drp/raftstore/state"
)

// livingWithin is how long an address may take to answer. A coordinator that lives takes milliseconds.
const livingWithin = 4 * time.Second

// findLiving asks every address at which a coordinator was ever known to be. Whatever accepts a connection there counts as
// one that lives, also one that does not lead or speaks another version.
func findLiving(ctx context.Context, c serverConfig, v *state.View) error {
	addresses := map[string]string{} // host:port → what should be there
	add := func(name, raft, api string) {
		if raft != "" {
			addresses[raft] = name + " (raft)"
		}
		if u, err := url.Parse(api); err == nil && u.Host != "" {
			addresses[u.Host] = name + " (API)"
		}
	}
	for _, p := range c.Peers {
		add(p.Name, p.Raft, p.API)
	}
	add(c.Name, c.Raft, "https://"+c.API)
	for _, m := range v.Members() {
		add(m.Name, m.Raft, m.API)
	}
	var (
		mu    sync.Mutex
		found []string
		group sync.WaitGroup
	)
	for address, name := range addresses {
		group.Go(func() {
			d := net.Dialer{Timeout: livingWithin}
			conn, err := d.DialContext(ctx, "tcp", address)
			if err != nil {
				return
			}
			conn.Close()
			mu.Lock()
			defer mu.Unlock()
			found = append(found, name+" at "+address)
		})
	}
	group.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(found) == 0 {
		return nil
	}
	slices.Sort(found)
	return fmt.Errorf("a coordinator answers: %s. A second cluster beside one that lives would start accounts twice, so nothing was written. "+
		"If a majority is lost for good and this one is left, stop it and run drp recover quorum there; if it is a leftover, stop it first: %w", strings.Join(found, "; "), orchestrator.ErrRefused)
}
