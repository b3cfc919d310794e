package orchestrator

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"drp/raftstore/identity"
	"drp/raftstore/state"
)

// CompromisedRequest says that a server was broken into: POST /v1/compromised.
type CompromisedRequest struct {
	Server state.ServerName `json:"server"`
	Reason string           `json:"reason,omitempty" maxLength:"500" doc:"for the audit trail"`
	// KeepCertificate lets the server go on: it is given the new passwords of what it runs.
	KeepCertificate bool `json:"keep_certificate,omitempty"`
	// Again also renews what was renewed because of this server before and it has not been given since.
	Again  bool `json:"again,omitempty"`
	DryRun bool `json:"dry_run,omitempty"`
}

// CompromisedReport is what was done about it, or would be.
type CompromisedReport struct {
	Server state.ServerName `json:"server"`
	// Certificate is what became of the server's certificates: revoked, revoked before, or kept.
	Certificate string               `json:"certificate"`
	Accounts    []CompromisedAccount `json:"accounts"` // those whose backups the server could ever open
	Todo        []string             `json:"todo"`     // what is left to a person
}

// CompromisedAccount is one account.
type CompromisedAccount struct {
	Account state.AccountName `json:"account"`
	Runs    bool              `json:"runs,omitempty"`    // the server is the one that it is assigned to
	Retired string            `json:"retired,omitempty"` // the repository that is only read from now on
	Present string            `json:"present"`           // the one that backups go to from now on
	Renewed time.Time         `json:"renewed,omitzero"`  // it was renewed then because of this server, and is left alone now
}

// What became of certificates.
const (
	certificateRevoked = "revoked"
	certificateBefore  = "was revoked before"
	certificateKept    = "kept"
)

// Compromised gives every account whose backups a server could open a new repository, and shuts the server out. Done again it
// goes on where it was broken off.
func (o *Orchestrator) Compromised(ctx context.Context, by string, r CompromisedRequest) (*CompromisedReport, error) {
	if err := o.knowsProtection("renew repositories"); err != nil {
		return nil, err
	}
	n, err := o.present(ctx)
	if err != nil {
		return nil, err
	}
	if n.view.Server(r.Server) == nil {
		return nil, fmt.Errorf("there is no server %q: %w", r.Server, state.ErrNotFound)
	}
	report := compromised(n, r)
	if r.DryRun {
		return report, nil
	}
	// First of all: who is still let in would be given the new passwords.
	if report.Certificate == certificateRevoked {
		if _, err := o.propose(ctx, by, state.CertificateRevoke, state.CertificateRevokeData{
			Role: string(identity.Agent), Holder: string(r.Server), Reason: r.Reason}); err != nil {
			return nil, fmt.Errorf("revoke the certificates of server %s: %w", r.Server, err)
		}
	}
	var group errgroup.Group
	group.SetLimit(proposalsAtOnce)
	for _, a := range report.Accounts {
		if !a.Renewed.IsZero() {
			continue
		}
		group.Go(func() error {
			if err := o.renew(ctx, by, r, n.view.Repository(a.Account)); err != nil {
				return fmt.Errorf("not all accounts have new repositories yet, account %s for one; the same command goes on with the others: %w", a.Account, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return report, nil
}

// compromised says what is to be done.
func compromised(n now, r CompromisedRequest) *CompromisedReport {
	report := &CompromisedReport{Server: r.Server, Certificate: certificateRevoked, Accounts: []CompromisedAccount{}}
	since, out := lockedOut(n.view, r.Server)
	switch {
	case r.KeepCertificate:
		report.Certificate = certificateKept
	case out:
		report.Certificate = certificateBefore
	}
	runs := 0
	for _, repo := range n.view.Repositories() {
		if !n.view.HeldPassword(repo, r.Server) {
			continue
		}
		as := n.view.Assignment(repo.Account)
		a := CompromisedAccount{Account: repo.Account, Runs: as != nil && as.Server == r.Server && as.Fenced == nil, Present: repo.Name()}
		if a.Runs {
			runs++
		}
		if last := n.view.RetiredOf(repo.Account); !r.Again && len(last) > 0 && last[0].Server == r.Server && n.unseen(repo, last[0], r, since, out) {
			a.Renewed = last[0].At
		} else {
			a.Retired, a.Present = repo.Name(), state.RepositoryName(repo.Account, repo.Next())
		}
		report.Accounts = append(report.Accounts, a)
	}
	report.Todo = todoAfter(r, runs)
	return report
}

// unseen reports whether a server has not been given the password of a repository that was made because of it: it was shut out
// before that was made, and is so still. One that was let go on has been given it at the first backup.
func (n now) unseen(repo *state.Repository, before *state.Retired, r CompromisedRequest, since time.Time, out bool) bool {
	if out {
		return !before.At.Before(since)
	}
	return r.KeepCertificate && n.storesFirst(repo.Account, n.view.Snapshots(repo.Account))
}

// lockedOut reports whether a server has no certificate any more that counts, and since when.
func lockedOut(v *state.View, server state.ServerName) (since time.Time, out bool) {
	for _, x := range v.Revocations() {
		if x.Role == string(identity.Agent) && x.Holder == string(server) && x.Serial == "" {
			since, out = x.Before, true
		}
	}
	for _, c := range v.CertificatesOf(string(identity.Agent), string(server)) {
		out = out && c.Issued.Before(since)
	}
	return since, out
}

// renew gives an account a new repository. Its password is nobody's but the leader's until the home's worker makes it.
func (o *Orchestrator) renew(ctx context.Context, by string, r CompromisedRequest, repo *state.Repository) error {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails: crypto/rand ends the program instead
	return o.proposeSealed(ctx, []byte(base64.RawURLEncoding.EncodeToString(secret)), func(ctx context.Context, sealed []byte) error {
		_, err := o.propose(ctx, by, state.RepositoryRenew, state.RepositoryRenewData{
			Account: repo.Account, Number: repo.Number, SealedPassword: sealed, Server: r.Server, Reason: r.Reason})
		return err
	})
}

func todoAfter(r CompromisedRequest, runs int) []string {
	var todo []string
	switch {
	case runs > 0 && r.KeepCertificate:
		todo = append(todo, fmt.Sprintf("server %s runs %d of these accounts and keeps its certificate: it is given their new passwords. If whoever broke in is still there, "+
			"run this again without --keep-certificate", r.Server, runs))
	case runs > 0:
		todo = append(todo, fmt.Sprintf("server %s may run %d of these accounts still: isolate or switch it off, then drp failover server %s. Until then they are not backed up", r.Server, runs, r.Server))
	}
	return append(todo,
		fmt.Sprintf("set the machine up from scratch before it comes back, then drp ca enrol agent %s", r.Server),
		"environments, databases' logins and files of these accounts were readable on that server: have their secrets changed",
		"whoever has the old passwords and a copy of the objects reads the old snapshots for ever",
		"new snapshots since the break-in may hold what the intruder left: choose what you restore by its time")
}
