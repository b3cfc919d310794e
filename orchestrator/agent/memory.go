package agent

import (
	"cmp"
	"context"
	"slices"
	"time"

	"drp/orchestrator/wire"
)

// rememberWithin is how long the guard may take to say what it remembers.
const rememberWithin = 5 * time.Second

// memory is every token that was ever seen here, by this agent or by the guard. Nil when one of them cannot be asked: half
// of it would make coordinators that come out of a loss give out a token that is not above all others.
func (a *Agent) memory(ctx context.Context) *wire.Memory {
	ctx, cancel := context.WithTimeout(ctx, rememberWithin)
	defer cancel()
	fences, err := a.journal.fences()
	if err != nil {
		a.Log.Error("cannot tell what was seen here; the coordinators go on waiting for it", "error", err)
		return nil
	}
	announced, err := a.Router.Tokens(ctx)
	if err != nil {
		a.Log.Error("the guard does not say what it has seen; the coordinators go on waiting for it", "error", err)
		return nil
	}
	m := &wire.Memory{}
	for account, f := range fences {
		seen := wire.SeenToken{Account: account, Token: f.Token, Stopped: f.Stopped}
		if token, ok := announced[account]; ok && f.Token.Less(token) { // this journal was lost once
			seen.Token, seen.Stopped = token, false
		}
		delete(announced, account)
		m.Tokens = append(m.Tokens, seen)
	}
	for account, token := range announced {
		m.Tokens = append(m.Tokens, wire.SeenToken{Account: account, Token: token})
	}
	slices.SortFunc(m.Tokens, func(x, y wire.SeenToken) int { return cmp.Compare(x.Account, y.Account) })
	return m
}
