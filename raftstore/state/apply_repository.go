package state

import "slices"

func applyRepositoryCreate(c *change, d RepositoryCreateData) (bool, error) {
	if _, err := c.account(d.Account); err != nil {
		return false, err
	}
	if err := c.checkDataSite(d.Site, "the repository of account", string(d.Account)); err != nil {
		return false, err
	}
	if len(d.SealedPassword) == 0 {
		return false, refuse(ErrInvalid, "the repository of account %s needs a sealed password", d.Account)
	}
	if err := c.checkSealed(d.SealedPassword, "the repository's password of account "+string(d.Account)); err != nil {
		return false, err
	}
	if old := repositoryTable.get(c.Txn, string(d.Account)); old != nil {
		return false, refuse(ErrConflict, "account %s has a repository already, at site %s", d.Account, old.Home.Site)
	}
	repositoryTable.put(c.Txn, &Repository{
		Account:        d.Account,
		Home:           Home{Site: d.Site, Epoch: 1},
		SealedPassword: d.SealedPassword,
	})
	return true, nil
}

func applyRepositoryReady(c *change, d RepositoryReadyData) (bool, error) {
	old, err := c.repositoryAt(d.Account, d.Home)
	if err != nil {
		return false, err
	}
	if !old.InitialisedAt.IsZero() {
		return false, nil
	}
	next := *old
	next.InitialisedAt = c.at
	repositoryTable.put(c.Txn, &next)
	return true, nil
}

// applyReplicationRecord records one pass. Only a complete one makes copies: a snapshot is never called copied
// because part of it is there.
func applyReplicationRecord(c *change, d ReplicationRecordData) (bool, error) {
	account, number, err := c.copied(d.Account)
	if err != nil {
		return false, err
	}
	for _, site := range []SiteName{d.From, d.To} {
		if _, err := c.site(site); err != nil {
			return false, err
		}
	}
	if d.From == d.To {
		return false, refuse(ErrInvalid, "account %s: a pass goes from one site to another, not from %s to itself", d.Account, d.From)
	}
	next := &Replication{
		Account: d.Account, Site: d.To, From: d.From, At: c.at,
		Objects: d.Objects, Bytes: d.Bytes, Error: d.Error,
	}
	switch {
	case d.Error == "" && c.countsAsCopy(account, number, d.To):
		c.markCopied(account, number, d.Snapshots, d.To)
	case d.Error != "":
		next.Failures = 1
		if old := replicationTable.get(c.Txn, replicationTable.key(next)); old != nil {
			next.Failures += old.Failures
		}
	}
	replicationTable.put(c.Txn, next)
	return true, nil
}

// markCopied notes that a site holds snapshots of a repository. The time of the first copy there stays. An id that is not known is forged,
// or was made by a backup whose end was never recorded.
func (c *change) markCopied(account AccountName, number int, ids []SnapshotID, site SiteName) {
	var marked []*Snapshot
	for _, old := range c.snapshotsIn(account, number) {
		if _, there := old.At(site); there || !slices.Contains(ids, old.ID) {
			continue
		}
		next := *old
		next.Sites = append(slices.Clone(old.Sites), Copy{Site: site, CopiedAt: c.at})
		marked = append(marked, &next)
	}
	c.putSnapshots(account, marked...)
}
