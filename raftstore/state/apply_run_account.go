package state

// applyRunAccounts records what is planned for accounts of a run that nobody has confirmed yet.
func applyRunAccounts(c *change, d RunAccountsData) (bool, error) {
	run, err := c.live(d.Run)
	if err != nil {
		return false, err
	}
	if run.Status != RunPreparing {
		return false, refuse(ErrConflict, "run %s is %s: its accounts cannot change any more", d.Run, run.Status)
	}
	changed := false
	for _, a := range d.Accounts {
		a.Run, a.Status = d.Run, StepPending
		switch _, err := c.account(a.Account); {
		case err != nil && c.erased(ErrNotFound, a.Account) != nil: // since the plan was made: all others do not wait for another one
			a.Status, a.At, a.Message = StepFailed, c.at, beingErased
		case err != nil:
			return false, err
		case a.To == "":
			a.Status = StepFailed // it fits nowhere: Message says why, and the run does not forget it
		}
		if old := runAccountTable.get(c.Txn, runAccountTable.key(&a)); old != nil {
			if !samePlan(old, &a) {
				return false, refuse(ErrConflict, "run %s has another plan for account %s already", d.Run, a.Account)
			}
			continue
		}
		runAccountTable.put(c.Txn, &a)
		changed = true
	}
	return changed, nil
}

// applyRunAccountEnd says how one account of a run ended. It ends once.
func applyRunAccountEnd(c *change, d RunAccountEndData) (bool, error) {
	if _, err := c.live(d.Run); err != nil {
		return false, err
	}
	old := runAccountTable.get(c.Txn, compound(string(d.Run), string(d.Account)))
	switch {
	case old == nil:
		return false, refuse(ErrNotFound, "run %s has no account %s", d.Run, d.Account)
	case d.Status != StepDone && d.Status != StepFailed:
		return false, refuse(ErrInvalid, "run %s: account %s ends as done or failed, not %q", d.Run, d.Account, d.Status)
	case old.Status != StepPending:
		return false, refuse(ErrConflict, "run %s: account %s has ended already: %s", d.Run, d.Account, old.Status)
	}
	next := *old
	next.Status, next.At, next.Message, next.RPO, next.RTO = d.Status, d.At, d.Message, d.RPO, d.RTO
	runAccountTable.put(c.Txn, &next)
	return true, nil
}

// samePlan compares what happens to the account. A plan that is made again after a lost answer differs in the times
// at which things were seen.
func samePlan(a, b *RunAccount) bool {
	return a.Account == b.Account && a.Token == b.Token && a.To == b.To && a.Restore == b.Restore
}
