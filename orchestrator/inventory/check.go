package inventory

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"drp/raftstore/state"
	"drp/runbooks/strictyaml"
)

// Known is what the platform has already. A nil map has nothing.
type Known struct {
	Provider *state.Provider // nil: none yet
	Sites    map[state.SiteName]*state.Site
	Servers  map[state.ServerName]*state.Server
	Policies map[state.PolicyName]*state.Policy
	Accounts map[state.AccountName]*state.Account
	Erased   map[state.AccountName]*state.Erasure // those that have begun
}

// View is where KnownOf reads; *state.View is one.
type View interface {
	Provider() *state.Provider
	Sites() []*state.Site
	Servers() []*state.Server
	Policies() []*state.Policy
	Accounts() []*state.Account
	Erasures() []*state.Erasure
}

// KnownOf is what a view holds. The rows are shared and not changed.
func KnownOf(v View) Known {
	k := Known{Provider: v.Provider()}
	k.Sites = index(v.Sites(), func(s *state.Site) state.SiteName { return s.Name })
	k.Servers = index(v.Servers(), func(s *state.Server) state.ServerName { return s.Name })
	k.Policies = index(v.Policies(), func(p *state.Policy) state.PolicyName { return p.Name })
	k.Accounts = index(v.Accounts(), func(a *state.Account) state.AccountName { return a.Name })
	k.Erased = index(slices.DeleteFunc(v.Erasures(), (*state.Erasure).Waiting), func(e *state.Erasure) state.AccountName { return e.Account })
	return k
}

func index[K comparable, T any](rows []*T, key func(*T) K) map[K]*T {
	m := make(map[K]*T, len(rows))
	for _, r := range rows {
		m[key(r)] = r
	}
	return m
}

// with is what will be known once d is applied.
func (k Known) with(d *state.InventoryData) Known {
	out := Known{
		Provider: cmp.Or(d.Provider, k.Provider),
		Erased:   k.Erased,
		Sites:    maps.Clone(k.Sites), Servers: maps.Clone(k.Servers), Policies: maps.Clone(k.Policies), Accounts: maps.Clone(k.Accounts),
	}
	overlay(&out.Sites, d.Sites, func(s *state.Site) state.SiteName { return s.Name })
	overlay(&out.Servers, d.Servers, func(s *state.Server) state.ServerName { return s.Name })
	overlay(&out.Policies, d.Policies, func(p *state.Policy) state.PolicyName { return p.Name })
	overlay(&out.Accounts, d.Accounts, func(a *state.Account) state.AccountName { return a.Name })
	return out
}

func overlay[K comparable, T any](m *map[K]*T, rows []T, key func(*T) K) {
	if *m == nil {
		*m = make(map[K]*T, len(rows))
	}
	for i := range rows {
		(*m)[key(&rows[i])] = &rows[i]
	}
}

// checker holds a document's references against what there will be.
type checker struct {
	strictyaml.Problems
	doc   *Document
	known Known // the document included
	sites []string
}

// Check reports every reference of a document to something that is neither in it nor known, and every address that
// is outside of the provider's prefixes or another account's. Its error is Errors. It changes nothing.
func Check(doc *Document, known Known) error {
	c := &checker{doc: doc, known: known.with(&doc.Data)}
	c.sites = words(c.known.Sites)
	c.checkSites()
	for i, s := range doc.Data.Servers {
		c.dataSite("server "+string(s.Name), s.Site, doc.servers[i].site)
	}
	for i, p := range doc.Data.Policies {
		for j, site := range p.Replicas {
			c.dataSite("policy "+string(p.Name), site, doc.policies[i].addresses[j])
		}
	}
	policies := words(c.known.Policies)
	for i, a := range doc.Data.Accounts {
		subject := "account " + string(a.Name)
		if e := c.known.Erased[a.Name]; e != nil {
			c.Add(doc.accounts[i].at, fmt.Sprintf("%s: it is erased since %s, and its name is never used again", subject, e.Begun.UTC().Format("2006-01-02 15:04")), "take another name")
		}
		if c.known.Policies[a.Policy] == nil {
			c.Add(doc.accounts[i].policy, fmt.Sprintf("%s: unknown policy %q", subject, a.Policy), strictyaml.Hint(string(a.Policy), policies))
		}
		if a.Site != "" {
			c.dataSite(subject, a.Site, doc.accounts[i].site)
		}
	}
	c.checkAddresses(known)
	c.checkParts()
	return c.Err()
}

func words[K ~string, T any](m map[K]T) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, string(k))
	}
	slices.Sort(out)
	return out
}

// dataSite holds that a site is there and keeps data.
func (c *checker) dataSite(subject string, name state.SiteName, at strictyaml.Position) {
	switch site := c.known.Sites[name]; {
	case site == nil:
		c.Add(at, fmt.Sprintf("%s: unknown site %q", subject, name), strictyaml.Hint(string(name), c.sites))
	case site.Witness:
		c.Add(at, fmt.Sprintf("%s: site %s is a witness", subject, name), "it has neither servers nor a store; name another site")
	}
}

// checkSites holds that a site that becomes a witness is not in use by what is known.
func (c *checker) checkSites() {
	for i, s := range c.doc.Data.Sites {
		if !s.Witness {
			continue
		}
		at := c.doc.sites[i].witness
		for _, name := range words(c.known.Servers) {
			if c.known.Servers[state.ServerName(name)].Site == s.Name {
				c.Add(at, fmt.Sprintf("site %s: cannot be a witness, server %s is there", s.Name, name), "")
				break
			}
		}
		for _, name := range words(c.known.Policies) {
			if slices.Contains(c.known.Policies[state.PolicyName(name)].Replicas, s.Name) {
				c.Add(at, fmt.Sprintf("site %s: cannot be a witness, policy %s keeps copies there", s.Name, name), "")
				break
			}
		}
	}
}

// checkAddresses holds that each address is one account's, inside of the prefixes. An account of the document gives
// up the addresses that it no longer names, unless it names none.
func (c *checker) checkAddresses(before Known) {
	naming := map[state.AccountName]bool{} // what these name differs among them: Parse has seen to it
	for _, a := range c.doc.Data.Accounts {
		naming[a.Name] = len(a.Addresses) > 0
	}
	p, owners := c.known.Provider, map[netip.Addr]state.AccountName{}
	for _, name := range words(c.known.Accounts) {
		a := c.known.Accounts[state.AccountName(name)]
		if naming[a.Name] {
			continue
		}
		for _, address := range kept(a, before) {
			owners[address] = a.Name
			if c.doc.Data.Provider != nil && !inside(address, p.Prefixes) {
				c.Add(c.doc.provider.at, fmt.Sprintf("provider %s: no prefix covers %s of account %s any more", p.Name, address, name), "keep the prefix, or give the account another address in the same apply")
			}
		}
	}
	if p == nil && len(c.doc.Data.Accounts) > 0 {
		c.Add(c.doc.accounts[0].at, fmt.Sprintf("account %s: there is no provider yet, whose prefixes hold the accounts' addresses", c.doc.Data.Accounts[0].Name), `add a document "kind: provider"`)
		return
	}
	for i, a := range c.doc.Data.Accounts {
		for j, address := range a.Addresses {
			at := c.doc.accounts[i].addresses[j]
			if owner, taken := owners[address]; taken {
				c.Add(at, fmt.Sprintf("account %s: addresses: %s is the address of account %s", a.Name, address, owner), "take another one, or leave the field out, and one is allocated")
			}
			if !inside(address, p.Prefixes) {
				c.Add(at, fmt.Sprintf("account %s: addresses: %s lies outside of the provider's prefixes", a.Name, address), "take one from "+strings.Join(texts(p.Prefixes), ", "))
			}
		}
	}
}

// kept are an account's addresses once it is applied: those that it names, or else those that it has.
func kept(a *state.Account, before Known) []netip.Addr {
	if old := before.Accounts[a.Name]; len(a.Addresses) == 0 && old != nil {
		return old.Addresses
	}
	return a.Addresses
}

func inside(a netip.Addr, prefixes []netip.Prefix) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}
