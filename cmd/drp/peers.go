package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
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
	name        string
	own         state.SiteName
	self        *orchestrator.Orchestrator
	directory   directory
	credentials *identity.Credentials
	log         *slog.Logger

	mu      sync.Mutex
	clients map[string]*api.Client // by URL
}

func newPeers(c serverConfig, d directory, credentials *identity.Credentials, log *slog.Logger) (*peers, error) {
	p := &peers{name: c.Name, own: state.SiteName(c.Site), directory: d, credentials: credentials, log: log, clients: map[string]*api.Client{}}
	for _, member := range c.Peers { // a slip in the file is told at the start
		if _, err := p.client(member.API); err != nil {
			return nil, fmt.Errorf("peer %s: %w", member.Name, err)
		}
	}
	return p, nil
}

// client of one other coordinator. It is kept: coordinators come and go some times in a year.
func (p *peers) client(url string) (*api.Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.clients[url]; c != nil {
		return c, nil
	}
	c, err := api.NewClient(api.ClientConfig{Coordinators: []string{url}, Credentials: p.credentials, Logger: p.log})
	if err != nil {
		return nil, err
	}
	p.clients[url] = c
	return c, nil
}

// others are all members but this one.
func (p *peers) others() []peerConfig {
	return slices.DeleteFunc(slices.Clone(p.directory.all()), func(c peerConfig) bool { return c.Name == p.name })
}

// Sites implements orchestrator.Peers.
func (p *peers) Sites() []state.SiteName {
	var sites []state.SiteName
	for _, c := range p.directory.all() {
		if site := state.SiteName(c.Site); !slices.Contains(sites, site) {
			sites = append(sites, site)
		}
	}
	return sites
}

// Probe implements orchestrator.Peers.
func (p *peers) Probe(ctx context.Context, from state.SiteName, ask wire.Probe) (wire.ProbeResult, error) {
	if from == p.own {
		return p.self.Probe(ctx, ask), nil
	}
	var last error
	for _, c := range p.others() {
		if state.SiteName(c.Site) != from {
			continue
		}
		client, err := p.client(c.API)
		if err == nil {
			var r wire.ProbeResult
			if r, err = client.Probe(ctx, ask); err == nil {
				return r, nil
			}
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
	for _, c := range p.others() {
		group.Go(func() {
			var said wire.Introduction
			client, err := p.client(c.API)
			if err == nil {
				said, err = client.TellContacts(ctx, contacts)
			}
			if err != nil {
				p.log.Debug("tell contacts", "coordinator", c.Name, "error", err)
				return
			}
			heard(c.Name, said)
		})
	}
	group.Wait()
}
