package orchestrator

import (
	"context"
	"fmt"
	"time"

	"drp/raftstore/state"
)

type pauseKey struct {
	kind state.PauseKind
	name string
}

type pauses map[pauseKey]*state.Pause

func (n now) pauses() pauses {
	all := pauses{}
	for _, p := range n.view.Pauses() {
		all[pauseKey{p.Kind, p.Name}] = p
	}
	return all
}

// of is what keeps backups of an account from being started; nil: nothing does.
func (p pauses) of(account state.AccountName, server state.ServerName, site state.SiteName) *state.Pause {
	if len(p) == 0 {
		return nil
	}
	for _, key := range []pauseKey{{state.PauseAccount, string(account)}, {state.PauseServer, string(server)}, {state.PauseSite, string(site)}} {
		if found := p[key]; found != nil {
			return found
		}
	}
	return nil
}

// paused is of for one account that has a server.
func (n now) paused(a *state.Assignment) *state.Pause {
	var site state.SiteName
	if s := n.view.Server(a.Server); s != nil {
		site = s.Site
	}
	return n.pauses().of(a.Account, a.Server, site)
}

// pauseText is how a pause is shown to whoever meets it.
func pauseText(p *state.Pause) string {
	text := fmt.Sprintf("backups of %s %s have been paused by %s since %s", p.Kind, p.Name, p.By, p.Since.UTC().Format(time.RFC3339))
	if p.Reason != "" {
		text += ": " + p.Reason
	}
	return text
}

// Pauses are all that there are.
func (o *Orchestrator) Pauses(ctx context.Context) ([]*state.Pause, error) {
	view, err := o.View(ctx)
	if err != nil {
		return nil, err
	}
	return view.Pauses(), nil
}

// PauseBackups keeps backups from being started. What runs goes on.
func (o *Orchestrator) PauseBackups(ctx context.Context, by string, p state.Pause) error {
	if err := o.knowsProtection("pause backups"); err != nil {
		return err
	}
	if _, err := o.propose(ctx, by, state.PauseSet, state.PauseSetData{Pause: p}); err != nil {
		return fmt.Errorf("pause backups: %w", err)
	}
	return nil
}

// ResumeBackups ends a pause. What was missed is made up for by one backup of each account.
func (o *Orchestrator) ResumeBackups(ctx context.Context, by string, kind state.PauseKind, name string) error {
	if err := o.knowsProtection("resume backups"); err != nil {
		return err
	}
	if _, err := o.propose(ctx, by, state.PauseClear, state.PauseClearData{Kind: kind, Name: name}); err != nil {
		return fmt.Errorf("resume backups: %w", err)
	}
	return nil
}

// knowsProtection refuses what a member that is too old could not apply.
func (o *Orchestrator) knowsProtection(what string) error {
	if _, err := o.leading(); err != nil {
		return err
	}
	if level := o.config.Store.View().Level(); level < protectionLevel {
		return fmt.Errorf("%s: a coordinator is still of an older version (level %d; this takes %d): upgrade all of them first: %w", what, level, protectionLevel, ErrRefused)
	}
	return nil
}

// protectionLevel is that of all commands about what becomes of snapshots.
const protectionLevel = 3
