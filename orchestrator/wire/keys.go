package wire

import "drp/raftstore/state"

// KeyJob: see to the keys of this site's copy of a repository; at its home, make one.
type KeyJob struct {
	Account state.AccountName `json:"account"` // the repository's name
	Home    state.Home        `json:"home"`
	// Make says for what a key is to be made here. Empty: none is, and what follows Recipients says what is to be here.
	Make       state.KeyPurpose `json:"make,omitempty"`
	Password   string           `json:"password,omitempty"`
	Next       string           `json:"next,omitempty"`       // of a rotation
	Recipients []string         `json:"recipients,omitempty"` // of a break-glass key

	Version uint64       `json:"version,omitempty"`
	Store   *state.Store `json:"store,omitempty"` // of the home; nil there
	Have    []string     `json:"have,omitempty"`  // key files
	File    state.Digest `json:"file,omitzero"`   // of the sealed break-glass password
	Remove  []string     `json:"remove,omitempty"`
}

// Keyed is the end of a KeyJob.
type Keyed struct {
	ID      string            `json:"id"` // the worker's own, so that a repeated report counts once
	Account state.AccountName `json:"account"`
	Home    state.Home        `json:"home"`
	Make    state.KeyPurpose  `json:"make,omitempty"`
	Version uint64            `json:"version,omitempty"`
	Key     string            `json:"key,omitempty"` // of one that was made, as the next four
	Old     []string          `json:"old,omitempty"`
	Asked   []string          `json:"asked,omitempty"`
	Sealed  []string          `json:"sealed,omitempty"`
	File    state.Digest      `json:"file,omitzero"`
	Missing []string          `json:"missing,omitempty"` // key files, and the SHA-256 of the sealed password
	Error   string            `json:"error,omitempty"`   // a sentence; empty: done
}
