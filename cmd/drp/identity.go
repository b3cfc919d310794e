package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"drp/orchestrator"
	"drp/orchestrator/api"
	"drp/orchestrator/certificates"
	"drp/raftstore"
	"drp/raftstore/identity"
	"drp/raftstore/state"
)

// loadCredentials is how every process comes by its certificate. One that is no good any more is no reason to end: what
// runs goes on, and a new certificate is picked up from the disk.
func loadCredentials(files identity.Files, log *slog.Logger) (*identity.Credentials, error) {
	credentials, err := identity.Load(files)
	if err != nil {
		return nil, err
	}
	credentials.SetLogger(log)
	if err := credentials.Usable(); err != nil {
		log.Error("nobody will talk to this process", "error", err)
	}
	return credentials, nil
}

// keepRenewed renews the certificate through the leader, until ctx ends.
func keepRenewed(ctx context.Context, credentials *identity.Credentials, ask askFunc, log *slog.Logger) {
	renewer := identity.Renewer{Credentials: credentials, Ask: ask, Log: log}
	_ = renewer.Run(ctx) // it ends with ctx, and never else
}

type askFunc = func(ctx context.Context, requestPEM, presentPEM []byte) ([]byte, error)

// newRegistrar makes a coordinator's part in certificates, and lets its own list of revocations count.
func newRegistrar(c serverConfig, store *raftstore.Store, where directory, sealer certificates.Sealer, credentials *identity.Credentials, log *slog.Logger) *certificates.Registrar {
	return &certificates.Registrar{
		Name: c.Name, Store: leaderStore{store}, Sealer: sealer, Credentials: credentials, Log: log,
		Voters: func() []string {
			var names []string
			for _, m := range store.Members() {
				if m.Voter {
					names = append(names, m.Name)
				}
			}
			return names
		},
		Members: func() []state.Member {
			var all []state.Member
			for _, p := range where.all() {
				all = append(all, state.Member{Name: p.Name, Site: state.SiteName(p.Site), Raft: p.Raft, API: p.API})
			}
			return all
		},
		Recipients: func() []string { return c.Recipients },
	}
}

// refuseRevoked lets the store's own list of revocations count for everybody who shows a certificate here.
func refuseRevoked(credentials *identity.Credentials, store *raftstore.Store) {
	credentials.SetRevoked(orchestrator.NewRevoked(store.View).Check)
}

// renewThrough is how a coordinator renews its own certificate: at the leader, which may be itself.
func renewThrough(registrar *certificates.Registrar, leader func() (string, bool), peers *peers) askFunc {
	return func(ctx context.Context, requestPEM, presentPEM []byte) ([]byte, error) {
		name, ok := leader()
		switch client := peers.named(name); {
		case !ok:
			return nil, api.ErrNoLeader
		case name == registrar.Name:
			out, err := registrar.Renew(ctx, string(identity.Coordinator)+"/"+name,
				certificates.RenewRequest{Request: string(requestPEM), Present: string(presentPEM)})
			if err != nil {
				return nil, err
			}
			return []byte(out.Certificate), nil
		case client == nil:
			return nil, fmt.Errorf("%s leads, and its address is not known here", name)
		default:
			return client.Renew(ctx, requestPEM, presentPEM)
		}
	}
}

func (p *peers) named(name string) *api.Client {
	url := p.directory.url(name)
	if url == "" {
		return nil
	}
	c, err := p.client(url)
	if err != nil {
		p.log.Warn("coordinator cannot be asked", "coordinator", name, "error", err)
		return nil
	}
	return c
}

// serverIdentity is what a coordinator does about certificates beside answering.
func serverIdentity(ctx context.Context, c serverConfig, registrar *certificates.Registrar, credentials *identity.Credentials, peers *peers, store *raftstore.Store, log *slog.Logger) {
	if c.Issuer != "" {
		go func() {
			if err := registrar.Install(ctx, c.Issuer); err != nil {
				log.Error("nobody can join: the issuing authority cannot be used", "file", c.Issuer, "error", err)
			}
		}()
	}
	keepRenewed(ctx, credentials, renewThrough(registrar, store.Leader, peers), log)
}

// validFor is how long a certificate is good, for a person.
func validFor(until time.Time) string {
	return fmt.Sprintf("until %s", localTime(until))
}
