// Package mail merges what a snapshot holds of mailboxes into mailboxes that are in use: Maildirs as Dovecot keeps
// them, and the Sieve filters beside them.
//
// A mailbox is a tree of folders. A folder that has cur or new is a Maildir; its messages are files there, known by the
// part of their name before the colon: what follows are flags, which change while the message stays the same.
//
//	message               missing: it comes back. Known, under whatever flags: the target's stays. A name that another
//	                      message has: both are kept
//	tmp, locks            not restored
//	what Dovecot counts   the target's stays: its list of UIDs gives new ones to what comes back, and clients keep
//	                      theirs. In a folder that the target does not have they come along, so that they stay the same
//	anything else         Sieve filters too: missing: it comes back. Different: the target's stays, and the other comes
//	                      to lie beside it
//
// Nothing of the target is overwritten or removed. Names of what is kept beside say its content, so that a merge that
// is done twice changes nothing the second time.
package mail

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"drp/orchestrator/agent/home"
)

// Result counts what a merge did.
type Result struct {
	Messages int // came back
	Known    int // were there
	Beside   int // messages and files that lie beside others of their name
	Files    int // others that came back
	LeftOut  int // pipes and the like
}

// Add counts another merge's in.
func (r *Result) Add(o Result) {
	r.Messages += o.Messages
	r.Known += o.Known
	r.Beside += o.Beside
	r.Files += o.Files
	r.LeftOut += o.LeftOut
}

// String is for a person.
func (r Result) String() string {
	s := fmt.Sprintf("%d messages came back, %d were there", r.Messages, r.Known)
	if r.Beside > 0 {
		s += fmt.Sprintf(", %d lie beside others of their name", r.Beside)
	}
	if r.LeftOut > 0 {
		s += fmt.Sprintf(", %d things that no mailbox has were left out", r.LeftOut)
	}
	return s
}

// deepest is how many folders may lie in one another: Dovecot's own limit is lower.
const deepest = 64

// Merge puts what lies in from into the directory into, and takes it out of from. Both are on one filesystem. Nobody else
// reaches from, whose content may be anything; into may be used and changed by its owner all the time. Once it has returned
// without an error, everything is on disk.
func Merge(from, into *os.File) (Result, error) {
	var m merge
	m.folder(from, into, nil, false)
	if err := errors.Join(append(m.failed, unix.Syncfs(int(into.Fd())))...); err != nil {
		return m.Result, fmt.Errorf("merge mail: %w", err)
	}
	return m.Result, nil
}

type merge struct {
	Result
	failed []error // of folders; the others are merged
}

// mostFailed is how many of them are told.
const mostFailed = 10

func (m *merge) fail(at []string, err error) {
	if err != nil && len(m.failed) < mostFailed {
		m.failed = append(m.failed, fmt.Errorf("%q: %w", path.Join(at...), err))
	}
}

// folder merges one directory, and the ones in it. at is where it lies; made: the target did not have it.
func (m *merge) folder(from, into *os.File, at []string, made bool) {
	entries, err := list(from)
	if err != nil {
		m.fail(at, err)
		return
	}
	isDir := func(name string) bool { return entries[name] != nil && entries[name].IsDir() }
	maildir := isDir("cur") || isDir("new")
	before := m.Messages
	m.fail(at, m.own(from, into, entries, maildir, made))
	for _, name := range sorted(entries) {
		if isDir(name) && !(maildir && slices.Contains(ofMaildir, name)) {
			m.subfolder(from, into, name, at)
		}
	}
	if m.Messages > before {
		// A count of sizes that is gone is made anew; one that is wrong is believed.
		m.fail(at, unlink(into, "maildirsize"))
	}
}

// own merges what lies in a folder itself.
func (m *merge) own(from, into *os.File, entries map[string]fs.DirEntry, maildir, made bool) error {
	if !made {
		there, err := list(into)
		if err != nil {
			return err
		}
		made = len(there) == 0
	}
	letters, err := keywordsOf(from, into)
	if err != nil {
		return err
	}
	// First, so that what Dovecot counts is there before any message.
	for _, name := range sorted(entries) {
		switch {
		case entries[name].IsDir():
		case maildir && slices.Contains(ofMaildir, name):
			m.LeftOut++
		default:
			if err := m.file(from, into, name, entries[name], made); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	if maildir {
		return m.messages(from, into, entries, letters)
	}
	return nil
}

// subfolder merges a directory into the one of its name, or beside whatever else has the name.
func (m *merge) subfolder(from, into *os.File, name string, at []string) {
	at = append(slices.Clip(at), name)
	if len(at) > deepest { // no mailbox is so deep: what the target lacks comes as it is
		placed, err := move(from, name, into, name)
		if err == nil && !placed {
			err = fmt.Errorf("more than %d folders in one another", deepest)
		}
		m.fail(at, err)
		m.count(placed, &m.Files)
		return
	}
	source, err := home.Beneath(from, name)
	if err != nil {
		m.fail(at, err)
		return
	}
	defer source.Close()
	target, made, err := makeFolder(into, name, source)
	for n := 1; notFolder(err) && n <= 100; n++ {
		target, made, err = makeFolder(into, fmt.Sprintf("%.200s.restored%d", name, n), source)
	}
	if err != nil {
		m.fail(at, err)
		return
	}
	defer target.Close()
	m.folder(source, target, at, made)
}

// notFolder: something else has the name, a link too.
func notFolder(err error) bool { return errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) }

// makeFolder opens a directory of the target, which it makes like source when there is none.
func makeFolder(into *os.File, name string, source *os.File) (dir *os.File, made bool, err error) {
	dir, err = home.Beneath(into, name)
	if !errors.Is(err, fs.ErrNotExist) {
		return dir, false, err
	}
	var like unix.Stat_t
	if err := unix.Fstat(int(source.Fd()), &like); err != nil {
		return nil, false, err
	}
	switch err := unix.Mkdirat(int(into.Fd()), name, 0o700); {
	case errors.Is(err, fs.ErrExist): // its owner was quicker
	case err != nil:
		return nil, false, fmt.Errorf("make folder: %w", err)
	default:
		made = true
	}
	if dir, err = home.Beneath(into, name); err != nil || !made {
		return dir, made, err
	}
	if err := home.SameAttributes(source, dir); err != nil {
		return nil, made, errors.Join(fmt.Errorf("make folder: %w", err), dir.Close())
	}
	return dir, made, nil
}

// file merges one that is no message.
func (m *merge) file(from, into *os.File, name string, e fs.DirEntry, made bool) error {
	switch {
	case e.Type()&fs.ModeSymlink != 0:
		return m.link(from, into, name)
	case !e.Type().IsRegular():
		m.LeftOut++
		return nil
	case strings.HasSuffix(name, ".lock"), derived(name) && !made:
		return nil
	}
	placed, err := move(from, name, into, name)
	if placed || err != nil {
		m.count(placed, &m.Files)
		return err
	}
	if counted(name) {
		return nil // the target's stays
	}
	same, _, err := equal(from, name, into, name)
	if same || err != nil {
		return err
	}
	return m.beside(from, name, into, func(sum string) string { return besideFile(name, sum) })
}

func (m *merge) count(yes bool, n *int) {
	if yes {
		*n++
	}
}

// link brings a link back that is missing, as Sieve's to the active filter. Nobody here follows any, wherever it leads.
func (m *merge) link(from, into *os.File, name string) error {
	placed, err := move(from, name, into, name)
	m.count(placed, &m.Files)
	return err // what is there stays
}

// beside puts a file under a name that says its content. One that is there already is not doubled.
func (m *merge) beside(from *os.File, name string, into *os.File, named func(sum string) string) error {
	sum, err := digest(from, name)
	if err != nil {
		return err
	}
	for n := 1; n <= 100; n++ {
		under := named(sum)
		if n > 1 {
			under = named(fmt.Sprintf("%s-%d", sum, n))
		}
		placed, err := move(from, name, into, under)
		if placed || err != nil {
			m.count(placed, &m.Beside)
			return err
		}
		if same, _, err := equal(from, name, into, under); same || err != nil {
			return err
		}
	}
	return errors.New("a hundred others have the names that it could be kept under")
}
