package orchestrator

import (
	"cmp"
	"hash/fnv"
	"slices"
	"time"

	"drp/orchestrator/retention"
	"drp/raftstore/state"
)

// What is done to repositories, and how often.
const (
	maintainEvery = 7 * day          // a repository is maintained, when nothing of it is over
	forgetEvery   = day              // of one account; more often where the retention is short
	forgetShare   = 8                // of the retention: what is over stays that much longer at most
	forgetChunk   = 64               // snapshots in one command
	forgetMost    = 1024             // snapshots of one account at a time
	forgetAtOnce  = 32               // accounts in one look
	choresAtOnce  = 8                // of maintenance, and of verification, that a worker is given
	queueLength   = 256              // chores of each of the two that are known of a site
	choreRetry    = 10 * time.Minute // after a failure; then after twice as long …
	choreRest     = 6 * time.Hour    // … and that at most
	copyPatience  = day              // maintenance does not wait longer for a copy that goes on and on
)

// chore is work for the worker of a site: maintenance, when it has no kind, or one of the verifications; or the removal of a
// retired repository.
type chore struct {
	repository  string // its name
	remove      bool
	kind        state.VerificationKind
	snapshot    state.SnapshotID // of proven
	part, parts int              // of checked
	// urgent orders chores: the earliest first. It stays the same for as long as the chore is not done.
	urgent time.Time
	class  int // lower ones come first whatever their time
}

const asked = -1 // the class of a look that somebody waits for

func (c chore) same(o chore) bool { return c.repository == o.repository && c.kind == o.kind }

func moreUrgent(a, b chore) int {
	return cmp.Or(cmp.Compare(a.class, b.class), a.urgent.Compare(b.urgent), cmp.Compare(a.repository, b.repository), cmp.Compare(a.kind, b.kind))
}

// survey is what one look at all repositories has found.
type survey struct {
	forget   []state.AccountName // of which snapshots are over, or a whole retired repository, or the password of a removed one
	maintain map[state.SiteName][]chore
	verify   map[state.SiteName][]chore
	keys     keySurvey
}

// surveyOf looks at everything; it takes a while where there are many accounts. Nothing is found while the cluster is held, or
// while a member is too old for the commands that would follow.
func surveyOf(n now) *survey {
	s := &survey{maintain: map[state.SiteName][]chore{}, verify: map[state.SiteName][]chore{}}
	if held(n.view) || n.view.Level() < protectionLevel {
		return s
	}
	for _, row := range n.view.Retired() {
		if n.removable(row) {
			s.forget = append(s.forget, row.Repository.Account)
		}
	}
	for _, row := range n.view.Removed() {
		if n.trashGone(row) {
			s.forget = append(s.forget, row.Repository.Account)
		}
	}
	for _, repo := range n.view.AllRepositories() {
		r := n.kept(repo)
		if r == nil {
			continue
		}
		if r.mayForget() && len(r.over()) > 0 {
			s.forget = append(s.forget, repo.Account)
		}
		if c, ok := r.maintenance(); ok {
			s.maintain[repo.Home.Site] = append(s.maintain[repo.Home.Site], c)
		}
		for _, site := range r.sites() {
			s.verify[site] = append(s.verify[site], r.verifications(site)...)
		}
	}
	s.keys = keySurveyOf(n)
	for _, queues := range []map[state.SiteName][]chore{s.maintain, s.verify} {
		for site, all := range queues {
			slices.SortFunc(all, moreUrgent)
			queues[site] = slices.Clone(all[:min(len(all), queueLength)])
		}
	}
	return s
}

// keptRepository is one that exists, with all that upkeep is decided from.
type keptRepository struct {
	now
	repo      *state.Repository
	account   *state.Account
	policy    *state.Policy
	retired   bool              // it is read, and nothing in it changes
	all       []*state.Snapshot // of the account, newest first, the marked ones too
	snapshots []*state.Snapshot // of them those in this repository
	last      *state.Maintenance
}

// kept is nil for what is left as it is: a repository that is still being made, or whose account left the inventory.
func (n now) kept(repo *state.Repository) *keptRepository {
	account := n.view.Account(repo.Account)
	if account == nil || repo.InitialisedAt.IsZero() {
		return nil
	}
	policy := n.view.Policy(account.Policy)
	if policy == nil {
		return nil
	}
	r := &keptRepository{now: n, repo: repo, account: account, policy: policy, retired: n.view.IsRetired(repo), all: n.view.Snapshots(repo.Account)}
	r.snapshots = within(r.all, repo)
	if !r.retired {
		r.last = n.view.Maintenance(repo.Account)
	}
	return r
}

// within are those snapshots of an account that lie in one repository.
func within(all []*state.Snapshot, repo *state.Repository) []*state.Snapshot {
	elsewhere := func(s *state.Snapshot) bool { return s.Repository != repo.Number }
	if !slices.ContainsFunc(all, elsewhere) {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), elsewhere)
}

// over is decided from all that the account has, and is what of it lies here.
func (r *keptRepository) over() []state.SnapshotID {
	over := retention.Over(r.all, r.account.Parts(), r.policy, r.at)
	if len(r.all) > len(r.snapshots) {
		over = slices.DeleteFunc(over, func(id state.SnapshotID) bool {
			return !slices.ContainsFunc(r.snapshots, func(s *state.Snapshot) bool { return s.ID == id })
		})
	}
	return over[:min(len(over), forgetMost)]
}

// mayForget keeps a repository from being pruned for each single snapshot.
func (r *keptRepository) mayForget() bool {
	if r.policy.Retention <= 0 || r.retired {
		return false
	}
	return r.last == nil || r.at.Sub(r.last.At) >= min(forgetEvery, r.policy.Retention/forgetShare)
}

// marks are the commands for what is over of an account. Each look decides anew from the present state.
func marks(n now, account state.AccountName) []propose {
	all := removalsDue(n, account)
	repo := n.view.Repository(account)
	if repo == nil {
		return all
	}
	r := n.kept(repo)
	if r == nil || !r.mayForget() {
		return all
	}
	for ids := range slices.Chunk(r.over(), forgetChunk) {
		all = append(all, propose{state.SnapshotsForget, state.SnapshotsForgetData{Account: account, Home: repo.Home, Snapshots: ids}})
	}
	return all
}

// marked are the snapshots that are over and still in the catalogue, and when the first of them was marked.
func (r *keptRepository) marked() (ids []state.SnapshotID, since time.Time) {
	for _, s := range r.snapshots {
		if s.ForgetAt.IsZero() {
			continue
		}
		ids = append(ids, s.ID)
		if since.IsZero() || s.ForgetAt.Before(since) {
			since = s.ForgetAt
		}
	}
	return ids, since
}

// maintenance is due when something is marked, and now and then anyway.
func (r *keptRepository) maintenance() (chore, bool) {
	if len(r.snapshots) == 0 || r.retired {
		return chore{}, false
	}
	c := chore{repository: r.repo.Name(), class: 1, urgent: r.repo.InitialisedAt.Add(maintainEvery)}
	if r.last != nil && !r.last.Done.IsZero() {
		c.urgent = r.last.Done.Add(maintainEvery)
		if r.last.Unknown > 0 {
			c.urgent = r.last.Done.Add(day) // perhaps a backup was at work there
		}
	}
	if ids, since := r.marked(); len(ids) > 0 {
		c.class, c.urgent = 0, since
	}
	if r.last != nil && r.last.Failures > 0 {
		retry := afterFailures(r.last.At, r.last.Failures)
		return c, !retry.After(r.at)
	}
	return c, !c.urgent.After(r.at)
}

func afterFailures(at time.Time, failures int) time.Time {
	return at.Add(min(choreRetry<<min(max(failures, 1)-1, 6), choreRest))
}

// rests reports whether what has failed is not to be tried again yet.
func (n now) rests(f *state.Failure) bool {
	return f != nil && afterFailures(f.At, f.Count).After(n.at)
}

// blocked says of maintenance that is due that it waits: for a backup, or for a copy from or to the home.
func (r *keptRepository) blocked(c chore) bool {
	if r.backupUnderWay(r.account.Name) != nil {
		return true
	}
	if r.at.Sub(c.urgent) > copyPatience {
		return false
	}
	for _, site := range r.sites() {
		for _, job := range copyJobs(r.view, r.repo, site) {
			if job.From == r.repo.Home.Site || site == r.repo.Home.Site {
				return true
			}
		}
	}
	return false
}

// sites hold the account, or should: the home, and the replicas of its policy.
func (r *keptRepository) sites() []state.SiteName {
	sites := []state.SiteName{r.repo.Home.Site}
	for _, site := range r.policy.Replicas {
		if site != r.repo.Home.Site {
			sites = append(sites, site)
		}
	}
	return sites
}

// newestAt is the newest snapshot that a site holds and that is not over.
func (r *keptRepository) newestAt(site state.SiteName) *state.Snapshot {
	for _, s := range r.snapshots {
		if _, there := s.At(site); there && s.ForgetAt.IsZero() {
			return s
		}
	}
	return nil
}

// normalLag is how long after its start a snapshot may be copied without the copy being taken for a new one.
const normalLag = day

// bornAt is when a site's copy first existed, as far as the catalogue can tell. While nothing was ever deleted it has the
// oldest snapshot there. After that a copy that keeps up looks younger than it is, and counts as old as the repository;
// one that was made of old snapshots is new.
func (r *keptRepository) bornAt(site state.SiteName) time.Time {
	for _, s := range slices.Backward(r.snapshots) {
		c, there := s.At(site)
		if !there {
			continue
		}
		pruned := r.last != nil && !r.last.Done.IsZero()
		if pruned && c.CopiedAt.Sub(s.Start) <= max(normalLag, r.policy.RPO) && r.repo.InitialisedAt.Before(c.CopiedAt) {
			return r.repo.InitialisedAt
		}
		return c.CopiedAt
	}
	return time.Time{}
}

// verifications of a site's copy that are due. Each is done twice within its limit, so that one that is late or fails leaves
// time for another; the first ones of many new copies are spread over half of the limit.
func (r *keptRepository) verifications(site state.SiteName) []chore {
	newest := r.newestAt(site)
	if newest == nil {
		return nil
	}
	v := r.view.Verification(r.repo.Row(), site)
	if v == nil {
		v = &state.Verification{}
	}
	born := r.bornAt(site)
	var all []chore
	add := func(c chore, last time.Time, every time.Duration) {
		due := last.Add(every)
		wanted := r.unanswered(last, v.Errors[c.kind])
		if last.IsZero() {
			last, due = born, born.Add(share(r.repo.Name(), c.kind, every))
		}
		c.repository, c.urgent = r.repo.Name(), last.Add(2*every)
		if f, failed := v.Errors[c.kind]; failed {
			// As if it had been done then: those that always fail must not keep the others from their turn.
			due, c.urgent = afterFailures(f.At, f.Count), f.At.Add(2*every)
		}
		if wanted {
			due, c.class = r.at, asked
		}
		if !due.After(r.at) {
			all = append(all, c)
		}
	}
	add(chore{kind: state.Scrubbed}, v.Scrubbed, ReadWithin(r.policy))
	part, parts := nextPart(r.policy, v)
	add(chore{kind: state.Checked, part: part, parts: parts}, v.Checked, CheckWithin(r.policy)/2)
	add(chore{kind: state.Proven, snapshot: newest.ID}, v.Proven, ProveWithin(r.policy)/2)
	return all
}

// share is a part of a time that follows from a name.
func share(repository string, kind state.VerificationKind, of time.Duration) time.Duration {
	h := fnv.New32a()
	h.Write([]byte(kind))
	h.Write([]byte(repository))
	mixed := h.Sum32() * 2654435769 // the high bits of names that are alike hardly differ
	return time.Duration(float64(of) * float64(mixed>>8) / (1 << 24))
}

// nextPart is which part of a copy's data the next check reads, of how many. A round that has ended says that what was there
// at its beginning can be read, and is the newest word until the next one has ended: so two of them fit into the limit.
func nextPart(p *state.Policy, v *state.Verification) (part, parts int) {
	parts = max(1, int(ReadWithin(p)/2/max(CheckWithin(p)/2, 1)))
	if v.Parts == parts && v.Part > 0 && v.Part < parts {
		return v.Part + 1, parts
	}
	return 1, parts
}
