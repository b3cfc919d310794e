package state

import "unique"

// Rows that there is one of for each account make up most of the state in memory. As they are decoded, lists have room for four
// elements or more where one or two are the rule, and each name of a site is a text of its own.

// trimmer is such a row. What was just decoded is trimmed before anybody else sees it.
type trimmer interface{ trim() }

func (a *Account) trim() {
	a.Addresses, a.Services = exact(a.Addresses), exact(a.Services)
	a.Databases, a.Mailboxes, a.CronJobs = exact(a.Databases), exact(a.Mailboxes), exact(a.CronJobs)
	for i := range a.Services {
		a.Services[i].Command = exact(a.Services[i].Command)
	}
	a.Policy, a.Tier = shared(a.Policy), shared(a.Tier)
}

func (a *Assignment) trim() { a.Server, a.Run = shared(a.Server), shared(a.Run) }

func (r *Replication) trim() { r.Site, r.From = shared(r.Site), shared(r.From) }

func (r *Repository) trim() { r.Home.Site = shared(r.Home.Site) }

func (k *RepositoryKeys) trim() {
	k.Sites, k.Remove = exact(k.Sites), exact(k.Remove)
	for i := range k.Sites {
		k.Sites[i].Site = shared(k.Sites[i].Site)
	}
	if string(k.Account) == k.Repository {
		k.Account = AccountName(k.Repository) // one text for both
	}
}

// exact is the same list with no room behind it. One without elements stays what it is: nil is not the same as empty.
func exact[T any](list []T) []T {
	if len(list) == cap(list) {
		return list
	}
	next := make([]T, len(list))
	copy(next, list)
	return next
}

// shared is the same text, once for all who have it.
func shared[T ~string](text T) T { return T(unique.Make(string(text)).Value()) }
