package wire

import (
	"time"

	"drp/raftstore/identity"
	"drp/raftstore/state"
)

// A worker knows no accounts, only repositories: in all that it is told and tells, Account is a repository's name (see
// state.Repository.Row).

// WorkerReport is what a worker tells: POST /v1/worker/sync.
type WorkerReport struct {
	Site     state.SiteName `json:"site"`
	Revision uint64         `json:"revision"`
	Wait     time.Duration  `json:"wait"`
	// Incarnation as in GatewayReport.
	Incarnation uint64        `json:"incarnation,omitempty"`
	Ready       []Initialised `json:"ready,omitempty"`
	Passes      []PassReport  `json:"passes,omitempty"`
	// Older leaders know none of these; they give no such jobs.
	Maintained []Maintained `json:"maintained,omitempty"`
	Verified   []Verified   `json:"verified,omitempty"`
	Removed    []Removed    `json:"removed,omitempty"`
	Keyed      []Keyed      `json:"keyed,omitempty"`
	Trash      []Trash      `json:"trash,omitempty"` // longest first, not all where they are many
	// Fill of the site's store, when the worker knows its capacity. Only to a leader that asks for it: older ones refuse a
	// report with a field that they do not know.
	Fill *Fill `json:"fill,omitempty"`
	// Only to a leader that gave an EraseJob: older ones refuse a report with a field that they do not know.
	Erased []Erased `json:"erased,omitempty"`
}

// Trash is what was deleted of one account and is kept beyond the grace, because all of the copy was not read since.
type Trash struct {
	Account state.AccountName `json:"account"`
	Objects int64             `json:"objects"`
	Bytes   int64             `json:"bytes"`
	Over    time.Duration     `json:"over"` // since the grace ended, when this was sent
}

// Fill is how much of a site's store is used.
type Fill struct {
	At       time.Time `json:"at"`
	Used     int64     `json:"used"`     // bytes
	Capacity int64     `json:"capacity"` // bytes, by the worker's configuration
	// The oldest that the worker remembers, of two weeks at most.
	Then     time.Time `json:"then"`
	UsedThen int64     `json:"used_then"`
}

// Initialised says that the repository of an account exists at its home.
type Initialised struct {
	Account state.AccountName `json:"account"`
	Home    state.Home        `json:"home"`
}

// PassReport is one replication pass to this worker's site.
type PassReport struct {
	ID        string             `json:"id"` // the worker's own, so that a repeated report counts once
	Account   state.AccountName  `json:"account"`
	From      state.SiteName     `json:"from"`
	To        state.SiteName     `json:"to"` // set by the leader: the site of the report
	Snapshots []state.SnapshotID `json:"snapshots,omitempty"`
	Objects   int64              `json:"objects"`
	Bytes     int64              `json:"bytes"`
	Error     string             `json:"error,omitempty"`
}

// WorkerDesired is what a worker has to do at its site.
type WorkerDesired struct {
	Revision    uint64 `json:"revision"`
	Incarnation uint64 `json:"incarnation,omitempty"` // these two as in AgentDesired
	Recovering  bool   `json:"recovering,omitempty"`
	// NewSite: nothing is known to be in this site's store yet, so a bucket that is missing may be made. Otherwise a
	// missing one means that the store has lost its disk.
	NewSite bool         `json:"new_site,omitempty"`
	Fill    bool         `json:"fill,omitempty"` // tell how full the store is
	Initial []InitialJob `json:"initial,omitempty"`
	Copy    []CopyJob    `json:"copy,omitempty"`
	// The most urgent few. Each stays until the leader has recorded its end.
	Maintain []MaintainJob        `json:"maintain,omitempty"`
	Verify   []VerifyJob          `json:"verify,omitempty"`
	Remove   []RemoveJob          `json:"remove,omitempty"`
	Keys     []KeyJob             `json:"keys,omitempty"`
	Erase    []EraseJob           `json:"erase,omitempty"`
	Revoked  identity.Revocations `json:"revoked,omitempty"` // as in AgentDesired
}

// InitialJob: create the account's repository in this site's store.
type InitialJob struct {
	Account  state.AccountName `json:"account"`
	Home     state.Home        `json:"home"`
	Password string            `json:"password"`
}

// CopyJob: pull an account's repository from another site until these snapshots are here.
type CopyJob struct {
	Account   state.AccountName  `json:"account"`
	From      state.SiteName     `json:"from"`
	Store     state.Store        `json:"store"` // of From; the read-only key is in the worker's own configuration
	Home      state.Home         `json:"home"`
	Snapshots []state.SnapshotID `json:"snapshots"` // not here yet, newest first
	// Rank of the account's tier. Of one tier the jobs are in the order in which they should be done. Older leaders give none.
	Rank int `json:"rank,omitempty"`
}

// MaintainJob: delete what is over from an account's repository at its home, prune, and look after it.
type MaintainJob struct {
	Account  state.AccountName `json:"account"`
	Home     state.Home        `json:"home"`
	Password string            `json:"password"`
	// Forget are the snapshots that are marked. None: prune and look after the repository only.
	Forget []state.SnapshotID `json:"forget,omitempty"`
	// Known are all that the catalogue has at this site, and those of Forget. What else is found is kept, and reported.
	Known []state.SnapshotID `json:"known,omitempty"`
}

// Maintained is the end of a MaintainJob.
type Maintained struct {
	ID        string             `json:"id"` // the worker's own, so that a repeated report counts once
	Account   state.AccountName  `json:"account"`
	Home      state.Home         `json:"home"`
	Forgotten []state.SnapshotID `json:"forgotten,omitempty"`
	Objects   int64              `json:"objects"`           // moved to the trash
	Bytes     int64              `json:"bytes"`             // moved to the trash
	Unknown   []state.SnapshotID `json:"unknown,omitempty"` // at most 100
	Error     string             `json:"error,omitempty"`   // a sentence; empty: all of it was done
}

// VerifyJob: look at this site's copy of an account's repository.
type VerifyJob struct {
	Account  state.AccountName      `json:"account"`
	Kind     state.VerificationKind `json:"kind"`
	Password string                 `json:"password,omitempty"` // not for scrubbed
	Snapshot state.SnapshotID       `json:"snapshot,omitempty"` // of proven: the one to restore
	Part     int                    `json:"part,omitempty"`     // of checked: which part of all data to read, from 1
	Parts    int                    `json:"parts,omitempty"`    // of how many
	Copies   []RepositoryCopy       `json:"copies,omitempty"`   // at other sites: what is damaged here is repaired from them
	// Known are the snapshots that the catalogue has at this site and that are to stay. Older leaders give none.
	Known []state.SnapshotID `json:"known,omitempty"`
}

// RepositoryCopy is another site's copy of a repository.
type RepositoryCopy struct {
	Site  state.SiteName `json:"site"`
	Store state.Store    `json:"store"`
}

// Verified is the end of a VerifyJob.
type Verified struct {
	ID       string                 `json:"id"` // the worker's own, so that a repeated report counts once
	Account  state.AccountName      `json:"account"`
	Kind     state.VerificationKind `json:"kind"`
	Snapshot state.SnapshotID       `json:"snapshot,omitempty"`
	Part     int                    `json:"part,omitempty"`
	Parts    int                    `json:"parts,omitempty"`
	Error    string                 `json:"error,omitempty"` // a sentence; empty: it is good
	// BeganAgo is how long before this report the look began, and a little more: what came to the copy since was not seen.
	BeganAgo time.Duration `json:"began_ago,omitempty"`
}

// RemoveJob: move a whole retired repository of this site's store into the trash.
type RemoveJob struct {
	Account   state.AccountName `json:"account"`
	Successor state.AccountName `json:"successor"` // the later repository of the account that has taken its place
}

// Removed is the end of a RemoveJob.
type Removed struct {
	ID      string            `json:"id"` // the worker's own, so that a repeated report counts once
	Account state.AccountName `json:"account"`
	Objects int64             `json:"objects"`         // moved to the trash
	Bytes   int64             `json:"bytes"`           // moved to the trash
	Error   string            `json:"error,omitempty"` // a sentence; empty: nothing of it is left in its place
}
