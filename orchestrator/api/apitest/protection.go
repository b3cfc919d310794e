package apitest

import (
	"context"

	"drp/orchestrator"
	"drp/raftstore/state"
)

// Protected is what the brain says of accounts' protection.
type Protected struct {
	Report  *orchestrator.ProtectionReport
	Account *orchestrator.AccountVerification
	Pauses  []*state.Pause
}

func (b *Brain) Protection(_ context.Context, f orchestrator.ProtectionFilter) (*orchestrator.ProtectionReport, error) {
	if err := b.note("Protection", "anybody", "site %q tier %q", f.Site, f.Tier); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.Protected.Report == nil {
		return &orchestrator.ProtectionReport{Unprotected: []orchestrator.AccountProtection{}, Tiers: []orchestrator.TierProtection{}}, nil
	}
	return b.Protected.Report, nil
}

func (b *Brain) AccountProtection(_ context.Context, name state.AccountName) (*orchestrator.AccountVerification, error) {
	if err := b.note("AccountProtection", "", ""); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.Protected.Account == nil || b.Protected.Account.Protection.Account != name {
		return nil, state.ErrNotFound
	}
	return b.Protected.Account, nil
}

func (b *Brain) Pauses(context.Context) ([]*state.Pause, error) {
	if err := b.note("Pauses", "", ""); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Protected.Pauses, nil
}

func (b *Brain) PauseBackups(_ context.Context, by string, p state.Pause) error {
	return b.note("PauseBackups", by, "%s %s %s", p.Kind, p.Name, p.Reason)
}

func (b *Brain) ResumeBackups(_ context.Context, by string, kind state.PauseKind, name string) error {
	return b.note("ResumeBackups", by, "%s %s", kind, name)
}
