package orchestrator

import (
	"context"

	"drp/raftstore/state"
)

// Vault is where the leader keeps what has to outlive every coordinator: one append-only place in each site's store,
// behind that site's gateway.
//
// Names are audit/NAME and exports/NAME. An object never changes and never goes. All methods may be called from any
// goroutine, for several sites at once, and end with ctx. An error says that nothing is known of the outcome.
type Vault interface {
	// Put stores an object, and returns once it is safe there. One that is there with these very bytes is success; one that
	// is there with others is an error, and stays as it was.
	Put(ctx context.Context, site state.SiteName, name string, body []byte) error
	// List returns the full names that begin with prefix, ascending. None is no error.
	List(ctx context.Context, site state.SiteName, prefix string) ([]string, error)
	// Get reads an object. One that is not there is state.ErrNotFound. What a store answers is not to be believed: the
	// caller checks it.
	Get(ctx context.Context, site state.SiteName, name string) ([]byte, error)
}
