// Package wire holds what the leader and the agents, gateways and workers say to one another.
//
// Each of them dials out and long-polls: it says what it holds (observed), and is told what it should hold
// (desired). Every message is whole, never a difference, so that any of them can be lost, repeated or answered
// by the next leader. Each field has one writer.
package wire

import (
	"net/netip"
	"time"

	"drp/raftstore/identity"
	"drp/raftstore/state"
)

// AgentReport is what an agent tells: POST /v1/agent/sync.
type AgentReport struct {
	Server state.ServerName `json:"server"`
	Boot   string           `json:"boot"` // changes with each boot of the machine
	// Revision is the Revision of the last Desired that the agent took over; the leader answers as soon as it has
	// another one, or after Wait.
	Revision uint64            `json:"revision"`
	Wait     time.Duration     `json:"wait"`
	Accounts []ObservedAccount `json:"accounts,omitempty"`
	Tasks    []TaskReport      `json:"tasks,omitempty"`
	// Incarnation is the highest of a cluster that has ordered anything here. None before a first recovery: older coordinators
	// do not know the field.
	Incarnation uint64 `json:"incarnation,omitempty"`
	// Memory is told only while the leader asks for it (AgentDesired.Recovering), and then it is whole.
	Memory *Memory `json:"memory,omitempty"`
	// Engines are told when the leader asks for them (AgentDesired.AskEngines). Nil: nothing is known.
	Engines *Engines `json:"engines,omitempty"`
}

// Memory is every token that this server has ever seen: what its agent's journal and its guard keep on the disk.
type Memory struct {
	Tokens []SeenToken `json:"tokens,omitempty"`
}

// SeenToken is the highest token of an account that a server has seen.
type SeenToken struct {
	Account state.AccountName `json:"account"`
	Token   state.Token       `json:"token"`
	// Stopped: nothing runs there under it, and never will.
	Stopped bool `json:"stopped,omitempty"`
}

// Engines are the database servers that an agent can reach.
type Engines struct {
	List []state.Engine `json:"list"`
}

// Phase is where an account is on its way to running.
type Phase string

const (
	Restoring Phase = "restoring" // its home is being rebuilt
	Starting  Phase = "starting"  // container, addresses, route
	Running   Phase = "running"   // container up and announced
	// Stopped: no process, no route, and it is on the agent's disk that this token never starts here again. Only ever the
	// answer to a stop order: what merely does not run (after a boot, say) is Starting.
	Stopped  Phase = "stopped"
	SetAside Phase = "set-aside" // stopped, and its home renamed out of the way, untouched
	Failed   Phase = "failed"    // Message says why; the agent tries again
)

// ObservedAccount is what an agent holds of an account under one token.
type ObservedAccount struct {
	Account state.AccountName `json:"account"`
	Token   state.Token       `json:"token"`
	Phase   Phase             `json:"phase"`
	Message string            `json:"message,omitempty"`
	Since   time.Time         `json:"since"`
}

// TaskReport is the outcome of a task. The agent repeats it until the task is no longer desired.
type TaskReport struct {
	Task     state.TaskID    `json:"task"`
	Error    string          `json:"error,omitempty"`   // empty: done
	Damaged  bool            `json:"damaged,omitempty"` // a backup failed since the repository lacks something; older agents say nothing
	Detail   string          `json:"detail,omitempty"`
	Snapshot *state.Snapshot `json:"snapshot,omitempty"` // backups: ID, Start, Finished, View, Files, Bytes
}

// AgentDesired is what an agent should hold. An account that it holds and that is not named here is left as it is
// (servers fail static); one that is named with Run false is stopped and, once a newer token exists, set aside.
type AgentDesired struct {
	Revision uint64 `json:"revision"`
	// Incarnation of the cluster that says so. An agent that has obeyed a higher one does nothing of it: coordinators from
	// before a recovery came back, and know nothing of what was decided since.
	Incarnation uint64 `json:"incarnation,omitempty"`
	// Recovering: the coordinators come out of a loss and do not know yet what is true. Nothing is ordered: everything stays
	// as it is, tasks too, and the agent tells its memory with each report.
	Recovering bool             `json:"recovering,omitempty"`
	Accounts   []DesiredAccount `json:"accounts,omitempty"`
	Tasks      []DesiredTask    `json:"tasks,omitempty"`
	// Revoked are the certificates that count no more, whole: peers that show one are refused.
	Revoked identity.Revocations `json:"revoked,omitempty"`
	// AskEngines: this coordinator knows the field Engines of a report, which older ones refuse.
	AskEngines bool `json:"ask_engines,omitempty"`
}

// DesiredAccount is one account on this server.
type DesiredAccount struct {
	Account state.Account `json:"account"`
	Token   state.Token   `json:"token"` // of this server's assignment, or the newer one that replaced it
	// Run: it should run here, under Token. False: whatever runs here under a token up to Token has to stop.
	Run bool `json:"run"`
	// SetAside: Token belongs to another server now; keep what is here out of the way, untouched.
	SetAside bool `json:"set_aside,omitempty"`
	// New: it never ran under Token, so its home may have to be made. A home that is missing later is a loss to be told,
	// never one to be replaced by an empty one.
	New bool `json:"new,omitempty"`
	// Restore says what the home is rebuilt from when there is no home under this token yet. Nil: an empty one.
	Restore    *state.SnapshotID `json:"restore,omitempty"`
	Repository *RepositoryAccess `json:"repository,omitempty"`
	// Parts says for each part of the account that Restore does not hold whole (its dump failed, say) which older snapshot to
	// take it from. Empty: no snapshot at that site holds it, and the account comes back without.
	Parts map[string]state.SnapshotID `json:"parts,omitempty"`
	// Elsewhere says for those of Parts that lie in another repository than Restore how to get at that one.
	Elsewhere map[string]RepositoryAccess `json:"elsewhere,omitempty"`
}

// RepositoryAccess is how restic gets at a repository of an account: through this server's site's gateway. The agent
// adds its own client certificate.
type RepositoryAccess struct {
	URLs     []string `json:"urls"` // rest:https://host:port/REPOSITORY/TOKEN/ ; more than one gateway: try in order
	Password string   `json:"password"`
}

// DesiredTask is one piece of work to do once.
type DesiredTask struct {
	Task       state.Task       `json:"task"`
	Repository RepositoryAccess `json:"repository"`
}

// GatewayReport is what a gateway tells: POST /v1/gateway/sync.
type GatewayReport struct {
	Site     state.SiteName `json:"site"`
	Revision uint64         `json:"revision"`
	Wait     time.Duration  `json:"wait"`
	// Incarnation that it obeys, when the cluster was ever recovered.
	Incarnation uint64 `json:"incarnation,omitempty"`
}

// GatewayView is who may do what at a site's gateway. It is valid from when the request for it was sent.
type GatewayView struct {
	Revision    uint64               `json:"revision"`
	Incarnation uint64               `json:"incarnation,omitempty"` // these three as in AgentDesired
	Recovering  bool                 `json:"recovering,omitempty"`
	Revoked     identity.Revocations `json:"revoked,omitempty"`
	Grants      []Grant              `json:"grants"`
}

// Grant lets one server at one repository of an account, under one token.
type Grant struct {
	Account state.AccountName `json:"account"` // the repository's name: see state.Repository.Row
	Server  state.ServerName  `json:"server"`
	Token   state.Token       `json:"token"`
	Write   bool              `json:"write"` // this site is the repository's home, and the assignment neither stopped nor fenced
	Daily   int64             `json:"daily"` // bytes that it may store in 24 hours; zero: any
}

// Probe asks a coordinator to fetch a service's check from its own site: POST /v1/internal/probe.
type Probe struct {
	Address netip.Addr    `json:"address"`
	URL     string        `json:"url"` // as the account wrote it; host is replaced by Address
	Timeout time.Duration `json:"timeout"`
}

// ProbeResult is what came back.
type ProbeResult struct {
	OK      bool      `json:"ok"`
	At      time.Time `json:"at"`
	Site    string    `json:"site"` // from where
	Message string    `json:"message,omitempty"`
}

// Contacts is what the leader tells the other coordinators every few seconds, so that the next leader knows when
// each server was last heard: POST /v1/internal/contacts.
type Contacts struct {
	Last map[state.ServerName]time.Time `json:"last"`
}

// Introduction is what a coordinator says of itself, as its answer to Contacts.
type Introduction struct {
	Recipient string `json:"recipient,omitempty"` // age1…: of its own identity
	// Offline are the operators' offline recipients, if its configuration file tells them from the coordinators' (Configured).
	Offline    []string `json:"offline,omitempty"`
	Configured bool     `json:"configured,omitempty"`
}
