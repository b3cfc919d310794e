package state

import "slices"

// The repositories of accounts, as they are read.

// Repository is the present one of an account, which backups go to.
func (v *View) Repository(a AccountName) *Repository { return repositoryTable.get(v.txn, string(a)) }

// Repositories are the present ones, sorted by account.
func (v *View) Repositories() []*Repository { return repositoryTable.list(v.txn) }

// Retired are all retired ones, sorted by account, the oldest of each first.
func (v *View) Retired() []*Retired {
	return slices.DeleteFunc(retiredTable.list(v.txn), (*Retired).gone)
}

// RetiredOf an account, newest first.
func (v *View) RetiredOf(a AccountName) []*Retired {
	return slices.DeleteFunc(v.everRetiredOf(a), (*Retired).gone)
}

// Removed are those of which the passwords alone are left, in the order of Retired: they are not among the others any more.
func (v *View) Removed() []*Retired {
	return slices.DeleteFunc(retiredTable.list(v.txn), (*Retired).here)
}

// RemovedOf an account, newest first.
func (v *View) RemovedOf(a AccountName) []*Retired {
	return slices.DeleteFunc(v.everRetiredOf(a), (*Retired).here)
}

func (v *View) everRetiredOf(a AccountName) []*Retired {
	list := retiredTable.find(v.txn, "account", string(a))
	slices.Reverse(list)
	return list
}

func (r *Retired) gone() bool { return !r.Gone.IsZero() }
func (r *Retired) here() bool { return r.Gone.IsZero() }

// RepositoriesOf an account: the present one, then the retired ones, newest first.
func (v *View) RepositoriesOf(a AccountName) []*Repository {
	var list []*Repository
	if present := v.Repository(a); present != nil {
		list = append(list, present)
	}
	for _, r := range v.RetiredOf(a) {
		list = append(list, &r.Repository)
	}
	return list
}

// AllRepositories are those of all accounts, the present ones first.
func (v *View) AllRepositories() []*Repository {
	list := v.Repositories()
	for _, r := range v.Retired() {
		list = append(list, &r.Repository)
	}
	return list
}

// RepositoryNamed is the one of this name, or nil.
func (v *View) RepositoryNamed(name string) *Repository {
	account, number, err := ParseRepositoryName(name)
	if err != nil {
		return nil
	}
	return v.repository(account, number)
}

// RepositoryOf is the one that a snapshot lies in. No other one opens it.
func (v *View) RepositoryOf(s *Snapshot) *Repository { return v.repository(s.Account, s.Repository) }

func (v *View) repository(account AccountName, number int) *Repository {
	if present := v.Repository(account); present != nil && present.Number == number {
		return present
	}
	if r := retiredTable.get(v.txn, retiredKey(account, number)); r != nil && r.here() {
		return &r.Repository
	}
	return nil
}

// SnapshotsIn are the snapshots that lie in a repository, newest first.
func (v *View) SnapshotsIn(r *Repository) []*Snapshot {
	all := v.Snapshots(r.Account)
	if r.Number == 0 && len(retiredTable.find(v.txn, "account", string(r.Account))) == 0 {
		return all // there is no other
	}
	return slices.DeleteFunc(all, func(s *Snapshot) bool { return s.Repository != r.Number })
}

// IsRetired reports whether a repository is one that is no longer written.
func (v *View) IsRetired(r *Repository) bool {
	row := retiredTable.get(v.txn, retiredKey(r.Account, r.Number))
	return row != nil && row.here()
}

// HeldPassword reports whether a server is known to have been given the password of an account's present repository, as far as
// anything remembers: it runs the account, or did, or made one of its snapshots.
func (v *View) HeldPassword(r *Repository, by ServerName) bool {
	if a := v.Assignment(r.Account); a != nil && a.Server == by {
		return true
	}
	if row := holdersTable.get(v.txn, string(r.Account)); row != nil {
		if _, known := slices.BinarySearch(row.Servers, by); known || row.Many {
			return true
		}
	}
	return slices.ContainsFunc(v.SnapshotsIn(r), func(s *Snapshot) bool { return s.Server == by })
}
