package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"drp/orchestrator/obedience"
	"drp/orchestrator/wire"
	"drp/raftstore/identity"
	"drp/raftstore/state"
	"drp/replicator/gateway"
)

type gatewayConfig struct {
	Name         string         `yaml:"name"`
	Site         string         `yaml:"site"`
	Listen       string         `yaml:"listen"`
	Coordinators []string       `yaml:"coordinators"`
	Certificates identity.Files `yaml:"certificates"`
	Store        storeConfig    `yaml:"store"`
}

func newGatewayCommand() *cobra.Command {
	return daemonCommand("gateway", "Run a site's door to its repositories", runGateway)
}

func runGateway(ctx context.Context, path string) error {
	var c gatewayConfig
	if err := readConfig(path, &c); err != nil {
		return err
	}
	log := newLogger()
	credentials, err := loadCredentials(c.Certificates, log)
	if err != nil {
		return err
	}
	client, err := leaderClient(c.Coordinators, credentials, log)
	if err != nil {
		return err
	}
	storeConfig, err := c.Store.open()
	if err != nil {
		return err
	}
	store, err := gateway.OpenS3(storeConfig)
	if err != nil {
		return err
	}
	obedience, err := obedienceOf(c.Certificates, credentials)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listen for agents: %w", err)
	}
	door := &gateway.Gateway{Site: c.Site, Store: store, Log: log, Trusted: credentials.Check}
	server := gateway.NewServer(c.Listen, credentials.Server(identity.Agent, identity.Coordinator), door)
	log.Info("gateway is ready", "name", c.Name, "site", c.Site, "listen", c.Listen)
	go keepRenewed(ctx, credentials, client.Renew, log)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := server.Serve(identity.NewListener(listener, server.TLSConfig, log)); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve agents: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		grants{client, door, credentials, obedience, state.SiteName(c.Site), log}.follow(ctx)
		return server.Close() // what is under way is tried again by restic
	})
	return group.Wait()
}

// grants are what a gateway lets in by, as the leader says.
type grants struct {
	leader interface {
		GatewaySync(context.Context, wire.GatewayReport) (wire.GatewayView, error)
	}
	door        *gateway.Gateway
	credentials *identity.Credentials
	obedience   *obedience.Obedience
	site        state.SiteName
	log         *slog.Logger
}

// follow keeps the gateway's view fresh until ctx ends.
func (g grants) follow(ctx context.Context) {
	var revision uint64
	for ctx.Err() == nil {
		next, err := g.take(ctx, revision)
		switch {
		case err == nil:
			revision = next
		case ctx.Err() == nil:
			g.log.Warn("no leader answers; the view of the grants grows old", "error", err)
			pause(ctx, retryPause)
		}
	}
}

// take is one exchange with the leader. A leader from before a recovery lets nobody in: the view stays as it is.
func (g grants) take(ctx context.Context, revision uint64) (uint64, error) {
	sent := time.Now()
	view, err := g.leader.GatewaySync(ctx, wire.GatewayReport{
		Site: g.site, Revision: revision, Wait: 5 * time.Second, Incarnation: g.obedience.Told()})
	if err == nil {
		err = g.obedience.Take(view.Incarnation, view.Recovering)
	}
	if err != nil {
		return 0, err
	}
	granted := make([]gateway.Grant, 0, len(view.Grants))
	for _, x := range view.Grants {
		granted = append(granted, gateway.Grant{Account: string(x.Account), Server: string(x.Server), Token: x.Token.String(), Write: x.Write, Daily: x.Daily})
	}
	g.credentials.SetRevocations(view.Revoked) // before anybody is let in by the grants
	g.door.SetView(gateway.View{Grants: granted, At: sent})
	return view.Revision, nil
}
