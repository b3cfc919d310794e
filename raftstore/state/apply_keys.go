package state

import (
	"encoding/hex"
	"slices"
	"strings"
)

// What a row holds at most of what workers and people say.
const (
	mostKeys      = 32
	mostTested    = 20
	mostRecipient = 32
)

// keysOf is the row of an account's present repository, a copy that may be changed. Name is what the proposer takes it for.
func (c *change) keysOf(account AccountName, name string) (*RepositoryKeys, *Repository, error) {
	repo := repositoryTable.get(c.Txn, string(account))
	if repo == nil {
		return nil, nil, refuse(ErrNotFound, "account %s has no repository", account)
	}
	if repo.Name() != name {
		return nil, nil, refuse(ErrConflict, "the repository of account %s is %s, and not %.80q", account, repo.Name(), name)
	}
	if old := repositoryKeysTable.get(c.Txn, name); old != nil {
		next := *old
		return &next, repo, nil
	}
	return &RepositoryKeys{Repository: name, Account: account}, repo, nil
}

func checkKeyFiles(files []string) error {
	for _, f := range files {
		if raw, err := hex.DecodeString(f); err != nil || len(raw) != 32 || strings.ToLower(f) != f {
			return refuse(ErrInvalid, "key file %.80q: its name has 64 hexadecimal digits in lower case", f)
		}
	}
	if len(files) > mostKeys {
		return refuse(ErrInvalid, "%d key files: a repository has %d at most", len(files), mostKeys)
	}
	return nil
}

func applyKeysMade(c *change, d KeysMadeData) (bool, error) {
	next, repo, err := c.keysOf(d.Account, d.Repository)
	if err != nil {
		return false, err
	}
	if repo.Home != d.Home {
		return false, refuse(ErrConflict, "the repository of account %s has its home at site %s (epoch %d), and not at %s (epoch %d)",
			d.Account, repo.Home.Site, repo.Home.Epoch, d.Home.Site, d.Home.Epoch)
	}
	if d.Error != "" {
		next.Failure = next.Failure.again(c, d.Error)
		repositoryKeysTable.put(c.Txn, next)
		return true, nil
	}
	d.Old = d.Old[max(0, len(d.Old)-(mostKeys-1)):] // the next word names what is left
	if err := checkKeyFiles(append(slices.Clone(d.Old), d.Key)); err != nil {
		return false, err
	}
	if slices.Contains(d.Old, d.Key) || slices.Contains(next.Remove, d.Key) {
		return false, refuse(ErrInvalid, "key file %.8s of account %s is one of those that have to go", d.Key, d.Account)
	}
	switch d.Purpose {
	case KeyBreakGlass:
		if len(d.Sealed) == 0 || len(d.Sealed) > mostRecipient || len(d.Asked) > mostRecipient || d.File.IsZero() {
			return false, refuse(ErrInvalid, "the break-glass key of account %s is sealed to nobody, or to too many", d.Account)
		}
		if next.BreakGlass != nil { // a new home need not have had it, and others do
			d.Old = joined(d.Old, []string{next.BreakGlass.Key})
		}
		next.BreakGlass = &BreakGlass{Key: d.Key, File: d.File, Asked: RecipientsID(d.Asked), Made: c.at}
		if to := RecipientsID(d.Sealed); to != next.BreakGlass.Asked {
			next.BreakGlass.Sealed = to
		}
		c.keepRecipients(d.Asked, d.Sealed)
		next.Remove = joined(next.Remove, except(d.Old, next.Have()))
	case KeyRotation:
		if next.Rotation == nil || !next.Rotation.Switched.IsZero() {
			return false, refuse(ErrConflict, "the password of account %s is not being changed", d.Account)
		}
		if d.Key == next.Password { // a late word on the change before: nobody has the next password's key yet
			return false, refuse(ErrConflict, "key file %.8s of account %s is that of the present password, and not of the next one", d.Key, d.Account)
		}
		r := *next.Rotation
		// A key that was made at a home that is one no longer goes with the old ones: its password is the same, and one is enough.
		r.Old = joined(r.Old, d.Old)
		if r.Key != "" && r.Key != d.Key {
			r.Old = joined(r.Old, []string{r.Key})
		}
		r.Key = d.Key
		next.Rotation = &r
		next.Rotation.Old = except(next.Rotation.Old, next.Have())
		if next.Password != "" {
			next.Rotation.Old = joined(next.Rotation.Old, []string{next.Password})
		}
	default:
		return false, refuse(ErrInvalid, "a key is not made for %.80q", d.Purpose)
	}
	next.Failure = nil
	next.Version++
	repositoryKeysTable.put(c.Txn, next)
	return true, nil
}

// keepRecipients adds lists that are not known yet. Then those go that no key is sealed to any more: a new list comes when the
// operators exchange their offline keys, and hardly ever otherwise.
func (c *change) keepRecipients(lists ...[]string) {
	lists = slices.DeleteFunc(lists, func(list []string) bool {
		return recipientsTable.get(c.Txn, RecipientsID(list).String()) != nil
	})
	if len(lists) == 0 {
		return
	}
	used := map[Digest]bool{}
	for _, k := range repositoryKeysTable.list(c.Txn) {
		if k.BreakGlass != nil {
			used[k.BreakGlass.Asked], used[k.BreakGlass.To()] = true, true
		}
	}
	for _, r := range recipientsTable.list(c.Txn) {
		if !used[r.ID] {
			recipientsTable.drop(c.Txn, r)
		}
	}
	for _, list := range lists {
		recipientsTable.put(c.Txn, &Recipients{ID: RecipientsID(list), List: list})
	}
}

// again is one more failure in a row.
func (f *Failure) again(c *change, text string) *Failure {
	next := Failure{Error: Shorten(text), At: c.at, Count: 1}
	if f != nil {
		next.Count += f.Count
	}
	return &next
}

// joined is a list with what it lacks of another, the newest ones when it gets too long.
func joined(list, more []string) []string {
	next := slices.Clone(list)
	for _, m := range more {
		if !slices.Contains(next, m) {
			next = append(next, m)
		}
	}
	return next[max(0, len(next)-mostKeys):]
}

// except is a list without some of it.
func except(list, without []string) []string {
	var left []string
	for _, l := range list {
		if !slices.Contains(without, l) {
			left = append(left, l)
		}
	}
	return left
}

func applyKeysSeen(c *change, d KeysSeenData) (bool, error) {
	next, _, err := c.keysOf(d.Account, d.Repository)
	if err != nil {
		return false, err
	}
	if _, err := c.site(d.Site); err != nil {
		return false, err
	}
	if d.Version != next.Version {
		return false, nil // it was given something else to do meanwhile
	}
	if err := checkKeyFiles(d.Missing); err != nil {
		return false, err
	}
	seen := next.At(d.Site)
	seen.Missing = d.Missing
	if d.Error != "" {
		seen.Failure = seen.Failure.again(c, d.Error)
	} else {
		seen.Version, seen.At, seen.Missing, seen.Failure = d.Version, c.at, nil, nil
	}
	next.Sites = slices.DeleteFunc(slices.Clone(next.Sites), func(s SiteKeys) bool { return s.Site == d.Site })
	next.Sites = append(next.Sites, seen)
	slices.SortFunc(next.Sites, func(a, b SiteKeys) int { return strings.Compare(string(a.Site), string(b.Site)) })
	repositoryKeysTable.put(c.Txn, next)
	return true, nil
}

func applyKeysRotate(c *change, d KeysRotateData) (bool, error) {
	repo := repositoryTable.get(c.Txn, string(d.Account))
	if repo == nil {
		return false, refuse(ErrNotFound, "account %s has no repository", d.Account)
	}
	next, _, err := c.keysOf(d.Account, repo.Name())
	if err != nil {
		return false, err
	}
	switch {
	case repo.InitialisedAt.IsZero():
		return false, refuse(ErrConflict, "the repository of account %s is not made yet", d.Account)
	case next.Rotation != nil:
		return false, refuse(ErrConflict, "the password of account %s is being changed already, since %s", d.Account, next.Rotation.Begun.Format("2006-01-02 15:04"))
	case len(d.Sealed) == 0:
		return false, refuse(ErrInvalid, "the next password of account %s is not there", d.Account)
	}
	if err := c.checkSealed(d.Sealed, "the next password of account "+string(d.Account)); err != nil {
		return false, err
	}
	next.Rotation = &Rotation{Sealed: d.Sealed, By: c.by, Begun: c.at}
	repositoryKeysTable.put(c.Txn, next)
	return true, nil
}

func applyKeysSwitch(c *change, d KeysSwitchData) (bool, error) {
	next, repo, err := c.keysOf(d.Account, d.Repository)
	if err != nil {
		return false, err
	}
	r := next.Rotation
	if r == nil || r.Key == "" || !r.Switched.IsZero() || d.Version != next.Version {
		return false, refuse(ErrConflict, "the password of account %s is not about to be changed", d.Account)
	}
	if site := lacksKeys(c.Txn, repo, next); site != "" {
		return false, refuse(ErrConflict, "site %s was not seen to have the new key of account %s", site, d.Account)
	}
	switched := *r
	switched.Switched = c.at
	next.Rotation = &switched
	changed := *repo
	changed.SealedPassword = r.Sealed
	repositoryTable.put(c.Txn, &changed)
	repositoryKeysTable.put(c.Txn, next)
	return true, nil
}

// lacksKeys names a site that has a copy of a repository, or is to have one, and was not seen to hold the keys as they should be
// now; empty: there is none.
func lacksKeys(txn *transaction, repo *Repository, k *RepositoryKeys) SiteName {
	for _, site := range holders(txn, repo) {
		if s := k.At(site); s.Version != k.Version || s.Failure != nil {
			return site
		}
	}
	return ""
}

// holders are the sites from which somebody may read a repository: its home, those of the policy, and whoever holds a snapshot.
func holders(txn *transaction, repo *Repository) []SiteName {
	sites := []SiteName{repo.Home.Site}
	if a := accountTable.get(txn, string(repo.Account)); a != nil {
		if p := policyTable.get(txn, string(a.Policy)); p != nil {
			sites = append(sites, p.Replicas...)
		}
	}
	for _, s := range snapshotsOf(txn, repo.Account) {
		if s.Repository != repo.Number {
			continue
		}
		for _, copied := range s.Sites {
			sites = append(sites, copied.Site)
		}
	}
	slices.Sort(sites)
	return slices.Compact(sites)
}

// countsAsCopy reports whether a complete pass makes a copy of a repository. The first one of a site does not when the password was
// or is being changed, before the site was seen to have the keys: the pass may have listed them when the one in use was not there.
func (c *change) countsAsCopy(account AccountName, number int, site SiteName) bool {
	repo := repositoryTable.get(c.Txn, string(account))
	if repo == nil || repo.Number != number || repo.Home.Site == site {
		return true // passwords of retired ones stay as they are
	}
	k := repositoryKeysTable.get(c.Txn, repo.Name())
	if k == nil || k.Password == "" && k.Rotation == nil {
		return true
	}
	for _, s := range c.snapshotsIn(account, number) {
		if _, there := s.At(site); there {
			return true // then nothing was switched before it had the key
		}
	}
	seen := k.At(site)
	return seen.Version == k.Version && seen.Failure == nil
}

func applyKeysRetire(c *change, d KeysRetireData) (bool, error) {
	next, _, err := c.keysOf(d.Account, d.Repository)
	if err != nil {
		return false, err
	}
	r := next.Rotation
	if r == nil || r.Switched.IsZero() {
		return false, refuse(ErrConflict, "the password of account %s has not been changed", d.Account)
	}
	if what := usesOldPassword(c.Txn, d.Account, r); what != "" {
		return false, refuse(ErrConflict, "%s of account %s began before its password was changed, and may still use the old one", what, d.Account)
	}
	next.Password, next.Since, next.Rotation = r.Key, r.Switched, nil
	next.Remove = joined(next.Remove, except(r.Old, next.Have()))
	next.Version++
	repositoryKeysTable.put(c.Txn, next)
	return true, nil
}

// usesOldPassword names what is under way and was given the password from before a switch; empty: nothing is.
func usesOldPassword(txn *transaction, account AccountName, r *Rotation) string {
	for _, t := range taskTable.find(txn, "account", string(account)) {
		if t.Status == TaskPending && !t.Created.After(r.Switched) {
			return "task " + string(t.ID)
		}
	}
	if a := assignmentTable.get(txn, string(account)); a != nil && a.Restore != nil && a.ReadyAt.IsZero() && a.Fenced == nil && !a.At.After(r.Switched) {
		return "the restore at server " + string(a.Server)
	}
	return ""
}

func applyBreakGlassRecord(c *change, d BreakGlassRecordData) (bool, error) {
	if d.Count < 1 || d.Store == "" {
		return false, refuse(ErrInvalid, "a test of break-glass passwords opens at least one, at a store")
	}
	test := BreakGlassTest{At: c.at, By: c.by, Store: cut(d.Store, maxPartText), Count: d.Count, Error: Shorten(d.Error)}
	for _, name := range d.Tested[:min(len(d.Tested), mostTested)] {
		test.Tested = append(test.Tested, cut(name, maxPartText))
	}
	for _, name := range d.Failed[:min(len(d.Failed), mostTested)] {
		test.Failed = append(test.Failed, cut(name, maxPartText))
	}
	next := &BreakGlassTests{Last: test}
	if old := breakGlassTestsTable.get(c.Txn, ""); old != nil {
		next.Passed = old.Passed
	}
	if len(test.Failed) == 0 && test.Error == "" {
		next.Passed = test
	}
	breakGlassTestsTable.put(c.Txn, next)
	return true, nil
}

func (c *change) resealRotation(item ResealItem) bool {
	old := repositoryKeysTable.get(c.Txn, string(item.Account))
	if old == nil || old.Rotation == nil || Sum(old.Rotation.Sealed) != item.Old {
		return false
	}
	next, rotation := *old, *old.Rotation
	rotation.Sealed = item.Sealed
	next.Rotation = &rotation
	repositoryKeysTable.put(c.Txn, &next)
	return true
}
