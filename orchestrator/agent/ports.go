package agent

import (
	"context"
	"net/netip"
	"os"
	"time"

	"drp/orchestrator/agent/container"
	"drp/orchestrator/agent/home"
	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

// Leader is whoever leads at the moment. Sync tells it what is here and returns what should be: at once when that
// is not what Report.Revision names, else after Report.Wait. An error means that nobody answered; the agent then
// leaves everything as it is and asks again. One call at a time; a call may be cancelled to tell news earlier.
type Leader interface {
	Sync(ctx context.Context, report wire.AgentReport) (wire.AgentDesired, error)
}

// Containers runs accounts. A container outlives the agent. Calls for one account never overlap, except that Wait
// is pending while others run.
type Containers interface {
	List(ctx context.Context) ([]container.State, error)
	// State: ok is false when there is none.
	State(ctx context.Context, account state.AccountName) (s container.State, ok bool, err error)
	// Create makes the namespaces; no program of the account runs before Start.
	Create(ctx context.Context, spec container.Spec) (pid int, err error)
	Start(ctx context.Context, account state.AccountName) error
	// Stop returns nil only when no process of the account is left. None there: nil.
	Stop(ctx context.Context, account state.AccountName) error
	Pause(ctx context.Context, account state.AccountName) error
	Resume(ctx context.Context, account state.AccountName) error
	// SetCronJobs has a running container go by the cron jobs of spec. Safe to repeat, and then it costs nothing.
	SetCronJobs(ctx context.Context, spec container.Spec) error
	// Trouble says which services of a running container fail; empty: none that is known.
	Trouble(s container.State) string
	// Wait returns nil when the container has ended.
	Wait(ctx context.Context, s container.State) error
}

// Network connects a container. Both calls are safe to repeat.
type Network interface {
	Attach(ctx context.Context, account state.AccountName, pid int, addresses []netip.Addr) error
	Detach(ctx context.Context, account state.AccountName) error
}

// Router makes addresses reachable from elsewhere. All calls are safe to repeat; a token older than the highest
// that it has seen of an account is refused.
type Router interface {
	Announce(ctx context.Context, address netip.Addr, account state.AccountName, token state.Token) error
	Withdraw(ctx context.Context, address netip.Addr, account state.AccountName, token state.Token) error
	// RoutesOf tells what is announced for an account at the moment.
	RoutesOf(ctx context.Context, account state.AccountName) ([]netip.Addr, error)
	// Tokens are the highest that it has seen, of each account.
	Tokens(ctx context.Context) (map[state.AccountName]state.Token, error)
}

// Backups saves and restores files as the account's own root, so that snapshots hold the ids of the inside and a
// restore is not root on the host.
type Backups interface {
	// Backup saves the directory view: "files" and "account.json" in it, and the others that are named. at is the time of
	// the view. Files of mailboxes that cannot be read fail that part alone.
	Backup(ctx context.Context, account state.AccountName, ids home.IDs, repo wire.RepositoryAccess, view *os.File, others []string, at time.Time) (Saved, error)
	// Restore writes what lies in path of the account's home as of the snapshot ("": all of it) into an empty
	// directory.
	Restore(ctx context.Context, ids home.IDs, repo wire.RepositoryAccess, from state.SnapshotID, path string, into home.Within) (Restored, error)
	// RestoreOthers writes what else the snapshot holds under these names at its top into an empty directory. What it does
	// not hold is no error.
	RestoreOthers(ctx context.Context, ids home.IDs, repo wire.RepositoryAccess, from state.SnapshotID, names []string, into home.Within) error
}

// Databases is the engines of this server. What a dump says may be anybody's word. Calls for one account do not overlap.
type Databases interface {
	// Dump writes two files named after the database, which belong to owner; after an error none.
	Dump(ctx context.Context, d state.Database, into *os.Root, owner int) error
	Exists(ctx context.Context, d state.Database) (bool, error)
	// Load replaces the database by what Dump wrote; all are the account's databases. After an error there may be half of it.
	Load(ctx context.Context, d state.Database, all []state.Database, from *os.Root, ids home.IDs) error
}

// Saved is a backup that is whole.
type Saved struct {
	ID           state.SnapshotID
	Files, Bytes int64
	Failed       []state.Part // mailboxes of which it lacks something
}

// Restored counts what a restore wrote.
type Restored struct{ Files, Bytes int64 }
