package mail

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"drp/orchestrator/agent/home"
)

// ofMaildir are the directories of every Maildir.
var ofMaildir = []string{"cur", "new", "tmp"}

// known are the messages of a Maildir, by what they are known by: where each file of that name lies.
type known map[string][]message

type message struct{ in, name string } // in: cur or new

// maildir is the two directories of messages.
type maildir map[string]*os.File

func (d maildir) close() {
	for _, f := range d {
		f.Close()
	}
}

// messages merges those of one folder, of which the snapshot has these entries.
func (m *merge) messages(from, into *os.File, entries map[string]fs.DirEntry, letters letters) error {
	source, target := maildir{}, maildir{}
	defer source.close()
	defer target.close()
	for _, in := range ofMaildir {
		like := from
		if e := entries[in]; e != nil && e.IsDir() {
			dir, err := home.Beneath(from, in)
			if err != nil {
				return err
			}
			source[in], like = dir, dir
		}
		dir, _, err := makeFolder(into, in, like)
		if err != nil {
			return fmt.Errorf("%s: %w", in, err)
		}
		target[in] = dir
	}
	there, err := target.look()
	if err != nil {
		return err
	}
	placed := map[string]message{}
	for _, in := range []string{"cur", "new"} {
		if source[in] == nil {
			continue
		}
		entries, err := list(source[in])
		if err != nil {
			return err
		}
		for _, name := range sorted(entries) {
			a := &arrival{from: source[in], name: name, in: in, target: target, there: there}
			a.base, a.flags = splitName(name)
			a.flags = letters.flags(a.flags)
			var err error
			switch t := entries[name].Type(); {
			case t.IsRegular() && name[0] != '.':
				err = m.message(a, placed)
			case t&fs.ModeSymlink != 0 && len(there[a.base]) == 0:
				err = m.link(source[in], target[in], name)
			default:
				m.LeftOut++
			}
			if err != nil {
				return fmt.Errorf("%s/%s: %w", in, name, err)
			}
		}
	}
	return m.undouble(target, placed)
}

// arrival is one message of the snapshot.
type arrival struct {
	from        *os.File
	name        string
	in          string // cur or new
	base, flags string
	target      maildir
	there       known
}

// message brings one back, unless it is known.
func (m *merge) message(a *arrival, placed map[string]message) error {
	is, err := a.settle(a.base, a.base+a.flags)
	if err != nil {
		return err
	}
	if is == other {
		sum, err := digest(a.from, a.name)
		if err != nil {
			return err
		}
		for n := 1; is == other; n++ {
			if n > 100 {
				return errors.New("a hundred others have the names that it could be kept under")
			}
			if n > 1 {
				sum = fmt.Sprintf("%.16s-%d", sum, n)
			}
			base := besideMessage(a.base, sum)
			if is, err = a.settle(base, base+a.flags[:min(len(a.flags), mostFlags)]); err != nil {
				return err
			}
			m.count(is == cameBack, &m.Beside)
		}
		m.count(is == there, &m.Known)
		return nil
	}
	m.count(is == there, &m.Known)
	if is == cameBack {
		m.Messages++
		placed[a.base] = message{a.in, a.base + a.flags}
	}
	return nil
}

type settled int

const (
	cameBack settled = iota
	there            // the same message, under whatever flags
	other            // another one has the name
)

// settle puts the message under a name, unless messages are known by it. The target's owner may change flags, which
// renames files, and remove messages meanwhile.
func (a *arrival) settle(base, name string) (settled, error) {
	for range 10 {
		changed := false
		for _, one := range a.there[base] {
			same, gone, err := equal(a.from, a.name, a.target[one.in], one.name)
			if err != nil {
				return 0, err
			}
			if same {
				return there, nil
			}
			changed = changed || gone
		}
		if len(a.there[base]) == 0 {
			placed, err := move(a.from, a.name, a.target[a.in], name)
			if err != nil {
				return 0, err
			}
			if placed {
				a.there[base] = []message{{a.in, name}}
				return cameBack, nil
			}
			changed = true
		}
		if !changed {
			return other, nil
		}
		now, err := a.target.look()
		if err != nil {
			return 0, err
		}
		a.there[base] = now[base]
	}
	return other, nil
}

// undouble looks once more: a message whose flags were changed in the very moment in which its folder was read can be
// missing from what was read. What was put beside it then goes again.
func (m *merge) undouble(target maildir, placed map[string]message) error {
	if len(placed) == 0 {
		return nil
	}
	there, err := target.look()
	if err != nil {
		return err
	}
	for base, ours := range placed {
		for _, other := range there[base] {
			if other == ours {
				continue
			}
			same, _, err := equal(target[ours.in], ours.name, target[other.in], other.name)
			if err != nil {
				continue // ours was renamed meanwhile, or removed: it is its owner's now
			}
			if same {
				if err := unlink(target[ours.in], ours.name); err != nil {
					return err
				}
				m.Messages--
				m.Known++
				break
			}
		}
	}
	return nil
}

// look reads which messages there are.
func (d maildir) look() (known, error) {
	there := known{}
	for _, in := range []string{"cur", "new"} {
		entries, err := list(d[in])
		if err != nil {
			return nil, err
		}
		for _, name := range sorted(entries) {
			base, _ := splitName(name)
			there[base] = append(there[base], message{in, name})
		}
	}
	return there, nil
}
