package api

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"drp/orchestrator"
	"drp/orchestrator/inventory"
	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

// Each method below is one route. What changes something carries an id of the client's making, or names its target
// as a whole, so that asking again is harmless; the one exception is CreateToken.

// Health asks one coordinator whether it answers, and whom it takes for the leader.
func (c *Client) Health(ctx context.Context) (*Health, error) {
	var h Health
	return &h, c.do(ctx, get("/v1/health", &h))
}

// Status is what `drp status` shows.
func (c *Client) Status(ctx context.Context) (*orchestrator.StatusReport, error) {
	var r orchestrator.StatusReport
	return &r, c.do(ctx, get("/v1/status", &r))
}

// Apply changes the inventory, and says what changed.
func (c *Client) Apply(ctx context.Context, id string, files []inventory.File, dryRun bool) ([]string, error) {
	in := ApplyRequest{ID: id, DryRun: dryRun, Files: []InventoryFile{}}
	for _, f := range files {
		in.Files = append(in.Files, InventoryFile{Name: f.Name, Text: string(f.Data)})
	}
	var out ApplyResponse
	err := c.do(ctx, post("/v1/inventory", in, &out))
	return out.Changes, err
}

// Sites lists sites.
func (c *Client) Sites(ctx context.Context) ([]*state.Site, error) {
	return rows[state.Site](ctx, c, "/v1/sites")
}

// Servers lists servers.
func (c *Client) Servers(ctx context.Context) ([]*state.Server, error) {
	return rows[state.Server](ctx, c, "/v1/servers")
}

// Policies lists policies.
func (c *Client) Policies(ctx context.Context) ([]*state.Policy, error) {
	return rows[state.Policy](ctx, c, "/v1/policies")
}

// Accounts lists accounts. The values of services' variables are hidden.
func (c *Client) Accounts(ctx context.Context) ([]*state.Account, error) {
	return rows[state.Account](ctx, c, "/v1/accounts")
}

// Account reads one account.
func (c *Client) Account(ctx context.Context, name state.AccountName) (*AccountDetail, error) {
	var d AccountDetail
	return &d, c.do(ctx, get("/v1/accounts/"+url.PathEscape(string(name)), &d))
}

// Snapshots lists an account's snapshots, newest first.
func (c *Client) Snapshots(ctx context.Context, name state.AccountName) ([]*state.Snapshot, error) {
	return rows[state.Snapshot](ctx, c, "/v1/accounts/"+url.PathEscape(string(name))+"/snapshots")
}

// BackupNow asks for a backup of each account.
func (c *Client) BackupNow(ctx context.Context, accounts []state.AccountName) ([]state.TaskID, error) {
	var out BackupResponse
	err := c.do(ctx, post("/v1/backups", BackupRequest{Accounts: accounts}, &out))
	return out.Tasks, err
}

// PlanFailover says what a failover would do.
func (c *Client) PlanFailover(ctx context.Context, scope orchestrator.Scope) (*orchestrator.Plan, error) {
	var p orchestrator.Plan
	return &p, c.do(ctx, post("/v1/plans/failover", scope, &p))
}

// Runbooks lists the runbooks that a run can be started of.
func (c *Client) Runbooks(ctx context.Context) ([]*Runbook, error) {
	return rows[Runbook](ctx, c, "/v1/runbooks")
}

// Runbook reads one, with its page.
func (c *Client) Runbook(ctx context.Context, name string) (*Runbook, error) {
	var r Runbook
	return &r, c.do(ctx, get("/v1/runbooks/"+url.PathEscape(name), &r))
}

// Runs lists runs, newest first.
func (c *Client) Runs(ctx context.Context) ([]*state.Run, error) {
	return rows[state.Run](ctx, c, "/v1/runs")
}

// Run reads a run. With a revision it waits until the run has another one, at most for wait.
func (c *Client) Run(ctx context.Context, id state.RunID, revision string, wait time.Duration) (*RunView, error) {
	var v RunView
	k := get("/v1/runs/"+url.PathEscape(string(id)), &v)
	if revision != "" && wait > 0 {
		k.wait, k.query = wait, url.Values{"wait": {wait.String()}, "revision": {revision}}
	}
	return &v, c.do(ctx, k)
}

// RunAccounts lists what a run planned for each account, in order of recovery.
func (c *Client) RunAccounts(ctx context.Context, id state.RunID) ([]*state.RunAccount, error) {
	return rows[state.RunAccount](ctx, c, "/v1/runs/"+url.PathEscape(string(id))+"/accounts")
}

// StartRun starts a run. r.ID must be set: it makes a retry harmless.
func (c *Client) StartRun(ctx context.Context, r orchestrator.StartRequest) (*state.Run, error) {
	if r.Parameters == nil {
		r.Parameters = map[string]string{}
	}
	var run state.Run
	return &run, c.do(ctx, post("/v1/runs", r, &run))
}

// ConfirmRun gives a person's word: the plan with this hash may be carried out, and these servers are down.
func (c *Client) ConfirmRun(ctx context.Context, id state.RunID, planHash string, down []state.ServerName) error {
	return c.do(ctx, post("/v1/runs/"+url.PathEscape(string(id))+"/confirm", ConfirmRequest{PlanHash: planHash, Down: down}, nil))
}

// CancelRun ends a run that has not gone beyond its confirmation.
func (c *Client) CancelRun(ctx context.Context, id state.RunID) error {
	return c.do(ctx, post("/v1/runs/"+url.PathEscape(string(id))+"/cancel", nil, nil))
}

// CreateToken makes a token and returns it, this once. It is not repeated when the connection breaks: the outcome is
// then unknown, and the way out is to revoke the name and try again.
func (c *Client) CreateToken(ctx context.Context, name, role string, validity time.Duration) (string, error) {
	var out TokenResponse
	k := post("/v1/tokens", TokenRequest{Name: name, Role: role, Validity: validity}, &out)
	k.once = true
	err := c.do(ctx, k)
	return out.Token, err
}

// RevokeToken ends a token's validity.
func (c *Client) RevokeToken(ctx context.Context, name string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: "/v1/tokens/" + url.PathEscape(name)})
}

// AgentSync tells what a server holds, and what it should hold. It waits up to r.Wait for something new.
func (c *Client) AgentSync(ctx context.Context, r wire.AgentReport) (wire.AgentDesired, error) {
	return exchange[wire.AgentDesired](ctx, c, "/v1/agent/sync", r, r.Wait)
}

// GatewaySync asks who may do what at a site's gateway.
func (c *Client) GatewaySync(ctx context.Context, r wire.GatewayReport) (wire.GatewayView, error) {
	return exchange[wire.GatewayView](ctx, c, "/v1/gateway/sync", r, r.Wait)
}

// WorkerSync tells what a site's worker did, and what it has to do.
func (c *Client) WorkerSync(ctx context.Context, r wire.WorkerReport) (wire.WorkerDesired, error) {
	return exchange[wire.WorkerDesired](ctx, c, "/v1/worker/sync", r, r.Wait)
}

// Probe asks a coordinator, with a coordinator's certificate, to fetch a check from its own site.
func (c *Client) Probe(ctx context.Context, p wire.Probe) (wire.ProbeResult, error) {
	return exchange[wire.ProbeResult](ctx, c, "/v1/internal/probe", p, p.Timeout)
}

// TellContacts tells a coordinator, with a coordinator's certificate, when servers were last heard. It answers with what
// it says of itself; an older one says nothing.
func (c *Client) TellContacts(ctx context.Context, contacts wire.Contacts) (wire.Introduction, error) {
	var said wire.Introduction
	err := c.do(ctx, post("/v1/internal/contacts", contacts, &said))
	return said, err
}

func rows[T any](ctx context.Context, c *Client, path string) ([]*T, error) {
	var out []*T
	err := c.do(ctx, get(path, &out))
	return out, err
}

func exchange[Out, In any](ctx context.Context, c *Client, path string, in In, wait time.Duration) (Out, error) {
	var out Out
	k := post(path, in, &out)
	k.wait = waitFor(wait)
	err := c.do(ctx, k)
	return out, err
}
