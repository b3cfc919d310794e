package state

import (
	"encoding/hex"
	"regexp"
	"strings"
	"unicode"
)

// nameForm is what the name of an object looks like: names become parts of paths, object keys and keys of tables.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

func checkName(what, name string) error {
	if name == "" {
		return refuse(ErrInvalid, "a %s has no name", what)
	}
	if !nameForm.MatchString(name) {
		return refuse(ErrInvalid, "%s %q: a name has up to 63 letters, digits, dots, hyphens and underscores, and begins with a letter or digit", what, name)
	}
	return nil
}

// checkID is for the names that programs give.
func checkID(what, id string) error {
	unprintable := func(r rune) bool { return !unicode.IsGraphic(r) || unicode.IsSpace(r) }
	if id == "" || len(id) > 200 || strings.ContainsFunc(id, unprintable) {
		return refuse(ErrInvalid, "%s %q: an id has 1 to 200 printable characters and no spaces", what, id)
	}
	return nil
}

// runIDForm leaves room for the ids of tasks, which are built from those of runs.
var runIDForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

func checkRunID(id RunID) error {
	if !runIDForm.MatchString(string(id)) {
		return refuse(ErrInvalid, "run %.80q: an id has 1 to 100 letters, digits, dots, hyphens and underscores, and begins with a letter or digit", id)
	}
	return nil
}

// checkSnapshotID takes lower case alone, as restic writes it: a snapshot has one id.
func checkSnapshotID(id SnapshotID) error {
	if raw, err := hex.DecodeString(string(id)); err != nil || len(raw) != 32 || strings.ToLower(string(id)) != string(id) {
		return refuse(ErrInvalid, "snapshot %.80q: an id has 64 hexadecimal digits in lower case", id)
	}
	return nil
}

// What a command names has to exist.

func (c *change) site(n SiteName) (*Site, error) {
	if s := siteTable.get(c.Txn, string(n)); s != nil {
		return s, nil
	}
	return nil, refuse(ErrNotFound, "there is no site %q", n)
}

func (c *change) server(n ServerName) (*Server, error) {
	if s := serverTable.get(c.Txn, string(n)); s != nil {
		return s, nil
	}
	return nil, refuse(ErrNotFound, "there is no server %q", n)
}

func (c *change) account(n AccountName) (*Account, error) {
	if a := accountTable.get(c.Txn, string(n)); a != nil {
		return a, nil
	}
	if err := c.erased(ErrNotFound, n); err != nil {
		return nil, err
	}
	return nil, refuse(ErrNotFound, "there is no account %q", n)
}

// repositoryAt is the account's repository, which has to have its home there.
func (c *change) repositoryAt(account AccountName, home Home) (*Repository, error) {
	repo := repositoryTable.get(c.Txn, string(account))
	if repo == nil {
		return nil, refuse(ErrNotFound, "account %s has no repository", account)
	}
	if repo.Home != home {
		return nil, refuse(ErrConflict, "the repository of account %s has its home at site %s (epoch %d), and not at %s (epoch %d)",
			account, repo.Home.Site, repo.Home.Epoch, home.Site, home.Epoch)
	}
	return repo, nil
}

// restorePoint checks that an account's restore reads a snapshot of its own, at a site that holds it.
func (c *change) restorePoint(account AccountName, p *RestorePoint) error {
	s := snapshotOf(c.Txn, account, p.Snapshot)
	if s == nil {
		return refuse(ErrNotFound, "account %s has no snapshot %s", account, p.Snapshot.Short())
	}
	if !s.ForgetAt.IsZero() {
		return refuse(ErrConflict, "snapshot %s of account %s is being deleted: its time was over", p.Snapshot.Short(), account)
	}
	if _, ok := s.At(p.Site); !ok {
		return refuse(ErrConflict, "site %s holds no copy of snapshot %s of account %s", p.Site, p.Snapshot.Short(), account)
	}
	return nil
}
