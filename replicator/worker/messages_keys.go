package worker

import (
	"crypto/sha256"
	"fmt"
)

// What a KeyJob makes, before it sees to the keys that there are.
const (
	MakeBreakGlass = "breakglass"
	MakeRotation   = "rotation"
)

// KeyJob: see to the keys of this site's copy of a repository; at its home, make one.
type KeyJob struct {
	Account string // the repository's name
	Home    Home
	// Make says what kind of key is to be made here, at the home. Empty: none, and the rest says what is to be here.
	Make       string
	Password   string   // present one, to make a key with
	Next       string   // password of a rotation
	Recipients []string // of a break-glass key, age1…

	Version uint64            // the leader's name for what follows
	Store   StoreAddress      // of the home, where what is missing comes from; not at the home itself
	Have    []string          // key files
	File    [sha256.Size]byte // of the sealed break-glass password; zero: there is none
	Remove  []string          // key files that are to go once all others are here
}

// String keeps the passwords out of logs.
func (j KeyJob) String() string {
	if j.Make != "" {
		return fmt.Sprintf("make %s key of %s", j.Make, j.Account)
	}
	return fmt.Sprintf("see to the keys of %s, version %d", j.Account, j.Version)
}

// Keyed is what came of one.
type Keyed struct {
	ID      string // the worker's own: a repeated report counts once
	Account string
	Home    Home
	Make    string
	Version uint64
	// Of a key that was made: its file, those that it stands in for, to whom it was to be sealed and is, and the sealed
	// file's SHA-256.
	Key    string
	Old    []string
	Asked  []string
	Sealed []string
	File   [sha256.Size]byte

	Missing []string // key files, and the SHA-256 of the sealed password, that are not here nor at the home
	Error   string   // a sentence; empty: done
}
