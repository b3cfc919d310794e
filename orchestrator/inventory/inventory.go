// Package inventory reads what an operator writes about the platform, one YAML document for each object, and says
// everything that is wrong with it, with file, line, column and the fix.
//
// Parse needs the files alone, so the CLI runs it before it sends anything. Check holds the references against what
// is there already; only the leader knows that, so the files themselves travel to it.
package inventory

import (
	"fmt"
	"net/netip"
	"regexp"

	"drp/raftstore/state"
	"drp/runbooks/strictyaml"
)

// File is one file's name, for messages, and its text.
type File struct {
	Name string
	Data []byte
}

// Error is one fault: file:line:column: message; fix.
type Error = strictyaml.Error

// Errors are all faults that were found; Parse and Check return no other error.
type Errors = strictyaml.Errors

// Document is what some files say, without fault in itself, and where they say it.
type Document struct {
	Data state.InventoryData

	// One for each object of Data, in the same order.
	sites    []origin
	servers  []origin
	policies []origin
	accounts []origin
	provider origin
}

// origin is where an object and its references stand.
type origin struct {
	at        strictyaml.Position   // the name
	site      strictyaml.Position   // of a server or account
	policy    strictyaml.Position   // of an account
	addresses []strictyaml.Position // of an account; the replica sites of a policy; the prefixes of a provider
	witness   strictyaml.Position   // of a site
	parts     []strictyaml.Position // of an account: its databases, and then its mailboxes
}

// reader collects what the files hold.
type reader struct {
	problems  strictyaml.Problems
	doc       Document
	names     map[string]strictyaml.Position // "account guestbook"
	holders   map[netip.Addr]holder          // of the addresses
	schedules map[[2]string]error            // that were read: line and zone

	partHolders map[string]holder // of databases and mailboxes
}

type holder struct {
	subject string
	at      strictyaml.Position
}

// kinds are the values of the field kind.
var kinds = []string{"provider", "site", "server", "policy", "account"}

// Parse reads the files. Its error is Errors, with every fault of every file.
func Parse(files []File) (*Document, error) {
	r := &reader{names: map[string]strictyaml.Position{}, holders: map[netip.Addr]holder{}, schedules: map[[2]string]error{},
		partHolders: map[string]holder{}}
	objects := 0
	for _, f := range files {
		for _, v := range strictyaml.Documents(f.Name, f.Data, &r.problems) {
			objects++
			r.object(v)
		}
	}
	if objects == 0 && r.problems.Count() == 0 {
		at := strictyaml.Position{File: "(no file)", Line: 1, Column: 1}
		if len(files) > 0 {
			at.File = files[0].Name
		}
		r.problems.Add(at, "no object in here", `write one, beginning with "kind: site", "kind: server", "kind: policy" or "kind: account"`)
	}
	if err := r.problems.Err(); err != nil {
		return nil, err
	}
	return &r.doc, nil
}

// object reads one document. What it is about is looked up first, so that every message can say it.
func (r *reader) object(v strictyaml.Value) {
	kind, name := v.Peek("kind"), v.Peek("name")
	read, known := map[string]func(strictyaml.Value){
		"provider": r.provider, "site": r.site, "server": r.server, "policy": r.policy, "account": r.account,
	}[kind]
	if known {
		subject := kind
		if name != "" {
			subject += " " + name
		}
		read(v.About(subject))
		return
	}
	entries, ok := v.Entries()
	if !ok {
		return
	}
	for _, e := range entries {
		if e.Key != "kind" {
			continue
		}
		if text, ok := e.Value.Text(); ok {
			e.Value.Bare().Fail(fmt.Sprintf("unknown kind %q", text), strictyaml.Hint(text, kinds))
		}
		return
	}
	v.Fail(`"kind" is missing`, "add it, such as: kind: account")
}

var nameForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

// name reads the object's name, and remembers where it stands.
func (r *reader) name(m strictyaml.Map, kind string) (string, strictyaml.Position) {
	if !m.Require("name", "name: par1") {
		return "", m.Position()
	}
	v, _ := m.Field("name")
	name, ok := v.Text()
	if !ok || !goodName(v, name) {
		return "", v.Position()
	}
	key := kind + " " + name
	if first, twice := r.names[key]; twice {
		v.Bare().Fail("is there twice", "the first is at "+first.String())
		return "", v.Position()
	}
	r.names[key] = v.Position()
	return name, v.Position()
}

func goodName(v strictyaml.Value, name string) bool {
	if nameForm.MatchString(name) {
		return true
	}
	v.Fail(fmt.Sprintf("%q is no name", name), "a name begins with a letter and has up to 32 of a-z, 0-9 and -")
	return false
}

// reference reads the name of another object; it may be absent.
func reference(m strictyaml.Map, field string) (string, strictyaml.Position) {
	v, ok := m.Field(field)
	if !ok {
		return "", m.Position()
	}
	name, ok := v.Text()
	if !ok || !goodName(v, name) {
		return "", v.Position()
	}
	return name, v.Position()
}

func (r *reader) provider(v strictyaml.Value) {
	m, ok := v.Map("kind", "name", "as", "prefixes")
	if !ok {
		return
	}
	name, at := r.name(m, "provider")
	p := &state.Provider{Name: name, AS: uint32(m.Int("as", 1, 1<<32-1))}
	o := origin{at: at}
	if m.Require("prefixes", `prefixes: ["2001:db8:a::/48"]`) {
		list := m.List("prefixes")
		if field, _ := m.Field("prefixes"); list != nil && len(list) == 0 {
			field.Fail("the list is empty", `add at least one, as in "2001:db8:a::/48"`)
		}
		for _, v := range list {
			if prefix, ok := readPrefix(v, p.Prefixes); ok {
				p.Prefixes, o.addresses = append(p.Prefixes, prefix), append(o.addresses, v.Position())
			}
		}
	}
	if r.doc.Data.Provider != nil {
		m.Fail("there is one provider, and this is another", "the first is at "+r.doc.provider.at.String())
		return
	}
	r.doc.Data.Provider, r.doc.provider = p, o
}

func (r *reader) site(v strictyaml.Value) {
	m, ok := v.Map("kind", "name", "witness", "gateways", "store", "backups")
	if !ok {
		return
	}
	name, at := r.name(m, "site")
	s := state.Site{Name: state.SiteName(name), Witness: m.Bool("witness")}
	if s.Witness {
		for _, field := range []string{"gateways", "store", "backups"} {
			if v, ok := m.Field(field); ok {
				v.Fail("a witness site has neither gateways, nor a store, nor backups", "remove it, or remove witness")
			}
		}
	} else {
		m.Require("gateways", `gateways: ["https://[2001:db8:f001::30]:7460"]`)
		m.Require("store", `store: {endpoint: "https://s3.par1.example", bucket: drp-par1}`)
	}
	for _, v := range m.List("gateways") {
		if url, ok := readGateway(v, s.Gateways); ok {
			s.Gateways = append(s.Gateways, url)
		}
	}
	if v, ok := m.Field("store"); ok {
		s.Store = readStore(v)
	}
	s.Backups = int(m.Int("backups", 1, mostBackups))
	r.doc.Data.Sites = append(r.doc.Data.Sites, s)
	r.doc.sites = append(r.doc.sites, origin{at: at, witness: m.At("witness")})
}

// mostBackups bounds how many may run at the same time; to run none there are pauses.
const mostBackups = 10_000

func (r *reader) server(v strictyaml.Value) {
	m, ok := v.Map("kind", "name", "site", "rack", "power", "capacity", "backups")
	if !ok {
		return
	}
	name, at := r.name(m, "server")
	m.Require("site", "site: par1")
	m.Require("capacity", "capacity: {memory: 64GiB, processes: 20000, cpu: 16, disk: 2TiB}")
	site, siteAt := reference(m, "site")
	s := state.Server{Name: state.ServerName(name), Site: state.SiteName(site), Rack: m.Text("rack"), Power: m.Text("power")}
	if v, ok := m.Field("capacity"); ok {
		s.Capacity = readResources(v)
	}
	s.Backups = int(m.Int("backups", 1, mostBackups))
	r.doc.Data.Servers = append(r.doc.Data.Servers, s)
	r.doc.servers = append(r.doc.servers, origin{at: at, site: siteAt})
}
