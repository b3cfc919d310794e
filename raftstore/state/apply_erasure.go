package state

import (
	"slices"
	"strings"
	"time"
)

// erasure is the order that stands for an account, or what became of it.
func (c *change) erasure(account AccountName) (*Erasure, error) {
	if e := erasureTable.get(c.Txn, string(account)); e != nil {
		return e, nil
	}
	return nil, refuse(ErrNotFound, "there is no order to erase account %q", account)
}

// erased refuses the name of an account whose erasure has begun: its tokens would begin at 1 again, and servers that had it know
// higher ones; and its sites would delete what is stored under it.
func (c *change) erased(kind error, account AccountName) error {
	e := erasureTable.get(c.Txn, string(account))
	if e == nil || e.Waiting() {
		return nil
	}
	return refuse(kind, "account %s is erased since %s, as %s ordered: its name is never used again", account, e.Begun.UTC().Format("2006-01-02 15:04"), e.By)
}

func applyErasureOrder(c *change, d ErasureOrderData) (bool, error) {
	if _, err := c.account(d.Account); err != nil {
		return false, err
	}
	if d.Wait < 0 || d.Wait > MostErasureWait {
		return false, refuse(ErrInvalid, "account %s: an order to erase it waits for 0 to %.0f hours, not for %.0f", d.Account, MostErasureWait.Hours(), d.Wait.Hours())
	}
	next := &Erasure{Account: d.Account, By: c.by, Reason: Shorten(d.Reason), Ordered: c.at, NotBefore: c.at.Add(d.Wait)}
	if old := erasureTable.get(c.Txn, string(d.Account)); old != nil {
		if old.By == next.By && old.Reason == next.Reason && old.NotBefore.Sub(old.Ordered) == d.Wait {
			return false, nil // the same word twice
		}
		return false, refuse(ErrConflict, "account %s is to be erased already, from %s on, as %s ordered; to order it otherwise, cancel that first",
			d.Account, old.NotBefore.UTC().Format("2006-01-02 15:04"), old.By)
	}
	erasureTable.put(c.Txn, next)
	c.note("account %s: to be erased from %s on", d.Account, next.NotBefore.UTC().Format("2006-01-02 15:04:05 MST"))
	return true, nil
}

func applyErasureCancel(c *change, d ErasureCancelData) (bool, error) {
	old, err := c.erasure(d.Account)
	if err != nil {
		return false, err
	}
	if !old.Waiting() {
		return false, refuse(ErrConflict, "the erasure of account %s has begun at %s: it cannot be taken back", d.Account, old.Begun.UTC().Format("2006-01-02 15:04"))
	}
	erasureTable.drop(c.Txn, old)
	return true, nil
}

func applyErasureBegin(c *change, d ErasureBeginData) (bool, error) {
	old, err := c.erasure(d.Account)
	if err != nil || !old.Waiting() {
		return false, err
	}
	if c.at.Before(old.NotBefore) {
		return false, refuse(ErrConflict, "account %s is not to be erased before %s", d.Account, old.NotBefore.UTC().Format("2006-01-02 15:04:05"))
	}
	next := *old
	next.Begun = c.at
	if a := assignmentTable.get(c.Txn, string(d.Account)); a != nil {
		if a.Fenced == nil {
			return false, refuse(ErrConflict, "account %s may still run on server %s under token %s: that is not fenced yet", d.Account, a.Server, a.Token)
		}
		next.Token = a.Token
	}
	next.Servers, next.Many = c.serversOf(d.Account)
	names := c.repositoriesOf(d.Account)
	next.Repositories = joinedNames(nil, names)
	for _, s := range siteTable.list(c.Txn) {
		if !s.Witness || c.copiedTo(s.Name, d.Account, names) {
			next.Sites = append(next.Sites, SiteErasure{Site: s.Name})
		}
	}
	next.finish(c)
	c.dropAccount(d.Account, names)
	erasureTable.put(c.Txn, &next)
	return true, nil
}

// copiedTo reports whether a site is known to have copies of an account. One that has become a witness has no gateways and servers any
// more: what lay in its store may be there all the same.
func (c *change) copiedTo(site SiteName, account AccountName, repositories []string) bool {
	return slices.ContainsFunc(repositories, func(name string) bool {
		return replicationTable.get(c.Txn, compound(name, string(site))) != nil
	}) || slices.ContainsFunc(snapshotsOf(c.Txn, account), func(s *Snapshot) bool {
		_, there := s.At(site)
		return there
	})
}

// serversOf are those that had an account's home, or a password of its repositories.
func (c *change) serversOf(account AccountName) (servers []ServerName, many bool) {
	if a := assignmentTable.get(c.Txn, string(account)); a != nil {
		servers = append(servers, a.Server)
	}
	if row := holdersTable.get(c.Txn, string(account)); row != nil {
		servers, many = append(servers, row.Servers...), row.Many
	}
	for _, s := range snapshotsOf(c.Txn, account) {
		servers = append(servers, s.Server)
	}
	slices.Sort(servers)
	servers = slices.Compact(servers)
	if len(servers) > mostHolders {
		servers, many = slices.Clone(servers[:mostHolders]), true
	}
	return servers, many
}

// repositoriesOf are the names of an account's repositories, the present one and those that were retired.
func (c *change) repositoriesOf(account AccountName) []string {
	var names []string
	if repo := repositoryTable.get(c.Txn, string(account)); repo != nil {
		names = append(names, repo.Name())
	}
	for _, r := range retiredTable.find(c.Txn, "account", string(account)) {
		names = append(names, r.Repository.Name())
	}
	return names
}

// beingErased is how a run's part ends of which the account is erased meanwhile.
const beingErased = "it is being erased"

// Erased reports whether the run's part has ended because the account left for good.
func (a *RunAccount) Erased() bool { return a.Status == StepFailed && a.Message == beingErased }

// dropAccount takes all out of the state that is an account's. Runs keep its name, and know from here on that it does not come back.
func (c *change) dropAccount(account AccountName, repositories []string) {
	key := string(account)
	for _, name := range append(repositories, key) { // a pass of a first repository needs no repository
		repositoryKeysTable.dropKey(c.Txn, name)
		for _, s := range siteTable.list(c.Txn) {
			replicationTable.dropKey(c.Txn, compound(name, string(s.Name)))
			verificationTable.dropKey(c.Txn, compound(name, string(s.Name)))
		}
	}
	c.dropSnapshots(account, snapshotsOf(c.Txn, account)...)
	for _, t := range taskTable.find(c.Txn, "account", key) {
		taskTable.drop(c.Txn, t)
	}
	for _, r := range retiredTable.find(c.Txn, "account", key) {
		retiredTable.drop(c.Txn, r)
	}
	c.forgetRepository(account)
	repositoryTable.dropKey(c.Txn, key)
	pauseTable.dropKey(c.Txn, compound(string(PauseAccount), key))
	assignmentTable.dropKey(c.Txn, key)
	accountTable.dropKey(c.Txn, key)
	for _, r := range runTable.list(c.Txn) {
		row := runAccountTable.get(c.Txn, compound(string(r.ID), key))
		if r.Status.Ended() || row == nil || row.Status != StepPending {
			continue
		}
		next := *row
		next.Status, next.At, next.Message = StepFailed, c.at, beingErased
		runAccountTable.put(c.Txn, &next)
	}
}

func applyErasureSite(c *change, d ErasureSiteData) (bool, error) {
	old, err := c.erasure(d.Account)
	if err != nil {
		return false, err
	}
	if old.Waiting() {
		return false, refuse(ErrConflict, "the erasure of account %s has not begun", d.Account)
	}
	at := slices.IndexFunc(old.Sites, func(s SiteErasure) bool { return s.Site == d.Site })
	switch {
	case at < 0:
		return false, refuse(ErrNotFound, "the erasure of account %s is not about site %q", d.Account, d.Site)
	case !old.Sites[at].Empty.IsZero():
		return false, nil
	case d.Objects < 0 || d.Bytes < 0:
		return false, refuse(ErrInvalid, "site %s says that it has deleted %d objects and %d bytes of account %s", d.Site, d.Objects, d.Bytes, d.Account)
	}
	next := *old
	next.Sites = slices.Clone(old.Sites)
	next.Sites[at].hear(c, d)
	var found []string
	for _, name := range d.Repositories {
		if of, _, err := ParseRepositoryName(name); err == nil && of == d.Account {
			found = append(found, name)
		}
	}
	next.Repositories = joinedNames(old.Repositories, found)
	next.finish(c)
	erasureTable.put(c.Txn, &next)
	return true, nil
}

// hear takes over a site's word. What it has deleted never becomes less: a site that has lost its marks counts anew.
func (s *SiteErasure) hear(c *change, d ErasureSiteData) {
	s.Heard, s.Objects, s.Bytes = c.at, max(s.Objects, d.Objects), max(s.Bytes, d.Bytes)
	if !d.Until.IsZero() {
		s.Until = d.Until.UTC()
	}
	s.Error = Shorten(d.Error)
	switch {
	case s.Error == "":
		s.Failing = time.Time{}
		if !d.Empty.IsZero() {
			s.Empty = earlier(d.Empty.UTC(), c.at)
		}
	case s.Failing.IsZero():
		s.Failing = c.at
	}
}

// finish notes that nothing is left at any site.
func (e *Erasure) finish(c *change) {
	if slices.ContainsFunc(e.Sites, func(s SiteErasure) bool { return s.Empty.IsZero() }) {
		return
	}
	e.Done = c.at
	c.note("account %s: nothing of it is left at any site", e.Account)
}

// joinedNames is a sorted list with what it lacks of another, as far as there is room.
func joinedNames(list, more []string) []string {
	next := slices.Clone(list)
	for _, name := range more {
		if !slices.Contains(next, name) && len(next) < MostErased {
			next = append(next, name)
		}
	}
	slices.SortFunc(next, strings.Compare)
	return next
}
