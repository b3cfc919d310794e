package orchestrator

import (
	"net/netip"
	"time"

	"drp/raftstore/state"
)

// Scope is what a failover is about: exactly one of the two is set.
type Scope struct {
	Site   state.SiteName   `json:"site,omitempty"`
	Server state.ServerName `json:"server,omitempty"`
}

// Plan is what a failover would do, as it is shown before anybody confirms it. Its hash binds the confirmation.
type Plan struct {
	Scope Scope     `json:"scope"`
	At    time.Time `json:"at"`
	// Answering are servers of the scope whose agents answer: they are told to stop, and the stop is waited for.
	Answering []PlanServer `json:"answering,omitempty"`
	// Silent are servers that do not. The confirmation names them as down.
	Silent   []PlanServer  `json:"silent,omitempty"`
	Accounts []PlanAccount `json:"accounts"`          // in order of recovery
	NotFit   []PlanRefusal `json:"not_fit,omitempty"` // what cannot be brought back, and why
	Hash     string        `json:"hash"`
}

// PlanServer is one server of the scope.
type PlanServer struct {
	Server      state.ServerName `json:"server"`
	Status      state.Status     `json:"status"`
	LastContact time.Time        `json:"last_contact,omitzero"`
	Accounts    int              `json:"accounts"`
}

// PlanAccount is one account that would move.
type PlanAccount struct {
	Account   state.AccountName `json:"account"`
	Tier      state.Tier        `json:"tier"`
	From      state.ServerName  `json:"from"`
	Token     state.Token       `json:"token"` // the one that has to be fenced
	To        state.ServerName  `json:"to"`
	Snapshot  state.SnapshotID  `json:"snapshot"`
	ReadAt    state.SiteName    `json:"read_at"` // the site whose copy is restored
	Start     time.Time         `json:"start"`   // of the snapshot
	Loss      time.Duration     `json:"loss"`    // last contact with From − Start: the data that will be lost
	Addresses []netip.Addr      `json:"addresses"`
	Older     []PlanPart        `json:"older,omitempty"` // databases and mailboxes that the snapshot lacks
	// Erased: it is only fenced, and comes back nowhere. To is From then, and there is no snapshot.
	Erased bool `json:"erased,omitempty"`
}

// PlanPart is a part of an account that comes from an older snapshot than its files.
type PlanPart struct {
	Part     string           `json:"part"`
	Snapshot state.SnapshotID `json:"snapshot,omitempty"` // empty: no snapshot at that site has it
	Start    time.Time        `json:"start,omitzero"`     // of that snapshot
}

// PlanRefusal is one account that cannot be brought back, with the reason for a person.
type PlanRefusal struct {
	Account state.AccountName `json:"account"`
	Tier    state.Tier        `json:"tier"`
	From    state.ServerName  `json:"from"`
	Reason  string            `json:"reason"`
}
