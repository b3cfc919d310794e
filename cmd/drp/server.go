package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"drp/orchestrator"
	"drp/orchestrator/api"
	"drp/orchestrator/certificates"
	"drp/orchestrator/sealing"
	"drp/raftstore"
	"drp/raftstore/audit"
	"drp/raftstore/identity"
	"drp/raftstore/state"
)

type serverConfig struct {
	Name         string         `yaml:"name"`
	Site         string         `yaml:"site"`
	Data         string         `yaml:"data"`
	Raft         string         `yaml:"raft"`
	API          string         `yaml:"api"`
	Socket       string         `yaml:"socket"`
	Peers        []peerConfig   `yaml:"peers"`
	Certificates identity.Files `yaml:"certificates"`
	AgeIdentity  string         `yaml:"age_identity"`
	Recipients   []string       `yaml:"recipients"`
	// Issuer is the file with the issuing authority of a new platform, which the first leader puts into the state. Once
	// that is done it means nothing.
	Issuer string `yaml:"issuer,omitempty"`
	// BreakGlassWithin is how long ago the last test of break-glass passwords may have passed before an alarm is raised.
	BreakGlassWithin durationValue `yaml:"breakglass_test_within,omitempty"`
}

type peerConfig struct {
	Name string `yaml:"name"`
	Site string `yaml:"site"`
	Raft string `yaml:"raft"`
	API  string `yaml:"api"`
	// Recipient is its age recipient. With that of each peer the rest of Recipients is known to be the offline ones.
	Recipient string `yaml:"recipient"`
}

func newServerCommand(c *connection) *cobra.Command {
	cmd := daemonCommand("server", "Run a coordinator: Raft, the API and the leader's loop", runServer)
	cmd.AddCommand(newServerInitCommand(), newCompromisedCommand(c))
	return cmd
}

func runServer(ctx context.Context, path string) error {
	var c serverConfig
	if err := readConfig(path, &c); err != nil {
		return err
	}
	keyring, err := sealing.Load(c.AgeIdentity)
	if err != nil {
		return err
	}
	if _, err := sealing.ParseRecipients(c.Recipients); err != nil {
		return err
	}
	return runCoordinator(ctx, c, keyring, newLogger())
}

func runCoordinator(ctx context.Context, c serverConfig, keyring orchestrator.Sealer, log *slog.Logger) error {
	credentials, err := loadCredentials(c.Certificates, log)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	store, err := raftstore.Open(c.store(credentials, log, stop))
	if err != nil {
		return err
	}
	collectAt(spareMemory)
	refuseRevoked(credentials, store)
	keyring = followed{keyring, func() []*state.Key { return store.View().Keys() }}
	where := directory{configured: c.Peers, view: store.View, members: memberNames(store)}
	peers, err := newPeers(c, where, credentials, log)
	if err != nil {
		return errors.Join(err, store.Close())
	}
	brain := orchestrator.New(orchestrator.Config{
		Name: c.Name, Cluster: credentials.Identity().Cluster, Site: state.SiteName(c.Site), Coordinators: c.members(),
		Store: leaderStore{store}, Membership: membership{store}, Sealer: keyring, Recipients: c.Recipients, Peers: peers, Logger: log,
		BreakGlassWithin: time.Duration(c.BreakGlassWithin),
		Vault:            newVault(store.View, credentials), Exports: c.exports(store.View, credentials),
		Trail: orchestrator.TrailOptions{Sign: credentials.Sign, Vouch: func(s *audit.Signed) error { return s.Check(credentials.Authority()) }},
	})
	peers.self = brain
	registrar := newRegistrar(c, store, where, keyring, credentials, log)
	go serverIdentity(ctx, c, registrar, credentials, peers, store, log)
	err = serve(ctx, c, brain, store, where, registrar, credentials, log)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause // the store cannot go on, and perhaps not even be closed: a disk that hangs must not keep this process
	}
	return errors.Join(err, store.Close())
}

func serve(ctx context.Context, c serverConfig, brain *orchestrator.Orchestrator, store *raftstore.Store, where directory, registrar *certificates.Registrar, credentials *identity.Credentials, log *slog.Logger) error {
	server, err := api.New(api.Config{
		API: brain, Name: c.Name, Leader: store.Leader, Peers: where.url, Credentials: credentials, Logger: log,
		Certificates: registrar,
		Tokens:       func() []*state.APIToken { return store.View().APITokens() },
		Changed:      store.Changed,
	})
	if err != nil {
		return err
	}
	tcp, err := net.Listen("tcp", c.API)
	if err != nil {
		return fmt.Errorf("listen for the API: %w", err)
	}
	socket, err := api.ListenSocket(c.Socket)
	if err != nil {
		return errors.Join(err, tcp.Close())
	}
	log.Info("coordinator is ready", "name", c.Name, "site", c.Site, "api", c.API, "raft", c.Raft)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return server.Serve(ctx, tcp, socket) })
	group.Go(func() error { return ignoreCancelled(brain.Lead(ctx)) })
	group.Go(func() error { return ignoreCancelled(brain.KeepExports(ctx)) })
	return group.Wait()
}

func (c serverConfig) store(credentials *identity.Credentials, log *slog.Logger, stop context.CancelCauseFunc) raftstore.Config {
	config := raftstore.Config{
		Name: c.Name, Dir: c.Data, Listen: c.Raft, Cluster: credentials.Identity().Cluster, Logger: log, Fatal: stop,
		Server: credentials.Server(identity.Coordinator), Client: credentials.Client(identity.Coordinator),
		Trusted: credentials.Check,
	}
	for _, p := range c.Peers {
		config.Peers = append(config.Peers, raftstore.Peer{Name: p.Name, Address: p.Raft})
	}
	return config
}

func (c serverConfig) members() []state.Member {
	var members []state.Member
	for _, p := range c.Peers {
		members = append(members, state.Member{Name: p.Name, Site: state.SiteName(p.Site), Raft: p.Raft, API: p.API, Recipient: p.Recipient})
	}
	return members
}

// leaderStore gives the store's errors the names that the orchestrator's users know.
type leaderStore struct{ *raftstore.Store }

func (s leaderStore) Propose(ctx context.Context, c state.Command) (state.Result, error) {
	r, err := s.Store.Propose(ctx, c)
	return r, translate(err)
}

func (s leaderStore) Read(ctx context.Context) (*state.View, error) {
	v, err := s.Store.Read(ctx)
	return v, translate(err)
}

func translate(err error) error {
	switch {
	case errors.Is(err, raftstore.ErrNotLeader):
		return fmt.Errorf("%w: %w", orchestrator.ErrNotLeader, err)
	case errors.Is(err, raftstore.ErrUnknownOutcome):
		return fmt.Errorf("%w: %w", orchestrator.ErrUnknownOutcome, err)
	case errors.Is(err, raftstore.ErrDiskFull):
		return fmt.Errorf("%w: %w", orchestrator.ErrReadOnly, err)
	case errors.Is(err, raftstore.ErrNotMember):
		return fmt.Errorf("%w: %w", state.ErrNotFound, err)
	case errors.Is(err, raftstore.ErrRefused), errors.Is(err, raftstore.ErrTooNew):
		return fmt.Errorf("%w: %w", orchestrator.ErrRefused, err)
	}
	return err
}

func ignoreCancelled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
