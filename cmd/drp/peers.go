package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"drp/orchestrator"
	"drp/orchestrator/api"
	"drp/orchestrator/wire"
	"drp/raftstore/identity"
	"drp/raftstore/state"
)

// peers are the other coordinators, each by a client of its own: a question to one site must not be answered by
// another.
type peers struct {
	own    state.SiteName
	self   *orchestrator.Orchestrator
	others map[state.SiteName][]*api.Client
	sites  []state.SiteName
	log    *slog.Logger
}

func newPeers(c serverConfig, credentials *identity.Credentials, log *slog.Logger) (*peers, error) {
	p := &peers{own: state.SiteName(c.Site), others: map[state.SiteName][]*api.Client{}, log: log}
	for _, peer := range c.Peers {
		p.sites = append(p.sites, state.SiteName(peer.Site))
		if peer.Name == c.Name {
			continue
		}
		client, err := api.NewClient(api.ClientConfig{Coordinators: []string{peer.API}, Credentials: credentials, Logger: log})
		if err != nil {
			return nil, fmt.Errorf("peer %s: %w", peer.Name, err)
		}
		site := state.SiteName(peer.Site)
		p.others[site] = append(p.others[site], client)
	}
	return p, nil
}

// Sites implements orchestrator.Peers.
func (p *peers) Sites() []state.SiteName { return p.sites }

// Probe implements orchestrator.Peers.
func (p *peers) Probe(ctx context.Context, from state.SiteName, ask wire.Probe) (wire.ProbeResult, error) {
	if from == p.own {
		return p.self.Probe(ctx, ask), nil
	}
	var last error
	for _, c := range p.others[from] {
		r, err := c.Probe(ctx, ask)
		if err == nil {
			return r, nil
		}
		last = err
	}
	if last == nil {
		last = fmt.Errorf("site %s has no coordinator", from)
	}
	return wire.ProbeResult{}, fmt.Errorf("ask %s to look: %w", from, last)
}

// TellContacts implements orchestrator.Peers.
func (p *peers) TellContacts(ctx context.Context, contacts wire.Contacts) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	var group sync.WaitGroup
	for site, clients := range p.others {
		for _, c := range clients {
			group.Go(func() {
				if err := c.TellContacts(ctx, contacts); err != nil {
					p.log.Debug("tell contacts", "site", site, "error", err)
				}
			})
		}
	}
	group.Wait()
}
