package orchestrator

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"drp/raftstore/state"
)

// ProtectionReport is `drp protection`: who is not protected, and what would be lost.
type ProtectionReport struct {
	At          time.Time           `json:"at"`
	Accounts    int                 `json:"accounts"`
	Protected   int                 `json:"protected"`
	Unprotected []AccountProtection `json:"unprotected"` // worst first
	Tiers       []TierProtection    `json:"tiers"`
	First       FirstBackups        `json:"first_backups"`
	Pauses      []*state.Pause      `json:"pauses,omitempty"`
	Stores      []SiteStore         `json:"stores,omitempty"` // of which it is known how full they are
}

// TierProtection sums up one tier.
type TierProtection struct {
	Tier      state.Tier `json:"tier"`
	Accounts  int        `json:"accounts"`
	Protected int        `json:"protected"`
	// Nothing is how many accounts would be lost whole with their site. Oldest is the greatest age of what the others would
	// come back with.
	Nothing int           `json:"nothing"`
	Oldest  time.Duration `json:"oldest"`
}

// FirstBackups is how far the accounts are of which nothing is stored yet.
type FirstBackups struct {
	Waiting  int `json:"waiting"`
	LastHour int `json:"last_hour"` // accounts whose first backup ended in the last hour
	// Done is when the last one will be done at that pace. Zero: nobody waits, or there is no pace yet.
	Done time.Time `json:"done,omitzero"`
}

// AccountProtection is how well one account is protected.
type AccountProtection struct {
	Account   state.AccountName `json:"account"`
	Tier      state.Tier        `json:"tier"`
	Site      state.SiteName    `json:"site,omitempty"` // where it runs
	Protected bool              `json:"protected"`
	Why       string            `json:"why,omitempty"`
	// Snapshot is the newest one that every site of the policy holds, and Age how old it is: what would be lost with any one
	// of them. None: everything would be.
	Snapshot state.SnapshotID `json:"snapshot,omitempty"`
	Age      time.Duration    `json:"age,omitempty"`

	objective time.Duration
}

// CopyProtection is what is known of one site's copy of an account.
type CopyProtection struct {
	Site state.SiteName `json:"site"`
	Home bool           `json:"home,omitempty"`
	// Retired is the name of the repository that it is a copy of, if that is one which is only read. Else it is of the present one.
	Retired  string           `json:"retired,omitempty"`
	Snapshot state.SnapshotID `json:"snapshot,omitempty"` // the newest there
	Start    time.Time        `json:"start,omitzero"`
	CopiedAt time.Time        `json:"copied_at,omitzero"`
	// Failure of the newest pass to this site.
	Failure string `json:"failure,omitempty"`
	// When something was found to be good last. Of all data a part is read at each check; what was there at ReadSince has been
	// read since then, and Part of Parts is the newest one of the round that is under way.
	Scrubbed  time.Time                                `json:"scrubbed,omitzero"`
	Checked   time.Time                                `json:"checked,omitzero"`
	ReadSince time.Time                                `json:"read_since,omitzero"`
	Part      int                                      `json:"part,omitempty"`
	Parts     int                                      `json:"parts,omitempty"`
	Proven    time.Time                                `json:"proven,omitzero"`
	Restored  state.SnapshotID                         `json:"restored,omitempty"` // the snapshot that was proven
	Errors    map[state.VerificationKind]state.Failure `json:"errors,omitempty"`   // of the newest attempts
	Faults    []string                                 `json:"faults,omitempty"`   // why this copy leaves the account unprotected
}

// AccountVerification is `drp verify ACCOUNT`.
type AccountVerification struct {
	At          time.Time          `json:"at"`
	Protection  AccountProtection  `json:"protection"`
	CheckWithin time.Duration      `json:"check_within"`
	ReadWithin  time.Duration      `json:"read_within"`
	ProveWithin time.Duration      `json:"prove_within"`
	Copies      []CopyProtection   `json:"copies"` // the home's first
	Maintenance *state.Maintenance `json:"maintenance,omitempty"`
	Keys        *KeyReport         `json:"keys,omitempty"`
	// Asked is when this leader was last asked to have every copy looked at. Waiting is what of it has not been done.
	Asked   time.Time `json:"asked,omitzero"`
	Waiting []Look    `json:"waiting,omitempty"`
}

// ProtectionFilter narrows a report down. Empty fields take everything.
type ProtectionFilter struct {
	Site state.SiteName
	Tier state.Tier
}

// Protection says who is not protected, worst first.
func (o *Orchestrator) Protection(ctx context.Context, f ProtectionFilter) (*ProtectionReport, error) {
	n, err := o.present(ctx)
	if err != nil {
		return nil, err
	}
	if f.Site != "" && n.view.Site(f.Site) == nil {
		return nil, fmt.Errorf("protection: there is no site %q: %w", f.Site, state.ErrNotFound)
	}
	return protectionOf(n, f), nil
}

func protectionOf(n now, f ProtectionFilter) *ProtectionReport {
	report := &ProtectionReport{At: n.at, Unprotected: []AccountProtection{}, Tiers: []TierProtection{}, Pauses: n.view.Pauses(), Stores: storesOf(n)}
	tiers := map[state.Tier]*TierProtection{}
	var accounts []*state.Account
	for _, a := range n.view.Accounts() {
		p := protectionOfAccount(n, a)
		if f.Site != "" && p.Site != f.Site || f.Tier != "" && a.Tier != f.Tier {
			continue
		}
		accounts = append(accounts, a)
		t := tiers[a.Tier]
		if t == nil {
			t = &TierProtection{Tier: a.Tier}
			tiers[a.Tier] = t
		}
		t.Accounts++
		report.Accounts++
		if p.Snapshot == "" {
			t.Nothing++
		}
		t.Oldest = max(t.Oldest, p.Age)
		if p.Protected {
			t.Protected++
			report.Protected++
			continue
		}
		report.Unprotected = append(report.Unprotected, p)
	}
	slices.SortFunc(report.Unprotected, worstFirst)
	for _, t := range slices.SortedFunc(maps.Values(tiers), func(a, b *TierProtection) int { return cmp.Compare(a.Tier.Rank(), b.Tier.Rank()) }) {
		report.Tiers = append(report.Tiers, *t)
	}
	report.First = firstBackups(n, accounts)
	return report
}

// worstFirst has those who would lose everything first, then those who would lose the most objectives' worth.
func worstFirst(a, b AccountProtection) int {
	if none := a.Snapshot == ""; none != (b.Snapshot == "") {
		if none {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(b.lost(), a.lost()), cmp.Compare(a.Tier.Rank(), b.Tier.Rank()), cmp.Compare(a.Account, b.Account))
}

// lost is in objectives.
func (p AccountProtection) lost() float64 {
	return float64(p.Age) / float64(cmp.Or(p.objective, noObjective))
}

func protectionOfAccount(n now, a *state.Account) AccountProtection {
	repo := n.view.Repository(a.Name)
	p := AccountProtection{Account: a.Name, Tier: a.Tier, Why: exposure(n, a, repo)}
	p.Protected = p.Why == ""
	if as := n.view.Assignment(a.Name); as != nil {
		if server := n.view.Server(as.Server); server != nil {
			p.Site = server.Site
		}
	}
	if policy := n.view.Policy(a.Policy); policy != nil {
		p.objective = policy.RPO
	}
	if repo == nil {
		return p
	}
	for _, repo := range n.view.RepositoriesOf(a.Name) { // a new one may still be being made
		if r := n.kept(repo); r != nil {
			if s := r.newestEverywhere(); s != nil {
				p.Snapshot, p.Age = s.ID, n.at.Sub(s.Start)
			}
			break
		}
	}
	return p
}

// newestEverywhere is the newest snapshot of the account that every site of the policy holds, whichever repository it is in.
func (r *keptRepository) newestEverywhere() *state.Snapshot {
	sites := r.sites()
	for _, s := range r.all {
		if !s.ForgetAt.IsZero() || s.Start.After(r.at) {
			continue
		}
		if !slices.ContainsFunc(sites, func(site state.SiteName) bool {
			_, there := s.At(site)
			return !there
		}) {
			return s
		}
	}
	return nil
}

// firstBackups is arithmetic over the catalogue: whose repository has nothing, and who got the first in the last hour.
func firstBackups(n now, accounts []*state.Account) FirstBackups {
	var f FirstBackups
	for _, a := range accounts {
		all := n.view.Snapshots(a.Name)
		if n.storesFirst(a.Name, all) {
			f.Waiting++
			continue
		}
		all = within(all, n.view.Repository(a.Name))
		if oldest := all[len(all)-1]; n.view.Maintenance(a.Name) == nil && n.at.Sub(oldest.Finished) < time.Hour {
			f.LastHour++
		}
	}
	if f.Waiting > 0 && f.LastHour > 0 {
		f.Done = n.at.Add(time.Duration(float64(f.Waiting) / float64(f.LastHour) * float64(time.Hour)))
	}
	return f
}

// AccountProtection is all that is known of an account's copies.
func (o *Orchestrator) AccountProtection(ctx context.Context, name state.AccountName) (*AccountVerification, error) {
	n, err := o.present(ctx)
	if err != nil {
		return nil, err
	}
	account := n.view.Account(name)
	if account == nil {
		return nil, fmt.Errorf("there is no account %q: %w", name, state.ErrNotFound)
	}
	return verificationOf(n, account), nil
}

func verificationOf(n now, account *state.Account) *AccountVerification {
	d := &AccountVerification{At: n.at, Protection: protectionOfAccount(n, account), Copies: []CopyProtection{}, Maintenance: n.view.Maintenance(account.Name),
		Asked: n.asks.of(account.Name), Waiting: n.waitingLooks(account.Name)}
	if p := n.view.Policy(account.Policy); p != nil {
		d.CheckWithin, d.ReadWithin, d.ProveWithin = CheckWithin(p), ReadWithin(p), ProveWithin(p)
	}
	for _, repo := range n.view.RepositoriesOf(account.Name) {
		d.Copies = append(d.Copies, copiesOf(n, repo)...)
	}
	if repo := n.view.Repository(account.Name); repo != nil {
		d.Keys = n.keyReport(repo)
	}
	return d
}

func copiesOf(n now, repo *state.Repository) (copies []CopyProtection) {
	r := n.kept(repo)
	if r == nil {
		return nil
	}
	for _, site := range r.sites() {
		c := CopyProtection{Site: site, Home: site == repo.Home.Site, Faults: r.faults(site)}
		if r.retired {
			c.Retired = repo.Name()
		}
		if v := n.view.Verification(repo.Row(), site); v != nil {
			c.Scrubbed, c.Checked, c.ReadSince, c.Part, c.Parts = v.Scrubbed, v.Checked, v.ReadSince, v.Part, v.Parts
			c.Proven, c.Restored, c.Errors = v.Proven, v.Snapshot, v.Errors
		}
		if s := r.newestAt(site); s != nil {
			at, _ := s.At(site)
			c.Snapshot, c.Start, c.CopiedAt = s.ID, s.Start, at.CopiedAt
		}
		if pass := n.view.Replication(repo.Row(), site); pass != nil {
			c.Failure = pass.Error
		}
		copies = append(copies, c)
	}
	return copies
}

// faults are why a site's copy does not count, though it is there: what was found of it is bad, or too long ago. A copy has
// its whole limit from when it first existed.
func (r *keptRepository) faults(site state.SiteName) []string {
	if r.view.Level() < protectionLevel || r.newestAt(site) == nil {
		return nil // nobody looks; or there is nothing to look at, which is said elsewhere
	}
	its := "its copy"
	if r.retired {
		its = "its copy of the retired repository " + r.repo.Name()
	}
	v := r.view.Verification(r.repo.Row(), site)
	if v == nil {
		v = &state.Verification{}
	}
	var faults []string
	for _, kind := range []state.VerificationKind{state.Scrubbed, state.Checked, state.Proven} {
		if f, failed := v.Errors[kind]; failed {
			text := fmt.Sprintf("%s at %s could not be %s: %s", its, site, kind, f.Error)
			if f.Count > 1 {
				text += fmt.Sprintf(" (%d times in a row)", f.Count)
			}
			faults = append(faults, text)
		}
	}
	born := r.bornAt(site)
	late := func(word string, last time.Time, limit time.Duration) {
		age := r.at.Sub(last).Round(time.Second)
		switch {
		case last.After(r.at):
			faults = append(faults, fmt.Sprintf("%s at %s was %s at a time that has not come yet: a coordinator's clock was wrong", its, site, word))
		case !last.IsZero() && age > limit:
			faults = append(faults, fmt.Sprintf("%s at %s was %s %s ago, the limit is %s", its, site, word, age, limit))
		case last.IsZero() && r.at.Sub(born) > limit:
			faults = append(faults, fmt.Sprintf("%s at %s was never %s, and has been there for %s, the limit is %s", its, site, word, r.at.Sub(born).Round(time.Second), limit))
		}
	}
	late("checked", v.Checked, CheckWithin(r.policy))
	late("read as a whole", v.ReadSince, ReadWithin(r.policy))
	late("proven by a restore", v.Proven, ProveWithin(r.policy))
	return faults
}

// unverified says why an account whose snapshots are where they should be is not protected.
func unverified(n now, account *state.Account) string {
	var faults []string
	for _, repo := range n.view.RepositoriesOf(account.Name) {
		r := n.kept(repo)
		if r == nil {
			continue
		}
		for _, site := range r.sites() {
			faults = append(faults, r.faults(site)...)
		}
	}
	return strings.Join(faults, "; ")
}

// Kinds of alarms about repositories.
const (
	alarmUnknown     = "unknown-snapshots"
	alarmMaintenance = "maintenance"
	alarmRemoval     = "removal"
)

// repositoryAlarms are one for each kind of trouble: with many accounts it is rarely the trouble of one.
func repositoryAlarms(n now) []Alarm {
	var unknown, failing []*state.Maintenance
	for _, a := range n.view.Accounts() {
		m := n.view.Maintenance(a.Name)
		if m == nil {
			continue
		}
		if m.Unknown > 0 && n.view.Snapshot(m.Account, m.Example) == nil { // else a backup had just been at work there
			unknown = append(unknown, m)
		}
		if m.Failures > 0 {
			failing = append(failing, m)
		}
	}
	oldest := func(a, b *state.Maintenance) int { return a.At.Compare(b.At) }
	var alarms []Alarm
	if len(unknown) > 0 {
		m := slices.MinFunc(unknown, oldest)
		alarms = append(alarms, Alarm{Kind: alarmUnknown, Since: m.At, Message: fmt.Sprintf(
			"%s snapshots that no backup recorded: %d, such as %s of account %s. They are kept. A server that was broken into can make such ones; so can a backup that failed at its very end. When one keeps maintenance from its work, that alarm names it",
			repositoriesHold(len(unknown)), total(unknown), m.Example.Short(), m.Account)})
	}
	if len(failing) > 0 {
		m := slices.MinFunc(failing, oldest)
		alarms = append(alarms, Alarm{Kind: alarmMaintenance, Since: m.At, Message: fmt.Sprintf(
			"the maintenance of %d repositories fails, such as that of account %s at %s (%d times in a row): %s", len(failing), m.Account, m.Home.Site, m.Failures, m.Error)})
	}
	return slices.Concat(alarms, trashAlarms(n), removalAlarms(n))
}

func repositoriesHold(n int) string {
	if n == 1 {
		return "a repository holds"
	}
	return fmt.Sprintf("%d repositories hold", n)
}

func total(all []*state.Maintenance) (n int) {
	for _, m := range all {
		n += m.Unknown
	}
	return n
}
