package apitest

import (
	"context"
	"fmt"
	"time"

	"drp/orchestrator"
	"drp/orchestrator/erasure"
	"drp/raftstore/state"
)

// Erase says what an erasure would be about; nothing is erased by a Brain. A test sets Erased for what follows.
func (b *Brain) Erase(_ context.Context, by string, r orchestrator.ErasureRequest) (*orchestrator.ErasureReport, error) {
	if err := b.note("Erase", by, "%s after=%s dry=%t %s", r.Account, r.After, r.DryRun, r.Reason); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state.View().Account(r.Account) == nil {
		return nil, fmt.Errorf("erase account %s: there is no account %q: %w", r.Account, r.Account, state.ErrNotFound)
	}
	return &orchestrator.ErasureReport{Account: r.Account, NotBefore: Start.Add(r.After), Server: "par1-s1", Repositories: []string{string(r.Account), string(r.Account) + "~2"},
		Snapshots: 41, Newest: Start.Add(-40 * time.Minute), Sites: []state.SiteName{"par1", "par2"}}, nil
}

// CancelErasure implements orchestrator.API.
func (b *Brain) CancelErasure(_ context.Context, by string, account state.AccountName) error {
	return b.note("CancelErasure", by, "%s", account)
}

// Erasures are those of Erased.
func (b *Brain) Erasures(context.Context) ([]*orchestrator.ErasureStatus, error) {
	if err := b.note("Erasures", "", ""); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]*orchestrator.ErasureStatus{}, b.Erased...), nil
}

// Erasure is one of Erased.
func (b *Brain) Erasure(_ context.Context, account state.AccountName) (*orchestrator.ErasureStatus, error) {
	if err := b.note("Erasure", "", ""); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.Erased {
		if e.Erasure.Account == account {
			return e, nil
		}
	}
	return nil, fmt.Errorf("there is no order to erase account %q: %w", account, state.ErrNotFound)
}

// ErasureCertificate is signed by whoever signs for this brain.
func (b *Brain) ErasureCertificate(ctx context.Context, account state.AccountName) ([]byte, error) {
	e, err := b.Erasure(ctx, account)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	at := time.Now() // certificates of tests are as good as new
	if b.Sign == nil {
		return nil, fmt.Errorf("nobody signs here: %w", state.ErrInvalid)
	}
	c, err := erasure.Of("cluster-a", e.Erasure, at)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, orchestrator.ErrRefused)
	}
	return erasure.Sign(c, b.Sign)
}
