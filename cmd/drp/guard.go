package main

import (
	"context"
	"net/netip"

	"github.com/spf13/cobra"

	"drp/orchestrator/agent/guard"
	"drp/raftstore/state"
)

type guardConfig struct {
	Server   state.ServerName `yaml:"server"`
	Socket   string           `yaml:"socket"`
	Data     string           `yaml:"data"`
	Run      string           `yaml:"run"`
	AS       uint32           `yaml:"as"`
	RouterID string           `yaml:"router_id"`
	Local    netip.Addr       `yaml:"local"`
	Routers  []netip.Addr     `yaml:"routers"`
}

func newGuardCommand() *cobra.Command {
	return daemonCommand("guard", "Hold a server's BGP sessions, beside its agent", runGuard)
}

func runGuard(ctx context.Context, path string) error {
	var c guardConfig
	if err := readConfig(path, &c); err != nil {
		return err
	}
	return guard.Run(ctx, guard.Config{
		Server: c.Server, Socket: c.Socket, Data: c.Data, Run: c.Run, AS: c.AS, RouterID: c.RouterID,
		Local: c.Local, Routers: c.Routers, Logger: newLogger(),
	})
}
