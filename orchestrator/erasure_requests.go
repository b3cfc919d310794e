package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"drp/orchestrator/erasure"
	"drp/raftstore/state"
)

// ErasureRequest orders that an account is erased: POST /v1/erasures.
type ErasureRequest struct {
	Account state.AccountName `json:"account"`
	// After is how long nothing changes, so that it can be taken back.
	After  time.Duration `json:"after"`
	Reason string        `json:"reason,omitempty" maxLength:"500" doc:"for the audit trail, and for the certificate"`
	DryRun bool          `json:"dry_run,omitempty"`
}

// ErasureReport is what will be erased, or would be.
type ErasureReport struct {
	Account      state.AccountName `json:"account"`
	NotBefore    time.Time         `json:"not_before"`
	Server       state.ServerName  `json:"server,omitempty"` // where it runs until then
	Repositories []string          `json:"repositories"`
	Snapshots    int               `json:"snapshots"`
	Newest       time.Time         `json:"newest,omitzero"` // when the newest of them was begun
	Sites        []state.SiteName  `json:"sites"`
}

// ErasureStatus is how far an erasure is.
type ErasureStatus struct {
	Erasure *state.Erasure `json:"erasure"`
	Stage   string         `json:"stage"` // a sentence
}

// Erasures are orders, and what became of them.
type Erasures interface {
	// Erase orders an erasure, or says what it would be about (leader).
	Erase(ctx context.Context, by string, r ErasureRequest) (*ErasureReport, error)
	// CancelErasure takes an order back (leader).
	CancelErasure(ctx context.Context, by string, account state.AccountName) error
	// Erasures says how far all are, also those that are done (leader).
	Erasures(ctx context.Context) ([]*ErasureStatus, error)
	Erasure(ctx context.Context, account state.AccountName) (*ErasureStatus, error)
	// ErasureCertificate is the signed paper of one that is done, as package erasure reads it (leader).
	ErasureCertificate(ctx context.Context, account state.AccountName) ([]byte, error)
}

// Erase implements API.
func (o *Orchestrator) Erase(ctx context.Context, by string, r ErasureRequest) (*ErasureReport, error) {
	if err := o.knowsProtection("erase an account"); err != nil {
		return nil, err
	}
	n, err := o.present(ctx)
	if err != nil {
		return nil, err
	}
	order := state.ErasureOrderData{Account: r.Account, Wait: r.After, Reason: r.Reason}
	if r.DryRun {
		result, err := n.view.Preview(state.NewCommand(state.ErasureOrder, "preview", n.at, by, order))
		if err = errors.Join(err, result.Err); err != nil {
			return nil, fmt.Errorf("erase account %s: %w", r.Account, err)
		}
		return erasureReport(n, r), nil
	}
	report := erasureReport(n, r)
	if _, err := o.propose(ctx, by, state.ErasureOrder, order); err != nil {
		return nil, fmt.Errorf("erase account %s: %w", r.Account, err)
	}
	if e := o.config.Store.View().Erasure(r.Account); e != nil {
		report.NotBefore = e.NotBefore // asked twice, it is the first one that counts
	}
	return report, nil
}

func erasureReport(n now, r ErasureRequest) *ErasureReport {
	report := &ErasureReport{Account: r.Account, NotBefore: n.at.Add(r.After), Repositories: []string{}, Sites: []state.SiteName{}}
	if e := n.view.Erasure(r.Account); e != nil {
		report.NotBefore = e.NotBefore // asked twice, it is the first one that counts
	}
	if a := n.view.Assignment(r.Account); a != nil {
		report.Server = a.Server
	}
	for _, repo := range n.view.RepositoriesOf(r.Account) {
		report.Repositories = append(report.Repositories, repo.Name())
	}
	if all := n.view.Snapshots(r.Account); len(all) > 0 {
		report.Snapshots, report.Newest = len(all), all[0].Start
	}
	for _, s := range n.view.Sites() {
		if !s.Witness {
			report.Sites = append(report.Sites, s.Name)
		}
	}
	return report
}

// CancelErasure implements API.
func (o *Orchestrator) CancelErasure(ctx context.Context, by string, account state.AccountName) error {
	if err := o.knowsProtection("cancel an erasure"); err != nil {
		return err
	}
	if _, err := o.propose(ctx, by, state.ErasureCancel, state.ErasureCancelData{Account: account}); err != nil {
		return fmt.Errorf("cancel the erasure of account %s: %w", account, err)
	}
	return nil
}

// Erasures implements API.
func (o *Orchestrator) Erasures(ctx context.Context) ([]*ErasureStatus, error) {
	n, err := o.present(ctx)
	if err != nil {
		return nil, err
	}
	all := []*ErasureStatus{}
	for _, e := range n.view.Erasures() {
		all = append(all, &ErasureStatus{e, n.stage(e)})
	}
	return all, nil
}

// Erasure implements API.
func (o *Orchestrator) Erasure(ctx context.Context, account state.AccountName) (*ErasureStatus, error) {
	n, err := o.present(ctx)
	if err != nil {
		return nil, err
	}
	e, err := n.erasure(account)
	if err != nil {
		return nil, err
	}
	return &ErasureStatus{e, n.stage(e)}, nil
}

func (n now) erasure(account state.AccountName) (*state.Erasure, error) {
	if e := n.view.Erasure(account); e != nil {
		return e, nil
	}
	return nil, fmt.Errorf("there is no order to erase account %q: %w", account, state.ErrNotFound)
}

// ErasureCertificate implements API.
func (o *Orchestrator) ErasureCertificate(ctx context.Context, account state.AccountName) ([]byte, error) {
	n, err := o.present(ctx)
	if err != nil {
		return nil, err
	}
	e, err := n.erasure(account)
	if err != nil {
		return nil, err
	}
	if o.config.Trail.Sign == nil {
		return nil, errors.New("this coordinator has no certificate to sign with")
	}
	if n.toBeErased(account) {
		return nil, fmt.Errorf("the erasure of account %s has not begun: %s: %w", account, n.stage(e), ErrRefused)
	}
	c, err := erasure.Of(n.view.Cluster().UUID, e, n.at)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrRefused)
	}
	return erasure.Sign(c, o.config.Trail.Sign)
}
