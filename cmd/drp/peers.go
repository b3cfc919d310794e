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
	others map[state.SiteName][]peer
	sites  []state.SiteName
	log    *slog.Logger
}

// peer is one other coordinator.
type peer struct {
	name   string
	client *api.Client
}

func newPeers(c serverConfig, credentials *identity.Credentials, log *slog.Logger) (*peers, error) {
	p := &peers{own: state.SiteName(c.Site), others: map[state.SiteName][]peer{}, log: log}
	for _, member := range c.Peers {
		site := state.SiteName(member.Site)
		p.sites = append(p.sites, site)
		if member.Name == c.Name {
			continue
		}
		client, err := api.NewClient(api.ClientConfig{Coordinators: []string{member.API}, Credentials: credentials, Logger: log})
		if err != nil {
			return nil, fmt.Errorf("peer %s: %w", member.Name, err)
		}
		p.others[site] = append(p.others[site], peer{member.Name, client})
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
		r, err := c.client.Probe(ctx, ask)
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
func (p *peers) TellContacts(ctx context.Context, contacts wire.Contacts, heard func(name string, said wire.Introduction)) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	var group sync.WaitGroup
	for _, list := range p.others {
		for _, c := range list {
			group.Go(func() {
				said, err := c.client.TellContacts(ctx, contacts)
				if err != nil {
					p.log.Debug("tell contacts", "coordinator", c.name, "error", err)
					return
				}
				heard(c.name, said)
			})
		}
	}
	group.Wait()
}
