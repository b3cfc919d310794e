package wire

import (
	"time"

	"drp/raftstore/state"
)

// EraseJob: delete for good all that this site's store has of an account, in whatever repositories of it the worker finds
// there. Here Account is an account and not a repository: the state knows none of its repositories any more. Given until the
// leader has recorded that the listing was empty; a job that is no longer given before the grace is over is taken back.
type EraseJob struct {
	Account state.AccountName `json:"account"`
}

// Erased is how far an EraseJob is.
type Erased struct {
	ID      string            `json:"id"` // the worker's own, so that a repeated report counts once
	Account state.AccountName `json:"account"`
	// Until is when this site's grace is over, by the worker's clock. Nothing is deleted before.
	Until        time.Time           `json:"until,omitzero"`
	Repositories []state.AccountName `json:"repositories,omitempty"` // what was found, by name
	Objects      int64               `json:"objects"`                // deleted, all runs together; each version is one
	Bytes        int64               `json:"bytes"`                  // deleted, all runs together
	Empty        time.Time           `json:"empty,omitzero"`         // when nothing was listed any more: it is done
	Error        string              `json:"error,omitempty"`        // a sentence: why it stands still, or goes on later
}
