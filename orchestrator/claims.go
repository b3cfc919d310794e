package orchestrator

import (
	"sync"

	"drp/raftstore/state"
)

// A server may hold an account that the state gives to another server, or to none: after a recovery, or because somebody
// began a new cluster where the old one should have been recovered.

// heldSomewhere are the accounts without an assignment that a server holds all the same.
func (n now) heldSomewhere() map[state.AccountName]HeldAccount {
	n.held.Do(func() { n.held.found = n.findHeld() })
	return n.held.found
}

// heldOnce is that of one look, which may ask for many accounts: all reports are gone over for it.
type heldOnce struct {
	sync.Once
	found map[state.AccountName]HeldAccount
}

func (n now) findHeld() map[state.AccountName]HeldAccount {
	found := map[state.AccountName]HeldAccount{}
	for _, server := range n.view.Servers() {
		report := n.seen.reports[server.Name]
		if report == nil {
			continue
		}
		for _, o := range report.Accounts {
			if holding(o) && n.view.Assignment(o.Account) == nil {
				found[o.Account] = HeldAccount{Account: o.Account, Server: server.Name, Token: o.Token}
			}
		}
	}
	return found
}

// doubled are the accounts that a server holds under the very token that the state gives to another one. It was given up
// at a recovery and came back: whoever else has stopped, the token is not dead.
func doubled(n now) map[state.AccountName]bool {
	found := map[state.AccountName]bool{}
	if c := n.view.Cluster(); c == nil || c.Incarnation == 1 {
		return found // nothing was ever forgotten
	}
	for name, report := range n.seen.reports {
		if !n.answers(name) {
			continue
		}
		for _, o := range report.Accounts {
			if as := n.view.Assignment(o.Account); as != nil && as.Server != name && as.Token == o.Token && holding(o) {
				found[o.Account] = true
			}
		}
	}
	return found
}
