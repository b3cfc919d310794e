package apitest

import (
	"context"
	"fmt"
	"time"

	"drp/orchestrator"
	"drp/raftstore/state"
)

// Protected is what the brain says of accounts' protection.
type Protected struct {
	Report  *orchestrator.ProtectionReport
	Account *orchestrator.AccountVerification
	Pauses  []*state.Pause
	// Compromised is what it says of that server.
	Compromised *orchestrator.CompromisedReport

	BreakGlass orchestrator.BreakGlassReport
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

// VerifyNow is answered by whatever is known of the account.
func (b *Brain) VerifyNow(_ context.Context, by string, account state.AccountName) (time.Time, error) {
	if err := b.note("VerifyNow", by, "%s", account); err != nil {
		return time.Time{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.Protected.Account == nil || b.Protected.Account.Protection.Account != account {
		return time.Time{}, state.ErrNotFound
	}
	b.Protected.Account.Asked = b.Protected.Account.At
	return b.Protected.Account.At, nil
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

// Compromised says what it was told to say.
func (b *Brain) Compromised(_ context.Context, by string, r orchestrator.CompromisedRequest) (*orchestrator.CompromisedReport, error) {
	if err := b.note("Compromised", by, "%s dry=%t keep=%t again=%t %s", r.Server, r.DryRun, r.KeepCertificate, r.Again, r.Reason); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.Protected.Compromised == nil || b.Protected.Compromised.Server != r.Server {
		return nil, fmt.Errorf("there is no server %q: %w", r.Server, state.ErrNotFound)
	}
	return b.Protected.Compromised, nil
}
