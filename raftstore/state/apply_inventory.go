package state

import "net/netip"

// applyInventory writes all objects first and checks them then, so that they may come in any order and refer to one
// another. A refusal undoes all of it.
func applyInventory(c *change, d InventoryData) (bool, error) {
	if err := c.checkServersStay(d.Servers); err != nil {
		return false, err
	}
	changed := false
	if d.Provider != nil && c.noteDifference("provider", d.Provider.Name, providerTable.get(c.Txn, ""), d.Provider) {
		providerTable.put(c.Txn, d.Provider)
		changed = true
	}
	for _, put := range []func() (bool, error){
		func() (bool, error) { return putObjects(c, "site", siteTable, d.Sites) },
		func() (bool, error) { return putObjects(c, "server", serverTable, d.Servers) },
		func() (bool, error) { return putObjects(c, "policy", policyTable, d.Policies) },
		func() (bool, error) { return putObjects(c, "account", accountTable, d.Accounts) },
	} {
		some, err := put()
		if err != nil {
			return false, err
		}
		changed = changed || some
	}
	return changed, c.checkInventory(d)
}

// putObjects writes the objects that differ from what is there.
func putObjects[T any](c *change, what string, t table[T], objects []T) (bool, error) {
	changed, seen := false, map[string]bool{}
	for i := range objects {
		object := &objects[i]
		name := t.key(object)
		if err := checkName(what, name); err != nil {
			return false, err
		}
		if seen[name] {
			return false, refuse(ErrInvalid, "%s %s is given twice", what, name)
		}
		seen[name] = true
		if c.noteDifference(what, name, t.get(c.Txn, name), object) {
			t.put(c.Txn, object)
			changed = true
		}
	}
	return changed, nil
}

// checkServersStay refuses to move a server that holds accounts to another site: their repositories' homes lie at
// the old one.
func (c *change) checkServersStay(servers []Server) error {
	for _, s := range servers {
		old := serverTable.get(c.Txn, string(s.Name))
		if old == nil || old.Site == s.Site {
			continue
		}
		if n := len(assignmentTable.find(c.Txn, "server", string(s.Name))); n > 0 {
			return refuse(ErrConflict, "server %s holds %d accounts: it cannot go from site %s to %s", s.Name, n, old.Site, s.Site)
		}
	}
	return nil
}

// checkInventory holds that what was just written refers only to what is there.
func (c *change) checkInventory(d InventoryData) error {
	for i := range d.Servers {
		s := &d.Servers[i]
		if err := c.checkDataSite(s.Site, "server", string(s.Name)); err != nil {
			return err
		}
	}
	for i := range d.Policies {
		p := &d.Policies[i]
		for _, site := range p.Replicas {
			if err := c.checkDataSite(site, "policy", string(p.Name)); err != nil {
				return err
			}
		}
	}
	for i := range d.Accounts {
		if err := c.checkAccount(&d.Accounts[i]); err != nil {
			return err
		}
	}
	for i := range d.Sites {
		if err := c.checkSite(&d.Sites[i]); err != nil {
			return err
		}
	}
	if d.Provider == nil {
		return nil
	}
	for _, a := range accountTable.list(c.Txn) { // the prefixes may be others now
		if err := c.checkAddresses(a); err != nil {
			return err
		}
	}
	return nil
}

func (c *change) checkSite(s *Site) error {
	if !s.Witness {
		return nil
	}
	if s.Store != nil || len(s.Gateways) > 0 {
		return refuse(ErrInvalid, "site %s is a witness: it has neither a store nor gateways", s.Name)
	}
	if servers := serverTable.find(c.Txn, "site", string(s.Name)); len(servers) > 0 {
		return refuse(ErrConflict, "site %s cannot be a witness: server %s is there", s.Name, servers[0].Name)
	}
	for _, r := range repositoryTable.list(c.Txn) {
		if r.Home.Site == s.Name {
			return refuse(ErrConflict, "site %s cannot be a witness: the repository of account %s is there", s.Name, r.Account)
		}
	}
	for _, p := range policyTable.list(c.Txn) {
		for _, replica := range p.Replicas {
			if replica == s.Name {
				return refuse(ErrConflict, "site %s cannot be a witness: policy %s keeps copies there", s.Name, p.Name)
			}
		}
	}
	return nil
}

// checkDataSite holds that a site is there and keeps data.
func (c *change) checkDataSite(n SiteName, what, name string) error {
	s := siteTable.get(c.Txn, string(n))
	if s == nil {
		return refuse(ErrNotFound, "%s %s names site %q, which does not exist", what, name, n)
	}
	if s.Witness {
		return refuse(ErrInvalid, "%s %s names site %s, which is a witness: it has neither servers nor a store", what, name, n)
	}
	return nil
}

func (c *change) checkAccount(a *Account) error {
	if err := c.erased(ErrConflict, a.Name); err != nil {
		return err
	}
	if policyTable.get(c.Txn, string(a.Policy)) == nil {
		return refuse(ErrNotFound, "account %s names policy %q, which does not exist", a.Name, a.Policy)
	}
	if a.Site != "" {
		if err := c.checkDataSite(a.Site, "account", string(a.Name)); err != nil {
			return err
		}
	}
	if err := c.checkPrograms(a); err != nil {
		return err
	}
	if err := c.checkParts(a); err != nil {
		return err
	}
	if err := c.checkAddresses(a); err != nil {
		return err
	}
	seen := map[netip.Addr]bool{}
	for _, addr := range a.Addresses {
		if seen[addr] {
			return refuse(ErrInvalid, "account %s has address %s twice", a.Name, addr)
		}
		seen[addr] = true
		for _, other := range accountTable.find(c.Txn, "address", addr.String()) {
			if other.Name != a.Name {
				return refuse(ErrConflict, "account %s: address %s belongs to account %s", a.Name, addr, other.Name)
			}
		}
	}
	return nil
}

func (c *change) checkAddresses(a *Account) error {
	var prefixes []netip.Prefix
	if p := providerTable.get(c.Txn, ""); p != nil {
		prefixes = p.Prefixes
	}
	for _, addr := range a.Addresses {
		inside := false
		for _, p := range prefixes {
			inside = inside || p.Contains(addr)
		}
		if !inside {
			return refuse(ErrInvalid, "account %s: address %s lies outside of the provider's prefixes %v", a.Name, addr, prefixes)
		}
	}
	return nil
}
