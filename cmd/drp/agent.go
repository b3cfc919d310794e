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
	credentials, err := loadCredentials(c.Certificates, log)
	if err != nil {
		return err
	}
	client, err := leaderClient(c.Coordinators, credentials, log)
	if err != nil {
		return err
	}
	c.Trust = credentials
	go keepRenewed(ctx, credentials, client.Renew, log)
	return agent.Run(ctx, c, agentLeader{client, credentials}, log)
}

type agentLeader struct {
	client      *api.Client
	credentials *identity.Credentials
}

func (l agentLeader) Sync(ctx context.Context, r wire.AgentReport) (wire.AgentDesired, error) {
	d, err := l.client.AgentSync(ctx, r)
	if err == nil {
		l.credentials.SetRevocations(d.Revoked)
	}
	return d, err
}
