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

	"drp/orchestrator/api"
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
		followGrants(ctx, client, door, credentials, state.SiteName(c.Site), log)
		return server.Close() // what is under way is tried again by restic
	})
	return group.Wait()
}

// followGrants keeps the gateway's view fresh until ctx ends.
func followGrants(ctx context.Context, leader *api.Client, door *gateway.Gateway, credentials *identity.Credentials, site state.SiteName, log *slog.Logger) {
	var revision uint64
	for ctx.Err() == nil {
		sent := time.Now()
		view, err := leader.GatewaySync(ctx, wire.GatewayReport{Site: site, Revision: revision, Wait: 5 * time.Second})
		if err != nil {
			if ctx.Err() == nil {
				log.Warn("no coordinator answers", "error", err)
				pause(ctx, retryPause)
			}
			continue
		}
		grants := make([]gateway.Grant, 0, len(view.Grants))
		for _, g := range view.Grants {
			grants = append(grants, gateway.Grant{Account: string(g.Account), Server: string(g.Server), Token: g.Token.String(), Write: g.Write, Daily: g.Daily})
		}
		credentials.SetRevocations(view.Revoked) // before anybody is let in by the grants
		door.SetView(gateway.View{Grants: grants, At: sent})
		revision = view.Revision
	}
}
