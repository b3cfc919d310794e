package state

import "fmt"

// applyAssign gives an account to a server. This is the only place where a token is made.
func applyAssign(c *change, d AssignData) (bool, error) {
	if _, err := c.account(d.Account); err != nil {
		return false, err
	}
	server, err := c.server(d.Server)
	if err != nil {
		return false, err
	}
	cluster := clusterTable.get(c.Txn, "")
	if cluster == nil {
		return false, refuse(ErrConflict, "the cluster has no identity yet: no token can be made")
	}
	old := assignmentTable.get(c.Txn, string(d.Account))
	if err := checkSuccession(old, d); err != nil {
		return false, err
	}
	if old != nil && d.Restore == nil {
		return false, refuse(ErrInvalid, "account %s: the assignment after token %s has to say which snapshot it restores, or it would start with an empty home", d.Account, old.Token)
	}
	if d.Restore != nil {
		if err := c.restorePoint(d.Account, d.Restore); err != nil {
			return false, err
		}
	}
	next := &Assignment{
		Account: d.Account,
		Server:  d.Server,
		Token:   Token{Incarnation: cluster.Incarnation, Generation: d.Previous.Generation + 1},
		Restore: d.Restore,
		At:      c.at,
		Run:     d.Run,
	}
	if old != nil && !old.Token.Less(next.Token) {
		return false, refuse(ErrConflict, "account %s: token %s is not higher than %s", d.Account, next.Token, old.Token)
	}
	c.rememberHolder(old, d.Server)
	assignmentTable.put(c.Txn, next)
	c.moveHome(d.Account, server.Site)
	c.endTasks(next)
	c.token = next.Token
	c.note("account %s: assigned to server %s under token %s", d.Account, d.Server, next.Token)
	return true, nil
}

// checkSuccession is the promise that no account ever starts under a token before the one before it is dead.
func checkSuccession(old *Assignment, d AssignData) error {
	switch {
	case old == nil && d.Previous.IsZero():
		return nil
	case old == nil:
		return refuse(ErrConflict, "account %s has no assignment yet, and not token %s", d.Account, d.Previous)
	case old.Token != d.Previous:
		return refuse(ErrConflict, "account %s is under token %s on server %s, and not under %s", d.Account, old.Token, old.Server, d.Previous)
	case old.Fenced == nil:
		return refuse(ErrConflict, "account %s may still run on server %s under token %s: that is not fenced yet", d.Account, old.Server, old.Token)
	}
	return nil
}

// moveHome moves the home of an account's repositories to a site, if it has some that lie elsewhere.
func (c *change) moveHome(account AccountName, site SiteName) {
	for _, old := range retiredTable.find(c.Txn, "account", string(account)) {
		if old.here() && old.Repository.Home.Site != site {
			next := *old
			next.Repository.Home = Home{Site: site, Epoch: old.Repository.Home.Epoch + 1}
			retiredTable.put(c.Txn, &next)
		}
	}
	old := repositoryTable.get(c.Txn, string(account))
	if old == nil || old.Home.Site == site {
		return
	}
	next := *old
	next.Home = Home{Site: site, Epoch: old.Home.Epoch + 1}
	repositoryTable.put(c.Txn, &next)
	c.note("account %s: home of the repository moved from site %s to %s (epoch %d)", account, old.Home.Site, site, next.Home.Epoch)
}

// endTasks fails the tasks of the tokens before this one: their agents do not work for the account any more.
func (c *change) endTasks(next *Assignment) {
	for _, t := range taskTable.find(c.Txn, "account", string(next.Account)) {
		if t.Status == TaskPending && t.Token.Less(next.Token) {
			c.endTask(t, fmt.Sprintf("the account was assigned to server %s meanwhile", next.Server), "", "")
		}
	}
}

// present returns the assignment of an account, if it is still under this token.
func (c *change) present(account AccountName, token Token) (*Assignment, error) {
	a := assignmentTable.get(c.Txn, string(account))
	if a == nil {
		return nil, refuse(ErrNotFound, "account %s has no assignment", account)
	}
	if a.Token != token {
		return nil, refuse(ErrConflict, "account %s is under token %s on server %s, and not under %s", account, a.Token, a.Server, token)
	}
	return a, nil
}

func applyAssignmentStop(c *change, d AssignmentStopData) (bool, error) {
	old, err := c.present(d.Account, d.Token)
	if err != nil || old.Stop {
		return false, err
	}
	next := *old
	next.Stop = true
	assignmentTable.put(c.Txn, &next)
	return true, nil
}

// applyAssignmentFenced records why nothing runs under the token. The first proof stays.
func applyAssignmentFenced(c *change, d AssignmentFencedData) (bool, error) {
	old, err := c.present(d.Account, d.Token)
	if err != nil {
		return false, err
	}
	switch {
	case d.By == "":
		return false, refuse(ErrInvalid, "account %s: a fence says by whom it is", d.Account)
	case d.Method != AgentStopped && d.Method != ConfirmedDown:
		return false, refuse(ErrInvalid, "account %s: %q is no method of fencing", d.Account, d.Method)
	case old.Fenced != nil:
		return false, nil
	case d.Method == AgentStopped && !old.Stop:
		return false, refuse(ErrConflict, "account %s: server %s was not told to stop under token %s", d.Account, old.Server, d.Token)
	}
	next := *old
	next.Fenced = &Fence{Method: d.Method, By: d.By, At: c.at}
	assignmentTable.put(c.Txn, &next)
	return true, nil
}

func applyAssignmentReady(c *change, d AssignmentReadyData) (bool, error) {
	old, err := c.present(d.Account, d.Token)
	if err != nil {
		return false, err
	}
	if old.Fenced != nil {
		return false, refuse(ErrConflict, "account %s: token %s is fenced", d.Account, d.Token)
	}
	if !old.ReadyAt.IsZero() {
		return false, nil
	}
	next := *old
	next.ReadyAt = c.at
	assignmentTable.put(c.Txn, &next)
	return true, nil
}
