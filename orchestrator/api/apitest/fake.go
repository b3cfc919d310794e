// Package apitest has a coordinator's brain that only remembers what it was asked, for tests of the API and of
// commands.
package apitest

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"drp/orchestrator"
	"drp/orchestrator/inventory"
	"drp/orchestrator/wire"
	"drp/raftstore/signed"
	"drp/raftstore/state"
)

// Brain implements orchestrator.API. Its exported fields are set before it is used, or under Set.
type Brain struct {
	mu sync.Mutex

	Follower   bool             // answers ErrNotLeader to what is the leader's
	Fail       map[string]error // by method: what it answers instead
	Report     *orchestrator.StatusReport
	Plan       *orchestrator.Plan
	Finish     func(r *state.Run) // how a confirmed run ends; nil: well
	Stuck      bool               // runs do not get through their second step
	Cluster    Cluster
	Protected  Protected
	Recovering *orchestrator.RecoveryReport
	Erased     []*orchestrator.ErasureStatus
	Sign       signed.Signer                 // certificates of erasures
	Hook       func(b *Brain, method string) // called under the lock before each answer

	state   *state.State
	index   uint64
	calls   []string
	records []string
	runs    []*state.Run
}

var _ orchestrator.API = (*Brain)(nil)

// NewBrain makes a brain with an empty state.
func NewBrain() *Brain { return &Brain{state: state.New(), Fail: map[string]error{}} }

// Set changes the brain while it is in use.
func (b *Brain) Set(f func(*Brain)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(b)
}

// Calls are the changes that were asked for, as "method by: what".
func (b *Brain) Calls() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.calls)
}

// Records are the entries of the audit trail that were asked for, as "by: action, account or subject".
func (b *Brain) Records() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.records)
}

// Record remembers each time that it is asked.
func (b *Brain) Record(_ context.Context, by string, n state.AuditNoteData) error {
	err := b.note("Record", "", "")
	if err != nil {
		return fmt.Errorf("%w: %w", orchestrator.ErrNotRecorded, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	what := string(n.Account)
	if what == "" {
		what = n.Subject
	}
	b.records = append(b.records, strings.TrimSuffix(by+": "+n.Action+", "+what, ", "))
	return nil
}

// Command applies a command to the brain's state. It panics when the state refuses: a test is wrong then.
func (b *Brain) Command(name state.Name, payload any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.index++
	r, err := b.state.Apply(b.index, state.NewCommand(name, fmt.Sprintf("test-%d", b.index), Start, "coordinator/test", payload))
	if err != nil || r.Err != nil {
		panic(fmt.Sprintf("apitest: %s: %v %v", name, err, r.Err))
	}
}

func (b *Brain) note(method, by, format string, args ...any) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.Hook != nil {
		b.Hook(b, method)
	}
	if b.Follower {
		return orchestrator.ErrNotLeader
	}
	if by != "" {
		b.calls = append(b.calls, method+" "+by+": "+fmt.Sprintf(format, args...))
	}
	return b.Fail[method]
}

func (b *Brain) View(context.Context) (*state.View, error) {
	if err := b.note("View", "", ""); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state.View(), nil
}

func (b *Brain) Status(context.Context) (*orchestrator.StatusReport, error) {
	if err := b.note("Status", "", ""); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.Report == nil {
		return &orchestrator.StatusReport{}, nil
	}
	return b.Report, nil
}

// Apply says that it changed each object once: what it was given before it takes for unchanged.
func (b *Brain) Apply(_ context.Context, by, id string, files []inventory.File, dryRun bool) ([]string, error) {
	if id == "" {
		return nil, fmt.Errorf("apply: no id: %w", state.ErrInvalid)
	}
	seen := b.Calls()
	var changes []string
	for _, f := range files {
		text := fmt.Sprintf("%s %q dry=%t", f.Name, f.Data, dryRun)
		if err := b.note("Apply", by, "%s", text); err != nil {
			return nil, err
		}
		if !slices.Contains(seen, "Apply "+by+": "+text) {
			changes = append(changes, f.Name+" is new")
		}
	}
	return changes, nil
}

func (b *Brain) PlanFailover(_ context.Context, scope orchestrator.Scope) (*orchestrator.Plan, error) {
	if err := b.note("PlanFailover", "", ""); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.Plan == nil || b.Plan.Scope != scope {
		return nil, fmt.Errorf("plan failover: there is no %s: %w", scope, state.ErrNotFound)
	}
	return b.Plan, nil
}

func (b *Brain) BackupNow(_ context.Context, by string, accounts []state.AccountName) ([]state.TaskID, error) {
	if err := b.note("BackupNow", by, "%v", accounts); err != nil {
		return nil, err
	}
	var tasks []state.TaskID
	for _, a := range accounts {
		tasks = append(tasks, state.TaskID("backup-"+string(a)))
	}
	return tasks, nil
}

func (b *Brain) CreateToken(_ context.Context, by, name, role string, validity time.Duration) (string, error) {
	return "drp_" + strings.Repeat("x", 43), b.note("CreateToken", by, "%s %s %s", name, role, validity)
}

func (b *Brain) RevokeToken(_ context.Context, by, name string) error {
	return b.note("RevokeToken", by, "%s", name)
}

func (b *Brain) AgentSync(ctx context.Context, r wire.AgentReport) (wire.AgentDesired, error) {
	err := b.sync(ctx, "AgentSync", string(r.Server), r.Revision, r.Wait)
	return wire.AgentDesired{Revision: r.Revision + 1}, err
}

func (b *Brain) GatewaySync(ctx context.Context, r wire.GatewayReport) (wire.GatewayView, error) {
	err := b.sync(ctx, "GatewaySync", string(r.Site), r.Revision, r.Wait)
	return wire.GatewayView{Revision: r.Revision + 1}, err
}

func (b *Brain) WorkerSync(ctx context.Context, r wire.WorkerReport) (wire.WorkerDesired, error) {
	err := b.sync(ctx, "WorkerSync", string(r.Site), r.Revision, r.Wait)
	return wire.WorkerDesired{Revision: r.Revision + 1}, err
}

// sync waits as a long-poll without news does; revision 0 always has news.
func (b *Brain) sync(ctx context.Context, method, who string, revision uint64, wait time.Duration) error {
	if err := b.note(method, who, "revision %d", revision); err != nil || revision == 0 {
		return err
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func (b *Brain) Probe(_ context.Context, p wire.Probe) wire.ProbeResult {
	return wire.ProbeResult{OK: p.Address == netip.MustParseAddr("2001:db8:a::100"), At: Start, Site: "par2"}
}

func (b *Brain) SetContacts(c wire.Contacts) wire.Introduction {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls = append(b.calls, fmt.Sprintf("SetContacts: %d", len(c.Last)))
	return wire.Introduction{Recipient: "age1fake"}
}
