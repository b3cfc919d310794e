package main

import (
	"context"

	"github.com/spf13/cobra"

	"drp/orchestrator/agent"
	"drp/orchestrator/api"
	"drp/orchestrator/wire"
	"drp/raftstore/identity"
)

func newAgentCommand() *cobra.Command {
	return daemonCommand("agent", "Run the accounts of this server, as the leader says", runAgent)
}

func runAgent(ctx context.Context, path string) error {
	var c agent.Config
	if err := readConfig(path, &c); err != nil {
		return err
	}
	log := newLogger()
	credentials, err := identity.Load(c.Certificates)
	if err != nil {
		return err
	}
	client, err := leaderClient(c.Coordinators, credentials, log)
	if err != nil {
		return err
	}
	return agent.Run(ctx, c, agentLeader{client}, log)
}

type agentLeader struct{ client *api.Client }

func (l agentLeader) Sync(ctx context.Context, r wire.AgentReport) (wire.AgentDesired, error) {
	return l.client.AgentSync(ctx, r)
}
