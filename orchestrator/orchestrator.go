// Package orchestrator is the leader's brain. decide is pure and holds all policy: what is due, who is silent, where
// an account goes, what is next in a run. One loop carries out what it says, and proposes the outcome.
package orchestrator

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"drp/orchestrator/inventory"
	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

// Errors that callers tell apart, beside those of package state.
var (
	// ErrNotLeader: ask the leader.
	ErrNotLeader = errors.New("this coordinator does not lead")
	// ErrUnknownOutcome: the command may or may not have been committed. Asking again under the same id is harmless.
	ErrUnknownOutcome = errors.New("outcome unknown")
	// ErrRefused: the request is understood and must not be carried out.
	ErrRefused = errors.New("refused")
	// ErrReadOnly: nothing new can be decided, since disks are full. What is there can be read.
	ErrReadOnly = errors.New("read-only")
)

// Store is the replicated state, as package raftstore gives it.
type Store interface {
	Propose(ctx context.Context, c state.Command) (state.Result, error)
	View() *state.View
	Read(ctx context.Context) (*state.View, error)
	Leader() (name string, ok bool)
	Lead(ctx context.Context, f func(ctx context.Context) error) error
	Changed() <-chan struct{}
}

// Peers is how the leader reaches the other coordinators.
type Peers interface {
	// Probe fetches a check from the given site's coordinator.
	Probe(ctx context.Context, from state.SiteName, p wire.Probe) (wire.ProbeResult, error)
	// TellContacts tells every other coordinator when servers were last heard. Best effort: heard is called with the name
	// of each that took it and what it said of itself, from any goroutine.
	TellContacts(ctx context.Context, c wire.Contacts, heard func(name string, said wire.Introduction))
	// Sites are those that have a coordinator.
	Sites() []state.SiteName
}

// Config is what an Orchestrator stands on. Zero fields get working defaults.
type Config struct {
	Name         string         // of this coordinator
	Cluster      string         // its UUID, as the certificates carry it
	Site         state.SiteName // where it is
	Coordinators []state.Member // of the configuration file
	Store        Store
	Membership   Membership
	Sealer       Sealer
	Recipients   []string // of the configuration file: the coordinators' and the operators' offline ones
	Peers        Peers
	Vault        Vault         // nil: nothing is exported
	Exports      ExportOptions // to whom, and signed by whom
	Trail        TrailOptions
	// BreakGlassWithin is how long ago the last test of break-glass passwords may have passed; 90 days when zero.
	BreakGlassWithin time.Duration
	Logger           *slog.Logger
	Clock            func() time.Time
	Tick             time.Duration // how often the loop looks when nothing has changed; default 500 ms
}

// StartRequest asks for a run.
type StartRequest struct {
	ID         state.RunID       `json:"id,omitempty"` // the client's own, so that a retry starts no second run; empty: made here
	Runbook    string            `json:"runbook"`
	Parameters map[string]string `json:"parameters"`
	PlanHash   string            `json:"plan_hash,omitempty"` // of the plan that was shown; empty: the run's own plan is shown by its confirm step
}

// StatusReport is `drp status`.
type StatusReport struct {
	At           time.Time           `json:"at"`
	Cluster      *state.Cluster      `json:"cluster,omitempty"`
	Leader       string              `json:"leader,omitempty"`
	Alarms       []Alarm             `json:"alarms,omitempty"` // what a person has to look at first
	Stale        *StaleMark          `json:"stale,omitempty"`  // set when it was asked of one coordinator alone
	Coordinators []CoordinatorStatus `json:"coordinators"`
	Sites        []SiteStatus        `json:"sites"`
	Servers      []ServerReport      `json:"servers"`
	Accounts     []AccountStatus     `json:"accounts"`
	Runs         []*state.Run        `json:"runs,omitempty"`   // those that have not ended
	Pauses       []*state.Pause      `json:"pauses,omitempty"` // of backups
}

// CoordinatorStatus is one member.
type CoordinatorStatus struct {
	Name string         `json:"name"`
	Site state.SiteName `json:"site"`
	Role string         `json:"role"` // leader, follower, non-voter
	// LastContact is when it last answered this leader. Zero: not yet.
	LastContact time.Time `json:"last_contact,omitzero"`
}

// SiteStatus is one site's data side.
type SiteStatus struct {
	Site        state.SiteName `json:"site"`
	Witness     bool           `json:"witness,omitempty"`
	GatewaySeen time.Time      `json:"gateway_seen,omitzero"` // since this leader leads
	WorkerSeen  time.Time      `json:"worker_seen,omitzero"`
	Store       *StoreFill     `json:"store,omitempty"`  // nil: nobody knows
	Export      *SiteExport    `json:"export,omitempty"` // the newest export of the state in its store, as this leader knows it
}

// ServerReport is one server.
type ServerReport struct {
	Server      state.ServerName `json:"server"`
	Site        state.SiteName   `json:"site"`
	Status      state.Status     `json:"status"` // empty: never seen
	LastContact time.Time        `json:"last_contact,omitzero"`
	Accounts    int              `json:"accounts"`
	Used        state.Resources  `json:"used"`
	Capacity    state.Resources  `json:"capacity"`
}

// AccountStatus is one account: who runs it, and how well it is protected.
type AccountStatus struct {
	Account  state.AccountName `json:"account"`
	Tier     state.Tier        `json:"tier"`
	Server   state.ServerName  `json:"server,omitempty"`
	Site     state.SiteName    `json:"site,omitempty"`
	Token    state.Token       `json:"token,omitzero"`
	Phase    wire.Phase        `json:"phase,omitempty"` // as the agent reports; empty: not heard by this leader
	Message  string            `json:"message,omitempty"`
	Home     state.Home        `json:"home,omitzero"`
	Snapshot state.SnapshotID  `json:"snapshot,omitempty"` // newest
	Age      time.Duration     `json:"age,omitempty"`      // since its start
	CopiedTo []state.SiteName  `json:"copied_to,omitempty"`
	// Protected: the newest snapshot that is on every replica site is younger than the policy's RPO, and each copy was checked,
	// read and proven within its limits. Why not, otherwise.
	Protected bool   `json:"protected"`
	Why       string `json:"why,omitempty"`
}

// API is what the REST layer asks of a coordinator. Those marked (leader) answer ErrNotLeader elsewhere.
type API interface {
	MembersAPI
	View(ctx context.Context) (*state.View, error)     // (leader) linearizable
	Status(ctx context.Context) (*StatusReport, error) // (leader)
	// Apply takes inventory files and answers what changed, one sentence each (leader). Bad input is inventory.Errors.
	Apply(ctx context.Context, by, id string, files []inventory.File, dryRun bool) ([]string, error)
	PlanFailover(ctx context.Context, scope Scope) (*Plan, error) // (leader)

	// Run and Runs are complete: the Items of their steps are filled from what is known of each account (leader).
	Run(ctx context.Context, id state.RunID) (*state.Run, error)
	Runs(ctx context.Context) ([]*state.Run, error)
	StartRun(ctx context.Context, by string, r StartRequest) (*state.Run, error)                               // (leader)
	ConfirmRun(ctx context.Context, by string, id state.RunID, planHash string, down []state.ServerName) error // (leader)
	CancelRun(ctx context.Context, by string, id state.RunID) error                                            // (leader)

	Protection(ctx context.Context, f ProtectionFilter) (*ProtectionReport, error)               // (leader)
	AccountProtection(ctx context.Context, name state.AccountName) (*AccountVerification, error) // (leader)
	VerifyNow(ctx context.Context, by string, account state.AccountName) (time.Time, error)      // (leader)
	Pauses(ctx context.Context) ([]*state.Pause, error)                                          // (leader)
	PauseBackups(ctx context.Context, by string, p state.Pause) error                            // (leader)
	ResumeBackups(ctx context.Context, by string, kind state.PauseKind, name string) error       // (leader)

	// Compromised shuts a server out and gives the accounts whose backups it could open new repositories (leader).
	Compromised(ctx context.Context, by string, r CompromisedRequest) (*CompromisedReport, error)
	BreakGlass(ctx context.Context) (*BreakGlassReport, error)                             // (leader)
	RecordBreakGlass(ctx context.Context, by string, d state.BreakGlassRecordData) error   // (leader)
	RotateKeys(ctx context.Context, by string, r RotationRequest) (*RotationAnswer, error) // (leader)

	Erasures

	BackupNow(ctx context.Context, by string, accounts []state.AccountName) ([]state.TaskID, error)           // (leader)
	CreateToken(ctx context.Context, by, name, role string, validity time.Duration) (token string, err error) // (leader)
	RevokeToken(ctx context.Context, by, name string) error                                                   // (leader)

	// Record commits an entry of the audit trail before what it tells of is served (leader). See ErrNotRecorded.
	Record(ctx context.Context, by string, n state.AuditNoteData) error

	AgentSync(ctx context.Context, r wire.AgentReport) (wire.AgentDesired, error)    // (leader)
	GatewaySync(ctx context.Context, r wire.GatewayReport) (wire.GatewayView, error) // (leader)
	WorkerSync(ctx context.Context, r wire.WorkerReport) (wire.WorkerDesired, error) // (leader)
	Recovery

	Probe(ctx context.Context, p wire.Probe) wire.ProbeResult // any coordinator, from its own site
	SetContacts(c wire.Contacts) wire.Introduction            // any coordinator
}
