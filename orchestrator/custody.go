package orchestrator

import (
	"fmt"
	"slices"
	"strings"

	"drp/orchestrator/sealing"
	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

// custody is everything that a decision on the keyring rests on: a value, and the same one gives the same duties.
type custody struct {
	view      *state.View
	own       string   // this coordinator's name
	recipient string   // and its age recipient
	cluster   []string // names in Raft's configuration: only who is there counts as a coordinator
	// configured and recipients are of this coordinator's configuration file: the members at the first start, and everybody
	// that secrets are sealed to.
	configured []state.Member
	recipients []string
	introduced map[string]wire.Introduction // what the others said of themselves to this leader
}

// duties are what has to be done about the keyring.
type duties struct {
	members []state.Member // to be recorded
	key     *newKey        // to be made, and to become the present one
	wait    string         // why there is no first key yet
}

// newKey is who can open a new key.
type newKey struct{ coordinators, offline []string }

func (c custody) decide() duties {
	var d duties
	var known, unknown []string
	for _, name := range c.cluster {
		m := c.member(name)
		if m.Recipient == "" {
			unknown = append(unknown, name)
			continue
		}
		known = append(known, m.Recipient)
		// A record says that a coordinator has taken part: one that was never heard has none.
		_, heard := c.introduced[name]
		if row := c.view.Member(name); (heard || name == c.own) && m.Raft != "" && m.API != "" && (row == nil || row.Recipient != m.Recipient) {
			d.members = append(d.members, m)
		}
	}
	if !slices.Contains(known, c.recipient) {
		return d // not a member: it will not lead for long
	}
	var present *state.Key
	if keys := c.view.Keys(); len(keys) > 0 {
		present = keys[0]
	}
	offline, ok := c.offline(present, known, len(unknown) == 0)
	if !ok {
		d.wait = fmt.Sprintf("the first key is made when the age recipient of %s is known: start it, or give each of the peers its recipient in the configuration",
			strings.Join(unknown, " and "))
		return d
	}
	if present == nil || !slices.Equal(sealing.Sorted(present.Recipients), sealing.Sorted(slices.Concat(known, offline))) {
		d.key = &newKey{coordinators: known, offline: offline}
	}
	return d
}

// member is what a coordinator's record should be. Its own word on its recipient counts before the record, and that
// before the configuration file, which nobody may have changed for years.
func (c custody) member(name string) state.Member {
	var m state.Member
	for _, p := range c.configured {
		if p.Name == name {
			m = p
		}
	}
	if row := c.view.Member(name); row != nil {
		recipient := m.Recipient
		m = *row
		if m.Recipient == "" {
			m.Recipient = recipient
		}
	}
	if said := c.introduced[name].Recipient; said != "" {
		m.Recipient = said
	}
	if name == c.own {
		m.Recipient = c.recipient
	}
	return m
}

// offline says who the operators' offline recipients are. The present key says it, so that all leaders agree; they change
// when most of the coordinators' configuration files say so, or else two files that differ would have the keyring
// exchanged at each change of leader. ok is false when there is no key yet and it cannot be told who is a coordinator.
func (c custody) offline(present *state.Key, known []string, complete bool) (offline []string, ok bool) {
	opinion, sure := offlineOf(c.recipients, c.configured, c.own)
	switch {
	case present == nil && sure:
		return without(opinion, known), true
	case present == nil:
		return without(sealing.Sorted(c.recipients), known), complete
	case sure && !slices.Equal(opinion, present.Offline):
		alike := 0
		for _, name := range c.cluster {
			said := c.introduced[name]
			if name == c.own || said.Configured && slices.Equal(sealing.Sorted(said.Offline), opinion) {
				alike++
			}
		}
		if alike > len(c.cluster)/2 {
			return without(opinion, known), true
		}
	}
	return present.Offline, true
}

// offlineOf takes the coordinators out of a configuration file's recipients. It is sure only when the file says for each
// of the others which recipient it is: one that was removed long ago must never pass for an offline one.
func offlineOf(recipients []string, configured []state.Member, own string) (offline []string, sure bool) {
	var theirs []string
	for _, m := range configured {
		if m.Recipient == "" {
			return nil, false
		}
		theirs = append(theirs, m.Recipient)
	}
	return without(sealing.Sorted(recipients), theirs), len(configured) > 0
}

func without(list, remove []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(remove, s) })
}

// removalLoses says why the coordinators that remain after a removal could not open every secret; empty: one of them at
// least can. It is so only for a moment: until what was sealed before the newest of them joined is sealed anew.
func removalLoses(v *state.View, remaining []string) string {
	keys := v.Keys()
	if len(keys) == 0 {
		return "" // what was sealed before there were keys, everybody of that time opens
	}
	for _, name := range remaining {
		m := v.Member(name)
		if m == nil {
			continue
		}
		opensAll := true
		for _, k := range keys {
			opensAll = opensAll && slices.Contains(k.Recipients, m.Recipient)
		}
		if opensAll {
			return ""
		}
	}
	return "none of the coordinators that would remain can open every secret yet: they are being sealed to the ones that joined; try again in a moment"
}
