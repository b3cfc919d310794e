package state

import (
	"encoding/json"
	"errors"
	"time"
)

// Name is a command's name. Names are only ever added: the log is forever.
type Name string

// The commands. The comment says what Apply refuses; a refused command changes nothing and its Result says why.
const (
	// ClusterInit {UUID, Incarnation}: once; refused when a different cluster is there already.
	ClusterInit Name = "cluster.init"
	// InventoryApply replaces or adds the objects given. Refused as a whole when a reference would dangle, an address
	// lies outside of the provider's prefixes or belongs to another account.
	InventoryApply Name = "inventory.apply"
	// ServerSeen records a change of a server's status. Refused for an unknown server.
	ServerSeen Name = "server.status"
	// RepositoryCreate: the sealed password and the first home. Refused when the account has one.
	RepositoryCreate Name = "repository.create"
	// RepositoryReady: the home's worker has written config and key. Refused for another home than the present one.
	RepositoryReady Name = "repository.ready"
	// Assign gives an account to a server under the next generation. Refused unless Previous is the present token
	// (zero: none yet) *and* that assignment is fenced, and without Restore where there was one before. Moves the
	// repository's home to the server's site (epoch + 1) when it lies elsewhere. Pending tasks of the old token fail in
	// the same step.
	Assign Name = "assignment.set"
	// AssignmentStop tells the present server to stop. Refused for another token than the present one.
	AssignmentStop Name = "assignment.stop"
	// AssignmentFenced records the proof for one token. Refused for another token than the present one, and for
	// AgentStopped without a stop order.
	AssignmentFenced Name = "assignment.fenced"
	// AssignmentReady: the agent reports all of it running. Refused for another token than the present one, or when fenced.
	AssignmentReady Name = "assignment.ready"
	// TaskCreate: refused when the task's token is not the account's present one, when that is stopped or fenced, or when
	// the account has another pending task of that kind.
	TaskCreate Name = "task.create"
	// TaskFinish ends a pending task. For a backup it also writes BackupStatus and, on success, the Snapshot row
	// (with its first copy: the site of the server). Finished backup tasks are removed; others stay until TaskForget.
	// A snapshot without a good id, or whose id is known, ends the task as failed. Of the texts 2 KiB are kept.
	TaskFinish Name = "task.finish"
	// TaskForget removes a finished task.
	TaskForget Name = "task.forget"
	// ReplicationRecord: one pass to one site. Marks the snapshots that a complete pass held as copied there; ids that the
	// catalogue does not know are ignored.
	ReplicationRecord Name = "replication.record"
	// RunCreate: refused when the id is taken, or when another run of the same runbook with the same parameters has not ended.
	RunCreate Name = "run.create"
	// RunAccounts records accounts of a run that is still preparing; the same account, token, target
	// and restore twice is no change. Refused otherwise.
	RunAccounts Name = "run.accounts"
	// RunAccountEnd says how one account of a run ended. Refused when it has ended already, or the run has.
	RunAccountEnd Name = "run.account.end"
	// RunUpdate replaces a run's progress. Refused unless Expect matches the present revision of (Step, step status) and
	// when the run has ended.
	RunUpdate Name = "run.update"
	// RunConfirm: the person's word. Refused unless the run waits and PlanHash is the run's.
	RunConfirm Name = "run.confirm"
	// RunCancel: refused when the run has ended or has gone beyond its confirmation.
	RunCancel Name = "run.cancel"
	// TokenCreate and TokenRevoke: API tokens.
	TokenCreate Name = "token.create"
	TokenRevoke Name = "token.revoke"
)

// Command is one entry of the log. ID makes a retry harmless: an ID that was applied answers with its first Result.
// At is the proposer's clock; Apply knows no other time.
type Command struct {
	Name Name            `json:"name"`
	ID   string          `json:"id"`
	At   time.Time       `json:"at"`
	By   string          `json:"by"` // role/name of who asked
	Data json.RawMessage `json:"data"`
}

// Result is what Apply answers.
type Result struct {
	// Err is nil, or one of the errors below wrapped with what and why.
	Err error
	// Changed is false when the state already was as asked.
	Changed bool
	// Notes are sentences for the person who asked: what an inventory changed, the token that an assignment got.
	Notes []string
	// Token is the new token of an Assign.
	Token Token
}

// Errors of Apply. They survive the way over the API.
var (
	ErrNotFound = errors.New("not found")
	ErrConflict = errors.New("conflict") // the state is not what the command expected
	ErrInvalid  = errors.New("invalid")
)

// UnknownCommandError stops the node: an older binary must not guess.
type UnknownCommandError struct{ Name Name }

func (e *UnknownCommandError) Error() string {
	return "unknown command " + string(e.Name) + " in the log: this drp is older than the one that wrote it; upgrade it"
}

// Payloads, one for each command.
type (
	ClusterInitData struct {
		UUID        string `json:"uuid"`
		Incarnation uint64 `json:"incarnation"`
		Level       int    `json:"level,omitempty"`
	}
	// InventoryData are the objects of one apply.
	InventoryData struct {
		Provider *Provider `json:"provider,omitempty"`
		Sites    []Site    `json:"sites,omitempty"`
		Servers  []Server  `json:"servers,omitempty"`
		Policies []Policy  `json:"policies,omitempty"`
		Accounts []Account `json:"accounts,omitempty"`
	}
	ServerSeenData struct {
		Server      ServerName `json:"server"`
		Status      Status     `json:"status"`
		LastContact time.Time  `json:"last_contact"`
	}
	RepositoryCreateData struct {
		Account        AccountName `json:"account"`
		Site           SiteName    `json:"site"`
		SealedPassword []byte      `json:"sealed_password"`
	}
	RepositoryReadyData struct {
		Account AccountName `json:"account"`
		Home    Home        `json:"home"`
	}
	AssignData struct {
		Account  AccountName   `json:"account"`
		Server   ServerName    `json:"server"`
		Previous Token         `json:"previous"`
		Restore  *RestorePoint `json:"restore,omitempty"`
		Run      RunID         `json:"run,omitempty"`
	}
	AssignmentStopData struct {
		Account AccountName `json:"account"`
		Token   Token       `json:"token"`
	}
	AssignmentFencedData struct {
		Account AccountName `json:"account"`
		Token   Token       `json:"token"`
		Method  FenceMethod `json:"method"`
		By      string      `json:"by"`
	}
	AssignmentReadyData struct {
		Account AccountName `json:"account"`
		Token   Token       `json:"token"`
	}
	TaskCreateData struct {
		Task Task `json:"task"`
	}
	TaskFinishData struct {
		Task     TaskID    `json:"task"`
		Error    string    `json:"error,omitempty"` // empty: done
		Detail   string    `json:"detail,omitempty"`
		Snapshot *Snapshot `json:"snapshot,omitempty"` // of a backup; Account, Server, Token and Sites are set by Apply
	}
	TaskForgetData struct {
		Task TaskID `json:"task"`
	}
	ReplicationRecordData struct {
		Account   AccountName  `json:"account"` // or a later repository's name: see Repository.Row
		From      SiteName     `json:"from"`
		To        SiteName     `json:"to"`
		Snapshots []SnapshotID `json:"snapshots,omitempty"` // what the complete pass listed and holds
		Objects   int64        `json:"objects"`
		Bytes     int64        `json:"bytes"`
		Error     string       `json:"error,omitempty"`
	}
	RunCreateData struct {
		Run Run `json:"run"`
	}
	RunAccountsData struct {
		Run      RunID        `json:"run"`
		Accounts []RunAccount `json:"accounts"`
	}
	RunAccountEndData struct {
		Run     RunID         `json:"run"`
		Account AccountName   `json:"account"`
		Status  StepStatus    `json:"status"` // done or failed
		At      time.Time     `json:"at"`
		Message string        `json:"message,omitempty"`
		RPO     time.Duration `json:"rpo,omitempty"`
		RTO     time.Duration `json:"rto,omitempty"`
	}
	// RunUpdateData moves a run on. ExpectStep and ExpectStatus are where the proposer saw it.
	RunUpdateData struct {
		Run          RunID      `json:"run"`
		ExpectStep   int        `json:"expect_step"`
		ExpectStatus StepStatus `json:"expect_status"`
		Status       RunStatus  `json:"status"`
		Step         int        `json:"step"`
		Steps        []RunStep  `json:"steps"`
		Error        string     `json:"error,omitempty"`
	}
	RunConfirmData struct {
		Run      RunID        `json:"run"`
		PlanHash string       `json:"plan_hash"`
		By       string       `json:"by"`
		Down     []ServerName `json:"down,omitempty"`
	}
	RunCancelData struct {
		Run RunID  `json:"run"`
		By  string `json:"by"`
	}
	TokenCreateData struct {
		Token APIToken `json:"token"`
	}
	TokenRevokeData struct {
		Name string `json:"name"`
	}
)

// NewCommand encodes a payload. It panics on a payload that JSON cannot hold, which no payload above is.
func NewCommand(name Name, id string, at time.Time, by string, payload any) Command {
	data, err := json.Marshal(payload)
	if err != nil {
		panic("state: encode " + string(name) + ": " + err.Error())
	}
	return Command{Name: name, ID: id, At: at.UTC(), By: by, Data: data}
}
