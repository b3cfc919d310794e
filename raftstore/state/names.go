// Package state is the value that Raft replicates: what the platform is (inventory), who runs what
// (assignments), what is saved where (repositories, snapshots) and what is being done (tasks, runs).
//
// It is pure. Applying a command reads no clock, no randomness and no map order; the same log gives the
// same state on every coordinator. Rows that a View returns are shared: nobody changes them in place.
package state

import (
	"fmt"
	"strconv"
	"strings"
)

// A name of each kind has a type of its own, so that a site is never passed for a server.
type (
	SiteName    string
	ServerName  string
	PolicyName  string
	AccountName string
	TaskID      string
	RunID       string
	// SnapshotID is restic's: the SHA-256 of the stored snapshot file, 64 hexadecimal digits.
	SnapshotID string
)

// Short is the form that people read: the first eight digits.
func (id SnapshotID) Short() string {
	if len(id) > 8 {
		return string(id[:8])
	}
	return string(id)
}

// Token is the only fencing token there is. The generation grows with each assignment of an account, the
// incarnation with each recovery of the cluster.
type Token struct {
	Incarnation uint64 `json:"incarnation"`
	Generation  uint64 `json:"generation"`
}

// IsZero reports whether t is no token at all.
func (t Token) IsZero() bool { return t == Token{} }

// Less reports whether t was given out before u.
func (t Token) Less(u Token) bool {
	if t.Incarnation != u.Incarnation {
		return t.Incarnation < u.Incarnation
	}
	return t.Generation < u.Generation
}

// String gives "incarnation.generation", the form used in paths, logs and the API.
func (t Token) String() string {
	return strconv.FormatUint(t.Incarnation, 10) + "." + strconv.FormatUint(t.Generation, 10)
}

// ParseToken reads what String wrote.
func ParseToken(s string) (Token, error) {
	a, b, ok := strings.Cut(s, ".")
	if !ok {
		return Token{}, fmt.Errorf("parse token %q: want INCARNATION.GENERATION", s)
	}
	i, err := strconv.ParseUint(a, 10, 64)
	if err != nil {
		return Token{}, fmt.Errorf("parse token %q: incarnation: %w", s, err)
	}
	g, err := strconv.ParseUint(b, 10, 64)
	if err != nil {
		return Token{}, fmt.Errorf("parse token %q: generation: %w", s, err)
	}
	return Token{Incarnation: i, Generation: g}, nil
}
