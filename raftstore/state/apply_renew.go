package state

import (
	"maps"
	"slices"
)

// applyRepositoryRenew is not refused while a backup is under way: a stolen server must not be able to keep its password good.
func applyRepositoryRenew(c *change, d RepositoryRenewData) (bool, error) {
	if _, err := c.account(d.Account); err != nil {
		return false, err
	}
	old := repositoryTable.get(c.Txn, string(d.Account))
	switch {
	case old == nil:
		return false, refuse(ErrNotFound, "account %s has no repository", d.Account)
	case old.Number != d.Number:
		return false, refuse(ErrConflict, "the present repository of account %s is %s, and not %s", d.Account, old.Name(), RepositoryName(d.Account, d.Number))
	case len(d.SealedPassword) == 0:
		return false, refuse(ErrInvalid, "the new repository of account %s needs a sealed password", d.Account)
	case Sum(d.SealedPassword) == Sum(old.SealedPassword):
		return false, refuse(ErrInvalid, "the new repository of account %s needs another password than the old one", d.Account)
	}
	if err := c.checkSealed(d.SealedPassword, "the repository's password of account "+string(d.Account)); err != nil {
		return false, err
	}
	retiredTable.put(c.Txn, &Retired{Repository: *old, At: c.at, By: c.by, Server: d.Server, Reason: Shorten(d.Reason)})
	next := &Repository{
		Account: d.Account, Number: old.Next(), SealedPassword: d.SealedPassword,
		// The epoch goes on: what a worker says of the old one is no word on the new one.
		Home: Home{Site: old.Home.Site, Epoch: old.Home.Epoch + 1},
	}
	repositoryTable.put(c.Txn, next)
	for _, t := range taskTable.find(c.Txn, "account", string(d.Account)) {
		if t.Kind == TaskBackup && t.Status == TaskPending {
			c.endTask(t, "the account was given a new repository meanwhile", "", "")
		}
	}
	c.forgetRepository(d.Account)
	repositoryKeysTable.dropKey(c.Txn, old.Name()) // no key of it is made or removed any more
	c.note("account %s: repository %s is retired, %s takes its place", d.Account, old.Name(), next.Name())
	return true, nil
}

// forgetRepository drops what is known of an account's present repository and is not so of the next one: with no backup on
// record, the first one into that is due at once.
func (c *change) forgetRepository(account AccountName) {
	backupStatusTable.dropKey(c.Txn, string(account))
	maintenanceTable.dropKey(c.Txn, string(account))
	holdersTable.dropKey(c.Txn, string(account))
}

// rememberHolder notes that a server knows the password of an account that goes to another one.
func (c *change) rememberHolder(old *Assignment, next ServerName) {
	if cluster := clusterTable.get(c.Txn, ""); cluster == nil || cluster.Level < LevelRenewals {
		return // an older member would not; until then the snapshots say which servers they are of
	}
	if old == nil || old.Server == next || repositoryTable.get(c.Txn, string(old.Account)) == nil {
		return
	}
	row := Holders{Account: old.Account}
	if before := holdersTable.get(c.Txn, string(old.Account)); before != nil {
		row = *before
	}
	at, known := slices.BinarySearch(row.Servers, old.Server)
	switch {
	case known || row.Many:
		return
	case len(row.Servers) == mostHolders:
		row.Many = true
	default:
		row.Servers = slices.Insert(slices.Clone(row.Servers), at, old.Server)
	}
	holdersTable.put(c.Txn, &row)
}

// retired is a repository that was retired and is still at a site.
func (c *change) retired(account AccountName, number int) (*Retired, error) {
	if r := retiredTable.get(c.Txn, retiredKey(account, number)); r != nil && r.Gone.IsZero() {
		return r, nil
	}
	return nil, refuse(ErrNotFound, "account %s has no retired repository %s", account, RepositoryName(account, number))
}

// snapshotsIn are those of an account that lie in one of its repositories.
func (c *change) snapshotsIn(account AccountName, number int) []*Snapshot {
	return slices.DeleteFunc(snapshotsOf(c.Txn, account), func(s *Snapshot) bool { return s.Repository != number })
}

func applyRepositoryRemove(c *change, d RepositoryRemoveData) (bool, error) {
	old, err := c.retired(d.Account, d.Number)
	if err != nil || !old.Removing.IsZero() {
		return false, err
	}
	marked := map[SnapshotID]*Snapshot{}
	var over []*Snapshot
	for _, s := range c.snapshotsIn(d.Account, d.Number) {
		marked[s.ID] = s
		next := *s
		next.ForgetAt = c.at
		over = append(over, &next)
	}
	var sites []SiteName // all: a site that the policy names no more may hold the last copy there is
	for _, s := range siteTable.list(c.Txn) {
		sites = append(sites, s.Name)
	}
	if err := c.checkNewestStay(d.Account, sites, marked); err != nil {
		return false, err
	}
	if err := c.checkUnread(d.Account, marked); err != nil {
		return false, err
	}
	c.putSnapshots(d.Account, over...)
	next := *old
	next.Removing = c.at
	retiredTable.put(c.Txn, &next)
	return true, nil
}

func applyRepositoryRemoved(c *change, d RepositoryRemovedData) (bool, error) {
	old, err := c.retired(d.Account, d.Number)
	if err != nil {
		return false, err
	}
	if old.Removing.IsZero() {
		return false, refuse(ErrConflict, "repository %s is not to be removed", old.Repository.Name())
	}
	if _, err := c.site(d.Site); err != nil {
		return false, err
	}
	next := *old
	next.Errors = maps.Clone(old.Errors)
	at, done := slices.BinarySearch(old.Removed, d.Site)
	switch {
	case done:
		return false, nil
	case d.Error != "":
		if next.Errors == nil {
			next.Errors = map[SiteName]Failure{}
		}
		next.Errors[d.Site] = Failure{Error: Shorten(d.Error), At: c.at, Count: old.Errors[d.Site].Count + 1}
	default:
		next.Removed = slices.Insert(slices.Clone(old.Removed), at, d.Site)
		delete(next.Errors, d.Site)
		if len(next.Errors) == 0 {
			next.Errors = nil // one form for one meaning
		}
	}
	if c.removedEverywhere(&next) {
		c.forgetCopies(&next.Repository)
		next.Gone = c.at
		c.note("account %s: repository %s is removed everywhere; its password stays until what lies in the trash is gone", d.Account, old.Repository.Name())
	}
	retiredTable.put(c.Txn, &next)
	return true, nil
}

func (c *change) removedEverywhere(r *Retired) bool {
	return !slices.ContainsFunc(siteTable.list(c.Txn), func(s *Site) bool {
		_, done := slices.BinarySearch(r.Removed, s.Name)
		return !s.Witness && !done
	})
}

// forgetCopies drops what is known of the copies of a repository, of which there are none any more.
func (c *change) forgetCopies(r *Repository) {
	c.dropSnapshots(r.Account, c.snapshotsIn(r.Account, r.Number)...)
	row := r.Row()
	for _, s := range siteTable.list(c.Txn) {
		replicationTable.dropKey(c.Txn, compound(string(row), string(s.Name)))
		verificationTable.dropKey(c.Txn, compound(string(row), string(s.Name)))
	}
}

func applyRepositoryDrop(c *change, d RepositoryDropData) (bool, error) {
	old, name := retiredTable.get(c.Txn, retiredKey(d.Account, d.Number)), RepositoryName(d.Account, d.Number)
	switch {
	case old == nil:
		return false, refuse(ErrNotFound, "account %s has no retired repository %s", d.Account, name)
	case old.Gone.IsZero():
		return false, refuse(ErrConflict, "repository %s is not removed everywhere", name)
	case c.at.Sub(old.Gone) < PasswordKept:
		return false, refuse(ErrConflict, "repository %s may lie in a site's trash: its password stays until %s", name, old.Gone.Add(PasswordKept).Format("2006-01-02 15:04"))
	}
	retiredTable.drop(c.Txn, old)
	return true, nil
}

// copied is the repository that a pass or a look at a copy was about, by its name.
func (c *change) copied(row AccountName) (AccountName, int, error) {
	account, number, err := ParseRepositoryName(string(row))
	if err != nil {
		account = row // which no account is called either
	}
	if _, err := c.account(account); err != nil {
		return "", 0, err
	}
	present := repositoryTable.get(c.Txn, string(account))
	if present == nil && number == 0 || present != nil && present.Number == number {
		return account, number, nil
	}
	_, err = c.retired(account, number)
	return account, number, err
}
