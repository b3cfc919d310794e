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

// Report is what a worker tells.
type Report struct {
	Site     string
	Revision uint64 // of the last Desired that was taken over
	Wait     time.Duration
	Ready    []Initialised
	Passes   []PassReport
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
	Initial []InitialJob
	Copy    []CopyJob
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
}

// StoreAddress is where another site's store is.
type StoreAddress struct {
	Endpoint string
	Bucket   string
	Region   string
}
