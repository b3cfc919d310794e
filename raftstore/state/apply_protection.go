package state

import (
	"maps"
	"slices"
	"time"
)

func applySnapshotsForget(c *change, d SnapshotsForgetData) (bool, error) {
	repo, err := c.repositoryAt(d.Account, d.Home)
	if err != nil {
		return false, err
	}
	known := map[SnapshotID]*Snapshot{}
	for _, s := range snapshotsOf(c.Txn, d.Account) {
		known[s.ID] = s
	}
	marked := map[SnapshotID]*Snapshot{}
	for _, id := range d.Snapshots {
		s := known[id]
		switch {
		case s == nil:
			return false, refuse(ErrNotFound, "account %s has no snapshot %s", d.Account, id.Short())
		case s.Repository != repo.Number:
			return false, refuse(ErrConflict, "snapshot %s is in repository %s, which is retired: nothing is deleted there before all of it goes", id.Short(), RepositoryName(d.Account, s.Repository))
		case s.ForgetAt.IsZero():
			marked[id] = s
		}
	}
	if err := c.checkNewestStay(d.Account, c.sitesOf(d.Account, d.Home), marked); err != nil {
		return false, err
	}
	if err := c.checkUnread(d.Account, marked); err != nil {
		return false, err
	}
	var next []*Snapshot
	for _, id := range slices.Sorted(maps.Keys(marked)) {
		s := *marked[id]
		s.ForgetAt = c.at
		next = append(next, &s)
	}
	c.putSnapshots(d.Account, next...)
	return len(marked) > 0, nil
}

// sitesOf are those that are to hold an account: the home, and the replicas of its policy.
func (c *change) sitesOf(account AccountName, home Home) []SiteName {
	sites := []SiteName{home.Site}
	if a := accountTable.get(c.Txn, string(account)); a != nil {
		if p := policyTable.get(c.Txn, string(a.Policy)); p != nil {
			sites = append(sites, p.Replicas...)
		}
	}
	return sites
}

// checkNewestStay refuses to take from one of these sites the newest snapshot that it has, or the newest that
// holds one of its databases or mailboxes whole. A site that is behind would be left with nothing to restore from; so would a
// database whose dumps have failed for long.
func (c *change) checkNewestStay(account AccountName, sites []SiteName, marked map[SnapshotID]*Snapshot) error {
	var parts []string
	if a := accountTable.get(c.Txn, string(account)); a != nil {
		parts = a.Parts()
	}
	all := snapshotsOf(c.Txn, account) // newest first
	for _, site := range sites {
		served := map[string]bool{}
		for _, s := range all {
			if _, there := s.At(site); !there || !s.ForgetAt.IsZero() {
				continue
			}
			for _, part := range s.Whole(parts) {
				if !served[part] && marked[s.ID] != nil {
					return refuse(ErrConflict, "snapshot %s of account %s is the newest one%s that site %s holds: it stays", s.ID.Short(), account, withPart(part), site)
				}
				served[part] = true
			}
		}
	}
	return nil
}

func withPart(part string) string {
	if part == "" {
		return ""
	}
	return " with " + part
}

// checkUnread refuses to forget what something under way restores from. A home that is rebuilt is read from more than one snapshot:
// parts that the chosen one lacks come from older ones.
func (c *change) checkUnread(account AccountName, marked map[SnapshotID]*Snapshot) error {
	refused := func(id SnapshotID, by string) error {
		return refuse(ErrConflict, "snapshot %s of account %s is being read by %s", id.Short(), account, by)
	}
	rebuilds := func(p *RestorePoint, by string) error {
		if marked[p.Snapshot] != nil {
			return refused(p.Snapshot, by)
		}
		older := c.olderParts(account, p)
		for _, part := range slices.Sorted(maps.Keys(older)) {
			if s := older[part]; s != nil && marked[s.ID] != nil {
				return refused(s.ID, by+", for "+part)
			}
		}
		return nil
	}
	if a := assignmentTable.get(c.Txn, string(account)); a != nil && a.Restore != nil && a.ReadyAt.IsZero() && a.Fenced == nil {
		if err := rebuilds(a.Restore, "server "+string(a.Server)); err != nil {
			return err
		}
	}
	for _, t := range taskTable.find(c.Txn, "account", string(account)) {
		if t.Status == TaskPending && t.Restore != nil && marked[t.Restore.Snapshot] != nil {
			return refused(t.Restore.Snapshot, "task "+string(t.ID))
		}
	}
	for _, r := range runTable.list(c.Txn) {
		if r.Status.Ended() {
			continue
		}
		if row := runAccountTable.get(c.Txn, compound(string(r.ID), string(account))); row != nil && row.Status != StepDone && row.Status != StepFailed {
			if err := rebuilds(&row.Restore, "run "+string(r.ID)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *change) olderParts(account AccountName, from *RestorePoint) map[string]*Snapshot {
	a := accountTable.get(c.Txn, string(account))
	if a == nil || len(a.Databases)+len(a.Mailboxes) == 0 {
		return nil
	}
	return OlderParts(snapshotsOf(c.Txn, account), a.Parts(), from)
}

func applyMaintenanceRecord(c *change, d MaintenanceRecordData) (bool, error) {
	repo, err := c.repositoryAt(d.Account, d.Home)
	if err != nil {
		return false, err
	}
	old := maintenanceTable.get(c.Txn, string(d.Account))
	next := &Maintenance{Account: d.Account, Home: d.Home, At: c.at, Error: Shorten(d.Error), Unknown: len(d.Unknown)}
	if len(d.Unknown) > 0 {
		if err := checkSnapshotID(d.Unknown[0]); err != nil {
			return false, err
		}
		next.Example = d.Unknown[0]
	}
	switch {
	case d.Error == "":
		next.Done, next.Objects, next.Bytes = c.at, d.Objects, d.Bytes
	case old != nil:
		next.Done, next.Objects, next.Bytes, next.Failures = old.Done, old.Objects, old.Bytes, old.Failures+1
	default:
		next.Failures = 1
	}
	var gone []*Snapshot
	for _, s := range c.snapshotsIn(d.Account, repo.Number) { // what is gone is gone, also when the rest did not work
		if !s.ForgetAt.IsZero() && slices.Contains(d.Forgotten, s.ID) {
			gone = append(gone, s)
		}
	}
	c.dropSnapshots(d.Account, gone...)
	maintenanceTable.put(c.Txn, next)
	return true, nil
}

func applyVerificationRecord(c *change, d VerificationRecordData) (bool, error) {
	if _, _, err := c.copied(d.Account); err != nil {
		return false, err
	}
	if _, err := c.site(d.Site); err != nil {
		return false, err
	}
	next := Verification{Account: d.Account, Site: d.Site}
	if old := verificationTable.get(c.Txn, verificationTable.key(&next)); old != nil {
		next = *old
	}
	failure := next.Errors[d.Kind]
	next.Errors = maps.Clone(next.Errors)
	if d.Error != "" {
		if next.Errors == nil {
			next.Errors = map[VerificationKind]Failure{}
		}
		next.Errors[d.Kind] = Failure{Error: Shorten(d.Error), At: c.at, Count: failure.Count + 1}
	} else {
		delete(next.Errors, d.Kind)
	}
	if len(next.Errors) == 0 {
		next.Errors = nil // one form for one meaning
	}
	if err := next.succeed(c, d); err != nil {
		return false, err
	}
	verificationTable.put(c.Txn, &next)
	return true, nil
}

// mostAgo bounds how long ago a look began of which a worker tells: it may wait for a leader, and not for ever.
const mostAgo = 90 * 24 * time.Hour

// succeed notes what was found to be good, as it was when the look at it began. Whatever the kind, what is not known is
// refused.
func (v *Verification) succeed(c *change, d VerificationRecordData) error {
	good := d.Error == ""
	if good && (d.BeganAgo < 0 || d.BeganAgo > mostAgo) {
		return refuse(ErrInvalid, "the copy of account %s at %s is said to have been %s %s ago: it is from 0 to %s", d.Account, d.Site, d.Kind, d.BeganAgo, mostAgo)
	}
	began := c.at.Add(-d.BeganAgo)
	switch d.Kind {
	case Scrubbed:
		if good {
			v.Scrubbed = lastGood(v.Scrubbed, began, c.at)
		}
	case Checked:
		if d.Parts < 1 || d.Part < 1 || d.Part > d.Parts {
			return refuse(ErrInvalid, "part %d of %d of the data of account %s: parts are counted from 1", d.Part, d.Parts, d.Account)
		}
		if good {
			v.readPart(began, c.at, d.Part, d.Parts)
		}
	case Proven:
		account, number, err := c.copied(d.Account)
		if err != nil {
			return err
		}
		if s := snapshotOf(c.Txn, account, d.Snapshot); s == nil || s.Repository != number {
			return refuse(ErrNotFound, "account %s has no snapshot %s", d.Account, d.Snapshot.Short())
		}
		if good {
			if at := lastGood(v.Proven, began, c.at); !at.Equal(v.Proven) {
				v.Proven, v.Snapshot = at, d.Snapshot
			}
		}
	default:
		return refuse(ErrInvalid, "there is no verification %q", d.Kind)
	}
	return nil
}

// lastGood takes nothing back when an older look is told late; but what was dated in the future, by a leader whose clock
// was wrong, ends with the next word.
func lastGood(old, began, at time.Time) time.Time {
	if old.After(at) {
		return began
	}
	return later(old, began)
}

// readPart counts a part only when it follows the one before it: all data is read when every part was, in one round.
func (v *Verification) readPart(began, at time.Time, part, parts int) {
	v.Checked = lastGood(v.Checked, began, at)
	switch {
	case part == 1:
		v.Part, v.Parts, v.Began = 1, parts, began
	case parts == v.Parts && part == v.Part+1:
		v.Part = part
	default:
		return
	}
	if v.Part == v.Parts {
		v.ReadSince = lastGood(v.ReadSince, v.Began, at)
		v.Part = 0
	}
}

func applyPauseSet(c *change, d PauseSetData) (bool, error) {
	p := d.Pause
	var err error
	switch p.Kind {
	case PauseAccount:
		_, err = c.account(AccountName(p.Name))
	case PauseServer:
		_, err = c.server(ServerName(p.Name))
	case PauseSite:
		_, err = c.site(SiteName(p.Name))
	default:
		err = refuse(ErrInvalid, "there is no pause of a %q: an account, a server or a site can be paused", p.Kind)
	}
	if err != nil {
		return false, err
	}
	p.By, p.Since, p.Reason = c.by, c.at, Shorten(p.Reason)
	if old := pauseTable.get(c.Txn, pauseTable.key(&p)); old != nil {
		if old.Reason == p.Reason {
			return false, nil
		}
		p.Since = old.Since
	}
	pauseTable.put(c.Txn, &p)
	return true, nil
}

func applyPauseClear(c *change, d PauseClearData) (bool, error) {
	old := pauseTable.get(c.Txn, pauseTable.key(&Pause{Kind: d.Kind, Name: d.Name}))
	if old == nil {
		return false, refuse(ErrNotFound, "%s %s is not paused", d.Kind, d.Name)
	}
	pauseTable.drop(c.Txn, old)
	return true, nil
}
