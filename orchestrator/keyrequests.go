package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"drp/raftstore/state"
)

// BreakGlassReport is what a person may want to know of break-glass keys.
type BreakGlassReport struct {
	At           time.Time              `json:"at"`
	Offline      []string               `json:"offline"` // recipients; without any no key is made
	Repositories int                    `json:"repositories"`
	Made         int                    `json:"made"`
	Everywhere   int                    `json:"everywhere"` // seen at each site that holds a copy, key and sealed password
	Tests        *state.BreakGlassTests `json:"tests,omitempty"`
	TestWithin   time.Duration          `json:"test_within"`
}

// BreakGlass says how many repositories the holders of the offline keys can open, and when somebody tried.
func (o *Orchestrator) BreakGlass(ctx context.Context) (*BreakGlassReport, error) {
	n, err := o.present(ctx)
	if err != nil {
		return nil, err
	}
	r := &BreakGlassReport{At: n.at, Offline: n.offline(), Tests: n.view.BreakGlassTests(), TestWithin: o.breakGlassWithin()}
	for _, repo := range n.view.Repositories() {
		r.Repositories++
		row := n.view.RepositoryKeys(repo.Name())
		if row == nil || row.BreakGlass == nil {
			continue
		}
		r.Made++
		if n.view.LacksKeys(repo, row) == "" {
			r.Everywhere++
		}
	}
	return r, nil
}

// RecordBreakGlass writes down that a person has tried break-glass passwords.
func (o *Orchestrator) RecordBreakGlass(ctx context.Context, by string, d state.BreakGlassRecordData) error {
	if err := o.knowsProtection("record a test of break-glass passwords"); err != nil {
		return err
	}
	if _, err := o.propose(ctx, by, state.BreakGlassRecord, d); err != nil {
		return fmt.Errorf("record a test of break-glass passwords: %w", err)
	}
	return nil
}

const defaultBreakGlassWithin = 90 * day

func (o *Orchestrator) breakGlassWithin() time.Duration {
	if o.config.BreakGlassWithin > 0 {
		return o.config.BreakGlassWithin
	}
	return defaultBreakGlassWithin
}

// Kinds of alarms about keys.
const (
	alarmBreakGlass = "break-glass"
	alarmKeys       = "keys"
)

// rotationPatience is how long a change of password may take before somebody is told: a site that is away holds it up.
const rotationPatience = 7 * day

// keyAlarms are one for each kind of trouble.
func keyAlarms(n now, testWithin time.Duration) []Alarm {
	var alarms []Alarm
	var failing, strange, standing []*state.RepositoryKeys
	var first time.Time // break-glass key of those that there are
	for _, row := range n.view.AllRepositoryKeys() {
		if n.view.Account(row.Account) == nil {
			continue
		}
		if f := worstKeyFailure(row); f != nil {
			failing = append(failing, row)
		}
		if r := row.Rotation; r != nil && n.at.Sub(r.Begun) > rotationPatience {
			standing = append(standing, row)
		}
		if b := row.BreakGlass; b != nil {
			if b.To() != b.Asked {
				strange = append(strange, row)
			}
			if first.IsZero() || b.Made.Before(first) {
				first = b.Made
			}
		}
	}
	if len(failing) > 0 {
		row := failing[0]
		f := worstKeyFailure(row)
		alarms = append(alarms, Alarm{Kind: alarmKeys, Since: f.At, Message: fmt.Sprintf(
			"the keys of %d repositories are not as they should be, such as those of %s (%d times in a row): %s", len(failing), row.Repository, f.Count, f.Error)})
	}
	if len(standing) > 0 {
		row := standing[0]
		why := "its repository is another one by now"
		if repo := n.view.Repository(row.Account); repo != nil && repo.Name() == row.Repository {
			why = n.rotationText(repo, row)
		}
		alarms = append(alarms, Alarm{Kind: alarmKeys, Since: row.Rotation.Begun, Message: fmt.Sprintf(
			"the change of password of %d repositories stands still, and their old passwords open them, such as that of %s: %s", len(standing), row.Repository, why)})
	}
	if len(strange) > 0 {
		row := strange[0]
		alarms = append(alarms, Alarm{Kind: alarmBreakGlass, Since: row.BreakGlass.Made, Message: fmt.Sprintf(
			"the break-glass passwords of %d repositories, such as %s, are not sealed to the offline recipients of the coordinators (server.yaml) but to those that the worker at %s has in its own configuration: look who is right",
			len(strange), row.Repository, homeOf(n, row.Account))})
	}
	return append(alarms, breakGlassAlarms(n, first, testWithin)...)
}

// worstKeyFailure is one that has lasted for some attempts: a single one is tried again before anybody has to know.
func worstKeyFailure(row *state.RepositoryKeys) *state.Failure {
	const lasting = 3
	worst := row.Failure
	for _, s := range row.Sites {
		if s.Failure != nil && (worst == nil || s.Failure.Count > worst.Count) {
			worst = s.Failure
		}
	}
	if worst == nil || worst.Count < lasting {
		return nil
	}
	return worst
}

func homeOf(n now, account state.AccountName) state.SiteName {
	if repo := n.view.Repository(account); repo != nil {
		return repo.Home.Site
	}
	return ""
}

// breakGlassAlarms: a key that nobody has tried for long is a hope.
func breakGlassAlarms(n now, first time.Time, within time.Duration) []Alarm {
	if first.IsZero() {
		return nil
	}
	var alarms []Alarm
	tests := n.view.BreakGlassTests()
	passed := first
	if tests != nil {
		if l := tests.Last; len(l.Failed) > 0 || l.Error != "" {
			alarms = append(alarms, Alarm{Kind: alarmBreakGlass, Since: l.At, Message: fmt.Sprintf(
				"the last test of break-glass passwords, by %s at %s, failed: %s", l.By, l.Store, l.Error)})
		}
		if tests.Passed.At.After(passed) {
			passed = tests.Passed.At
		}
	}
	if n.at.Sub(passed) > within {
		alarms = append(alarms, Alarm{Kind: alarmBreakGlass, Since: passed.Add(within), Message: fmt.Sprintf(
			"no test of break-glass passwords has passed for %d days: drp breakglass test, with an offline key", int(n.at.Sub(passed)/day))})
	}
	return alarms
}

// RotationRequest names whose passwords are to be changed.
type RotationRequest struct {
	Accounts  []state.AccountName `json:"accounts,omitempty"`
	All       bool                `json:"all,omitempty"`
	OlderThan time.Duration       `json:"older_than,omitempty"` // only those whose password is older
}

// RotationAnswer is what became of it, account by account.
type RotationAnswer struct {
	Begun   []state.AccountName          `json:"begun"`
	Refused map[state.AccountName]string `json:"refused,omitempty"` // why
	Young   int                          `json:"young,omitempty"`   // left out: their passwords are not that old
}

// mostRotations bounds one request: each is a secret to be sealed and a command. What is left out is begun by the next one.
const mostRotations = 2000

// RotateKeys begins to change passwords. None is in use before every copy can be opened by it.
func (o *Orchestrator) RotateKeys(ctx context.Context, by string, r RotationRequest) (*RotationAnswer, error) {
	if err := o.knowsProtection("change passwords"); err != nil {
		return nil, err
	}
	n, err := o.present(ctx)
	if err != nil {
		return nil, err
	}
	if held(n.view) {
		return nil, fmt.Errorf("change passwords: the cluster was recovered and waits for a person (drp recover resume): %w", ErrRefused)
	}
	if r.All == (len(r.Accounts) > 0) {
		return nil, fmt.Errorf("change passwords: name accounts, or all of them: %w", state.ErrInvalid)
	}
	accounts := r.Accounts
	for _, a := range accounts {
		if n.view.Repository(a) == nil {
			return nil, fmt.Errorf("change passwords: account %q has no repository: %w", a, state.ErrNotFound)
		}
	}
	if r.All {
		for _, repo := range n.view.Repositories() {
			if row := n.keysOf(repo); row != nil && row.Rotation == nil {
				accounts = append(accounts, repo.Account)
			}
		}
	}
	answer := &RotationAnswer{Begun: []state.AccountName{}, Refused: map[state.AccountName]string{}}
	for _, account := range accounts {
		if len(answer.Begun) == mostRotations {
			break
		}
		if r.OlderThan > 0 && n.at.Sub(n.passwordSince(n.view.Repository(account))) < r.OlderThan {
			answer.Young++
			continue
		}
		err := o.rotate(ctx, by, account)
		switch {
		case errors.Is(err, state.ErrConflict):
			answer.Refused[account] = err.Error()
		case err != nil:
			return nil, fmt.Errorf("change passwords (%d are begun): %w", len(answer.Begun), err)
		default:
			answer.Begun = append(answer.Begun, account)
		}
	}
	return answer, nil
}

func (o *Orchestrator) rotate(ctx context.Context, by string, account state.AccountName) error {
	return o.proposeSealed(ctx, newRepositoryPassword(), func(ctx context.Context, sealed []byte) error {
		_, err := o.propose(ctx, by, state.KeysRotate, state.KeysRotateData{Account: account, Sealed: sealed})
		return err
	})
}

// passwordSince is when a repository's present password became that.
func (n now) passwordSince(repo *state.Repository) time.Time {
	if row := n.view.RepositoryKeys(repo.Name()); row != nil && !row.Since.IsZero() {
		return row.Since
	}
	return repo.InitialisedAt
}

// rotationText says how far a change of password is, and what it waits for.
func (n now) rotationText(repo *state.Repository, row *state.RepositoryKeys) string {
	r := row.Rotation
	switch {
	case r == nil:
		return ""
	case r.Key == "":
		return fmt.Sprintf("waits for the worker at %s to add the next one", repo.Home.Site)
	case r.Switched.IsZero():
		if site := n.view.LacksKeys(repo, row); site != "" {
			return fmt.Sprintf("waits for site %s to have the new key; until then the old password is in use", site)
		}
		return "is about to be in use"
	}
	if what := n.view.UsesOldPassword(repo.Account, r); what != "" {
		return "the new one is in use; the old one opens until this ends: " + what
	}
	if site := n.notExported(repo, r.Switched); site != "" {
		return fmt.Sprintf("the new one is in use; the old one opens until an export of the state with the new one is in the store of %s", site)
	}
	return "the new one is in use; the old one is about to go"
}

// KeyReport is what is known of the keys of one account's repository.
type KeyReport struct {
	PasswordSince  time.Time        `json:"password_since"`
	Rotation       string           `json:"rotation,omitempty"`        // how far a change of the password is
	BreakGlass     time.Time        `json:"breakglass,omitzero"`       // when that key was made; zero: there is none
	BreakGlassTo   []string         `json:"breakglass_to,omitempty"`   // to whom it is sealed
	BreakGlassSeen []state.SiteName `json:"breakglass_seen,omitempty"` // where key and sealed password were seen
}

func (n now) keyReport(repo *state.Repository) *KeyReport {
	row := n.keysOf(repo)
	if row == nil {
		return nil
	}
	r := &KeyReport{PasswordSince: n.passwordSince(repo), Rotation: n.rotationText(repo, row)}
	if b := row.BreakGlass; b != nil {
		r.BreakGlass, r.BreakGlassTo = b.Made, n.view.Recipients(b.To())
		for _, s := range row.Sites {
			if s.Failure == nil && s.Version == row.Version {
				r.BreakGlassSeen = append(r.BreakGlassSeen, s.Site)
			}
		}
	}
	return r
}
