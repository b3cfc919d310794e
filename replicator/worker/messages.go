package worker

import (
	"context"
	"fmt"
	"time"
)

// Leader is whoever decides now. Sync is called by one goroutine at a time. It tells what this worker holds, and
// returns what it should do: as soon as that differs from Revision, or after Wait. When ctx ends it has to return soon.
// An error means that the report may be lost; the same one is sent again.
type Leader interface {
	Sync(ctx context.Context, r Report) (Desired, error)
}

// A worker knows no accounts, only repositories: in all that it is told and tells, Account is a repository's name. An account's
// first one bears its name, a later one is called ACCOUNT~N.

// Report is what a worker tells.
type Report struct {
	Site     string
	Revision uint64 // of the last Desired that was taken over
	Wait     time.Duration
	Ready    []Initialised
	Passes   []PassReport
	// Maintained and Verified are told once; the leader knows them by their ID.
	Maintained []Maintained
	Verified   []Verified
	Removed    []Removed
	Keyed      []Keyed // told once, too
	Erased     []Erased
	Fill       *Fill // nil: not known, or the leader did not ask for it
	// Trash waits until all data of a copy was read; longest first, and of so many the longest only. What a leader that does
	// not read it has no need of is not there.
	Trash []Trash
}

// Trash is what was deleted of one account and is kept beyond the grace, because all of the copy was not read since.
type Trash struct {
	Account        string
	Objects, Bytes int64
	Over           time.Duration // since the grace ended
}

// Initialised says that the repository of an account exists at its home.
type Initialised struct {
	Account string
	Home    Home
}

// Home is where a repository is written.
type Home struct {
	Site  string
	Epoch uint64
}

// PassReport is one replication pass to this worker's site.
type PassReport struct {
	ID        string // the worker's own: a repeated report counts once
	Account   string
	From      string
	Snapshots []string // of those that were asked for: a complete pass held them
	Objects   int64    // copied
	Bytes     int64    // copied
	Error     string   // a sentence; empty: complete
}

// Desired is all that a worker has to do at its site.
type Desired struct {
	Revision uint64
	// New: nothing is known to be in this site's store yet, so its bucket may be made. Otherwise a bucket that is missing
	// was lost, most likely with the disk under the store, and an empty one in its place would hide that.
	New     bool
	Fill    bool // tell how full the store is
	Initial []InitialJob
	Copy    []CopyJob
	// Maintain and Verify hold the most urgent few. A job stays here until the leader has recorded its end.
	Maintain []MaintainJob
	Verify   []VerifyJob
	Remove   []RemoveJob
	Keys     []KeyJob
	Erase    []EraseJob // all of them: one that is no longer here was taken back, unless it was told to be done
}

// InitialJob: create the account's repository in this site's store.
type InitialJob struct {
	Account  string
	Home     Home
	Password string
}

// String keeps the password out of logs.
func (j InitialJob) String() string {
	return fmt.Sprintf("create repository of %s at %s, epoch %d", j.Account, j.Home.Site, j.Home.Epoch)
}

// CopyJob: pull an account's repository from another site until these snapshots are here.
type CopyJob struct {
	Account   string
	From      string
	Store     StoreAddress // of From; the key is in the worker's own configuration
	Home      Home
	Snapshots []string // not here yet, newest first
	Rank      int      // of the account's tier; the lowest number recovers first
}

// StoreAddress is where another site's store is.
type StoreAddress struct {
	Endpoint string
	Bucket   string
	Region   string
}

// MaintainJob: forget these snapshots at the repository's home, and prune it.
type MaintainJob struct {
	Account  string
	Home     Home
	Password string
	Forget   []string // marked snapshots; none: prune and look after the repository only
	Known    []string // every snapshot of the catalogue that this site should hold, Forget included; others are kept and told
}

// String keeps the password out of logs.
func (j MaintainJob) String() string {
	return fmt.Sprintf("maintain the repository of %s at %s, epoch %d: forget %d snapshots", j.Account, j.Home.Site, j.Home.Epoch, len(j.Forget))
}

// Maintained is what came of one.
type Maintained struct {
	ID             string // the worker's own: a repeated report counts once
	Account        string
	Home           Home
	Forgotten      []string // no longer in the repository
	Objects, Bytes int64    // moved to the trash
	Unknown        []string // snapshots that are here and not in the catalogue; at most 100
	Error          string   // a sentence; empty: all of it done
}

// VerifyJob: look whether this site's copy is good.
type VerifyJob struct {
	Account     string
	Kind        string   // scrubbed: each object's bytes give its name; checked: restic check, and a part of all data read; proven: restored, and compared
	Password    string   // not for scrubbed
	Snapshot    string   // of proven
	Part, Parts int      // of checked; parts are counted from 1
	Copies      []Copy   // at other sites: what is damaged here is repaired from them
	Known       []string // snapshots that this site should hold
}

// Copy is another site's copy of a repository.
type Copy struct {
	Site  string
	Store StoreAddress // the key is in the worker's own configuration
}

// same reports whether two jobs ask for the same look.
func (j VerifyJob) same(o VerifyJob) bool {
	return j.Account == o.Account && j.Kind == o.Kind && j.Password == o.Password && j.Snapshot == o.Snapshot && j.Part == o.Part && j.Parts == o.Parts
}

// String keeps the password out of logs.
func (j VerifyJob) String() string {
	return fmt.Sprintf("verify %s: %s %.8s %d/%d", j.Account, j.Kind, j.Snapshot, j.Part, j.Parts)
}

// Verified is what came of one.
type Verified struct {
	ID                      string // the worker's own: a repeated report counts once
	Account, Kind, Snapshot string
	Part, Parts             int
	Error                   string // a sentence; empty: good
	// BeganAgo is how long before the report the look began, by a clock that does not step, and as much more as the report
	// may be under way.
	BeganAgo time.Duration
}

// RemoveJob: move a whole repository into the trash, of which everything is over.
type RemoveJob struct {
	Account   string
	Successor string // the later repository of the account that has taken its place
}

// Removed is what came of one.
type Removed struct {
	ID, Account    string
	Objects, Bytes int64  // moved to the trash
	Error          string // a sentence; empty: nothing of it is left in its place
}

// EraseJob: delete for good all that this site has of an account that has left: an account's name, and not a repository's.
type EraseJob struct{ Account string }

// Erased is how far one is.
type Erased struct {
	ID, Account    string
	Until          time.Time // before this nothing is deleted; zero: the wait is over
	Repositories   []string  // that were found
	Objects, Bytes int64     // deleted, all runs together; with an error perhaps fewer than were
	Empty          time.Time // when nothing was left; zero: it is not done
	Error          string    // a sentence: why it stands still, or goes on later
}
