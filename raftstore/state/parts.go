package state

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Engine is a kind of database server.
type Engine string

const (
	PostgreSQL Engine = "postgresql"
	MariaDB    Engine = "mariadb"
)

// Engines are those that there are.
var Engines = []Engine{PostgreSQL, MariaDB}

// Database is one database of an account, in the engine of whatever server runs the account. A name is one account's
// alone on the whole platform: after a failover any two accounts may share a server.
type Database struct {
	Engine Engine `json:"engine"`
	Name   string `json:"name"`
}

// Mailbox is one mailbox of an account.
type Mailbox struct {
	Domain string `json:"domain"`
	Name   string `json:"name"`
}

// Part names a database as a part of a snapshot: its dump lies there under this name, and an ending.
func (d Database) Part() string {
	if d.Engine == MariaDB {
		return "mysql/" + d.Name
	}
	return string(d.Engine) + "/" + d.Name
}

// Part names a mailbox as a part of a snapshot.
func (m Mailbox) Part() string { return "mails/" + m.Domain + "/" + m.Name }

// Part is how one part of a snapshot went.
type Part struct {
	Name  string `json:"name"`
	Error string `json:"error,omitempty"` // empty: it is whole
}

// Lacks tells the parts of these that a snapshot does not hold whole, with the reason. One from before there were parts
// holds none.
func (s *Snapshot) Lacks(wanted []string) []Part {
	var lacking []Part
	for _, name := range wanted {
		i := slices.IndexFunc(s.Parts, func(p Part) bool { return p.Name == name })
		switch {
		case i < 0:
			lacking = append(lacking, Part{Name: name, Error: "it was not the account's yet"})
		case s.Parts[i].Error != "":
			lacking = append(lacking, s.Parts[i])
		}
	}
	return lacking
}

// Whole are those of these parts that a snapshot holds, and "" for the files, which each holds.
func (s *Snapshot) Whole(wanted []string) []string {
	whole := []string{""}
	for _, name := range wanted {
		if len(s.Lacks([]string{name})) == 0 {
			whole = append(whole, name)
		}
	}
	return whole
}

// OlderParts says where those of these parts are that a restored snapshot does not hold: in the newest one before it that does, at
// the same site. Nil: in none. The snapshots are all of the account, newest first.
func OlderParts(all []*Snapshot, wanted []string, from *RestorePoint) map[string]*Snapshot {
	var older map[string]*Snapshot
	found := false
	for _, s := range all {
		if _, here := s.At(from.Site); (!here || !s.ForgetAt.IsZero()) && s.ID != from.Snapshot {
			continue
		}
		switch {
		case s.ID == from.Snapshot:
			found = true
			for _, p := range s.Lacks(wanted) {
				if older == nil {
					older = map[string]*Snapshot{}
				}
				older[p.Name] = nil
			}
		case found:
			for name, known := range older {
				if known == nil && len(s.Lacks([]string{name})) == 0 {
					older[name] = s
				}
			}
		}
	}
	return older
}

// Parts names all that a snapshot of the account is to hold beside its files.
func (a *Account) Parts() []string {
	var names []string
	for _, d := range a.Databases {
		names = append(names, d.Part())
	}
	for _, m := range a.Mailboxes {
		names = append(names, m.Part())
	}
	return names
}

var (
	databaseForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_-]{0,62}$`)
	mailboxForm  = regexp.MustCompile(`^[a-z0-9][a-z0-9._+-]{0,63}$`)
	domainForm   = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}$`)
)

// ownDatabases are the engines' own: whoever restored one of them would restore the whole engine.
var ownDatabases = map[Engine][]string{
	PostgreSQL: {"postgres", "template0", "template1"},
	MariaDB:    {"mysql", "information_schema", "performance_schema", "sys"},
}

// FaultOfDatabase says what is wrong with a database's name; empty: nothing.
func FaultOfDatabase(e Engine, name string) string {
	switch {
	case !databaseForm.MatchString(name):
		return fmt.Sprintf("%q is no name of a database: it has up to 63 letters, digits, _ and -, and does not begin with -", name)
	case slices.Contains(ownDatabases[e], strings.ToLower(name)):
		return fmt.Sprintf("%q belongs to the engine itself", name)
	}
	return ""
}

// FaultOfDomain says what is wrong with a mailbox's domain; empty: nothing.
func FaultOfDomain(domain string) string {
	if len(domain) <= 253 && domainForm.MatchString(domain) {
		return ""
	}
	return fmt.Sprintf("%q is no domain in small letters", domain)
}

// FaultOfMailbox says what is wrong with a mailbox's name; empty: nothing.
func FaultOfMailbox(name string) string {
	if mailboxForm.MatchString(name) {
		return ""
	}
	return fmt.Sprintf("%q is no name of a mailbox: it has up to 64 of a-z, 0-9, . _ + and -, and begins with a letter or digit", name)
}

// FaultOfPart says what is wrong with the name of a part of which all pieces are good; empty: nothing. A longer one could
// not be recorded, and would never count as held.
func FaultOfPart(part string) string {
	if len(part) <= maxPartText {
		return ""
	}
	return fmt.Sprintf("the name has %d bytes as a part of a snapshot: up to %d can be recorded", len(part), maxPartText)
}

// checkParts holds that the databases and mailboxes of an account have good names, and are no other account's.
func (c *change) checkParts(a *Account) error {
	if n := len(a.Parts()); n > MaxParts {
		return refuse(ErrInvalid, "account %s has %d databases and mailboxes: up to %d of a snapshot can be recorded", a.Name, n, MaxParts)
	}
	for _, d := range a.Databases {
		if !slices.Contains(Engines, d.Engine) {
			return refuse(ErrInvalid, "account %s: there is no engine %q for database %q", a.Name, d.Engine, d.Name)
		}
		if fault := FaultOfDatabase(d.Engine, d.Name); fault != "" {
			return refuse(ErrInvalid, "account %s: %s", a.Name, fault)
		}
	}
	for _, m := range a.Mailboxes {
		for _, fault := range []string{FaultOfDomain(m.Domain), FaultOfMailbox(m.Name)} {
			if fault != "" {
				return refuse(ErrInvalid, "account %s: %s", a.Name, fault)
			}
		}
	}
	seen := map[string]bool{}
	for _, part := range a.Parts() {
		if seen[part] {
			return refuse(ErrInvalid, "account %s has %s twice", a.Name, part)
		}
		seen[part] = true
		if fault := FaultOfPart(part); fault != "" {
			return refuse(ErrInvalid, "account %s: %s: %s", a.Name, part, fault)
		}
		for _, other := range accountTable.find(c.Txn, "part", part) {
			if other.Name != a.Name {
				return refuse(ErrConflict, "account %s: %s belongs to account %s", a.Name, part, other.Name)
			}
		}
	}
	return nil
}

// MaxParts is how many databases and mailboxes an account may have, and how many parts of a snapshot are recorded.
const MaxParts = 1000

const maxPartText = 300 // bytes of a part's name, and of the reason why it is not whole

// ShortenParts cuts an agent's word on the parts of a snapshot to what the state keeps of it: where they are too many,
// first of all those that the account has. A name that is too long is nobody's, and cut it could be another one's.
func ShortenParts(reported []Part, own []string) []Part {
	seen := map[string]bool{}
	var parts []Part
	for _, p := range reported {
		if FaultOfPart(p.Name) == "" && !seen[p.Name] {
			seen[p.Name] = true
			parts = append(parts, Part{Name: cut(p.Name, maxPartText), Error: cut(p.Error, maxPartText)})
		}
	}
	if len(parts) <= MaxParts {
		return parts
	}
	wanted := map[string]int{}
	for _, name := range own {
		wanted[name] = -1
	}
	slices.SortStableFunc(parts, func(a, b Part) int { return wanted[a.Name] - wanted[b.Name] })
	return parts[:MaxParts]
}
