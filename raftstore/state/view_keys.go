package state

// RepositoryKeys is nil for a repository of whose keys nothing is known yet.
func (v *View) RepositoryKeys(name string) *RepositoryKeys {
	return repositoryKeysTable.get(v.txn, name)
}

// AllRepositoryKeys are sorted by the repository's name.
func (v *View) AllRepositoryKeys() []*RepositoryKeys { return repositoryKeysTable.list(v.txn) }

// BreakGlassTests is nil before somebody has tried.
func (v *View) BreakGlassTests() *BreakGlassTests { return breakGlassTestsTable.get(v.txn, "") }

// Holders are the sites from which somebody may read a repository.
func (v *View) Holders(repo *Repository) []SiteName { return holders(v.txn, repo) }

// LacksKeys names a holder that was not seen to have the keys of a repository as they should be; empty: there is none.
func (v *View) LacksKeys(repo *Repository, k *RepositoryKeys) SiteName {
	return lacksKeys(v.txn, repo, k)
}

// UsesOldPassword names what is under way with the password from before a switch; empty: nothing is.
func (v *View) UsesOldPassword(account AccountName, r *Rotation) string {
	return usesOldPassword(v.txn, account, r)
}
