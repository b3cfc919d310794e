package inventory

import (
	"fmt"
	"maps"
	"slices"

	"drp/raftstore/state"
	"drp/runbooks/strictyaml"
)

// parts reads the databases and mailboxes of an account. A name is in the files once.
func (r *reader) parts(m strictyaml.Map, a *state.Account, o *origin) {
	full := false
	take := func(part string, v strictyaml.Value) bool {
		if wrong := state.FaultOfPart(part); wrong != "" {
			v.Fail(wrong, "choose a shorter one")
			return false
		}
		if len(o.parts) == state.MaxParts {
			if !full {
				v.Fail(fmt.Sprintf("an account has up to %d databases and mailboxes, and this is one more", state.MaxParts), "give the rest to another account")
			}
			full = true
			return false
		}
		if first, taken := r.partHolders[part]; taken {
			v.Fail(fmt.Sprintf("%s is there twice: it is of %s already", part, first.subject), "the first is at "+first.at.String())
			return false
		}
		r.partHolders[part] = holder{"account " + string(a.Name), v.Position()}
		o.parts = append(o.parts, v.Position())
		return true
	}
	for _, v := range m.List("databases") {
		if d, ok := readDatabase(v); ok && take(d.Part(), v) {
			a.Databases = append(a.Databases, d)
		}
	}
	for _, v := range m.List("mailboxes") {
		if b, ok := readMailbox(v); ok && take(b.Part(), v) {
			a.Mailboxes = append(a.Mailboxes, b)
		}
	}
}

func readDatabase(v strictyaml.Value) (d state.Database, good bool) {
	m, ok := v.Map("engine", "name")
	if !ok {
		return d, false
	}
	good = m.Require("engine", "engine: postgresql")
	good = m.Require("name", "name: shop") && good
	if v, ok := m.Field("engine"); ok {
		var text string
		if text, ok = v.Text(); ok && !slices.Contains(state.Engines, state.Engine(text)) {
			v.Bare().Fail(fmt.Sprintf("unknown engine %q", text), strictyaml.Hint(text, texts(state.Engines)))
			ok = false
		}
		d.Engine, good = state.Engine(text), good && ok
	}
	d.Name, ok = goodText(m, "name", func(s string) string { return state.FaultOfDatabase(d.Engine, s) })
	return d, good && ok
}

func readMailbox(v strictyaml.Value) (b state.Mailbox, good bool) {
	m, ok := v.Map("domain", "name")
	if !ok {
		return b, false
	}
	good = m.Require("domain", "domain: example.org")
	good = m.Require("name", "name: info") && good
	b.Domain, ok = goodText(m, "domain", state.FaultOfDomain)
	good = good && ok
	b.Name, ok = goodText(m, "name", state.FaultOfMailbox)
	return b, good && ok
}

// goodText reads a text that has to be without fault.
func goodText(m strictyaml.Map, field string, fault func(string) string) (string, bool) {
	v, ok := m.Field(field)
	if !ok {
		return "", false
	}
	text, ok := v.Text()
	if !ok {
		return "", false
	}
	if wrong := fault(text); wrong != "" {
		v.Fail(wrong, "")
		return "", false
	}
	return text, true
}

// checkParts holds that no database or mailbox is another account's.
func (c *checker) checkParts() {
	named := map[state.AccountName]bool{}
	for _, a := range c.doc.Data.Accounts {
		named[a.Name] = true // what these name differs among them: Parse has seen to it
	}
	owners := map[string]state.AccountName{}
	for _, name := range slices.Sorted(maps.Keys(c.known.Accounts)) {
		if named[name] {
			continue
		}
		for _, part := range c.known.Accounts[name].Parts() {
			owners[part] = name
		}
	}
	for i, a := range c.doc.Data.Accounts {
		for j, part := range a.Parts() {
			if owner, taken := owners[part]; taken {
				c.Add(c.doc.accounts[i].parts[j], fmt.Sprintf("account %s: %s belongs to account %s", a.Name, part, owner),
					"choose another name: any two accounts may come to share a server")
			}
		}
	}
}
