package state

// RepositoryKeys is nil for a repository of whose keys nothing is known yet.
func (v *View) RepositoryKeys(name string) *RepositoryKeys {
	return repositoryKeysTable.get(v.txn, name)
}

// AllRepositoryKeys are sorted by the repository's name.
func (v *View) AllRepositoryKeys() []*RepositoryKeys { return repositoryKeysTable.list(v.txn) }

// Recipients are those of a list, nil for an id that is none's.
func (v *View) Recipients(id Digest) []string {
	if r := recipientsTable.get(v.txn, id.String()); r != nil {
		return r.List
	}
	return nil
}

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
