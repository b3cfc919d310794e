package state

// heldBack are the commands that are refused while a recovered cluster waits for a person. What agents and workers report is
// still recorded: it is how the person learns what is true.
var heldBack = map[Name]bool{
	Assign: true, AssignmentStop: true, AssignmentFenced: true, TaskCreate: true, RunCreate: true, RunAccounts: true, RunConfirm: true,
	RepositoryCreate: true, RepositoryRenew: true, RepositoryRemove: true, ErasureOrder: true, ErasureBegin: true,
}

// checkHold is the promise that a recovered cluster does nothing by itself, whoever leads it and whatever that believes.
func (c *change) checkHold(name Name) error {
	if !heldBack[name] {
		return nil
	}
	if cluster := clusterTable.get(c.Txn, ""); cluster != nil && cluster.Held != nil {
		return refuse(ErrConflict, "the cluster was recovered (%s) and does nothing before a person says so: drp recover status, then drp recover resume", cluster.Held.How)
	}
	return nil
}

func applyClusterRecover(c *change, d ClusterRecoverData) (bool, error) {
	old := clusterTable.get(c.Txn, "")
	switch {
	case old == nil:
		return false, refuse(ErrConflict, "the cluster has no identity: there is nothing to recover")
	case old.UUID != d.UUID:
		return false, refuse(ErrConflict, "this is cluster %s, and not %s", old.UUID, d.UUID)
	case d.How != RecoveredQuorum && d.How != RecoveredExport:
		return false, refuse(ErrInvalid, "a cluster is recovered from a %s or an %s, not from %q", RecoveredQuorum, RecoveredExport, d.How)
	case d.Incarnation <= old.Incarnation:
		return false, refuse(ErrConflict, "the cluster is in incarnation %d: a recovery begins a higher one than that, and not %d", old.Incarnation, d.Incarnation)
	}
	next := *old
	next.Incarnation = d.Incarnation
	next.Held = &Hold{Since: c.at, How: d.How, Source: d.Source}
	clusterTable.put(c.Txn, &next)
	return true, nil
}

func applyClusterResume(c *change, d ClusterResumeData) (bool, error) {
	old := clusterTable.get(c.Txn, "")
	switch {
	case old == nil || old.Held == nil:
		return false, refuse(ErrConflict, "the cluster does not wait for anybody")
	case d.Incarnation < old.Incarnation:
		return false, refuse(ErrConflict, "the cluster is in incarnation %d, which never falls", old.Incarnation)
	}
	for _, a := range assignmentTable.list(c.Txn) {
		if a.Token.Incarnation > d.Incarnation {
			return false, refuse(ErrConflict, "account %s is under token %s: the incarnation has to be %d at least", a.Account, a.Token, a.Token.Incarnation)
		}
	}
	next := *old
	next.Incarnation, next.Held = d.Incarnation, nil
	clusterTable.put(c.Txn, &next)
	return true, nil
}

// applyAssignmentAdopt believes a server that holds a higher token than the recovered state knows: the lower one was fenced
// before that was made. Nothing is started by it, so the account is taken to run: a home that is missing there is a loss to
// be told, never one to be replaced by an empty one.
func applyAssignmentAdopt(c *change, d AssignmentAdoptData) (bool, error) {
	cluster := clusterTable.get(c.Txn, "")
	if cluster == nil || cluster.Held == nil {
		return false, refuse(ErrConflict, "account %s: assignments are taken over from servers only after a recovery, before the cluster resumes", d.Account)
	}
	if _, err := c.account(d.Account); err != nil {
		return false, err
	}
	server, err := c.server(d.Server)
	if err != nil {
		return false, err
	}
	if old := assignmentTable.get(c.Txn, string(d.Account)); old != nil {
		if old.Token == d.Token && old.Server == d.Server {
			return false, nil
		}
		if !old.Token.Less(d.Token) {
			return false, refuse(ErrConflict, "account %s is under token %s on server %s, which is not lower than %s", d.Account, old.Token, old.Server, d.Token)
		}
	}
	if d.Token.Incarnation == 0 || d.Token.Generation == 0 {
		return false, refuse(ErrInvalid, "account %s: %s is no token", d.Account, d.Token)
	}
	c.rememberHolder(assignmentTable.get(c.Txn, string(d.Account)), d.Server)
	next := &Assignment{Account: d.Account, Server: d.Server, Token: d.Token, At: c.at, ReadyAt: c.at}
	assignmentTable.put(c.Txn, next)
	c.moveHome(d.Account, server.Site)
	c.endTasks(next)
	return true, nil
}
