package orchestrator

import (
	"sync"

	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

// missing remembers what each site lacks of each repository, for as long as its snapshots are the same. What a worker should
// do is worked out anew at each change of the state, and all catalogues of the platform would be unpacked for it, to find that
// one of them is another one. It is memory, and can be lost. Its zero value is ready.
type missing struct {
	mu    sync.Mutex
	known map[missingKey]absent
}

type missingKey struct {
	site state.SiteName
	repo state.AccountName // its row
}

// absent is what one site lacks of one repository.
type absent struct {
	of       any // the version of the snapshots
	home     state.SiteName
	expected bool                                  // something should be there already: it has a snapshot
	from     map[state.SiteName][]state.SnapshotID // newest first; where to pull it from
}

// of looks it up, or works it out. Of no memory it always does that.
func (m *missing) of(v *state.View, repo *state.Repository, site state.SiteName) absent {
	version := v.SnapshotsVersion(repo.Account)
	if m == nil || version == nil {
		return absentAt(v, repo, site)
	}
	key := missingKey{site, repo.Row()}
	m.mu.Lock()
	l, ok := m.known[key]
	m.mu.Unlock()
	if ok && l.of == version && l.home == repo.Home.Site {
		return l
	}
	l = absentAt(v, repo, site)
	l.of = version
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil {
		m.known = map[missingKey]absent{}
	}
	m.known[key] = l
	return l
}

func (m *missing) reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known = nil
}

func absentAt(v *state.View, repo *state.Repository, site state.SiteName) absent {
	l := absent{home: repo.Home.Site}
	for _, s := range v.SnapshotsIn(repo) { // newest first
		_, here := s.At(site)
		l.expected = l.expected || here
		if here || !s.ForgetAt.IsZero() {
			continue
		}
		from := repo.Home.Site
		if _, home := s.At(from); !home {
			if len(s.Sites) == 0 {
				continue
			}
			from = s.Sites[0].Site
		}
		if l.from == nil {
			l.from = map[state.SiteName][]state.SnapshotID{}
		}
		l.from[from] = append(l.from[from], s.ID)
	}
	return l
}

// copies says from where to pull what is missing here: from the home what the home has, from another site what only
// that one has (a site that came back holds snapshots which its successor never saw).
func (l absent) copies(v *state.View, repo *state.Repository, site state.SiteName) []wire.CopyJob {
	if len(l.from) == 0 {
		return nil
	}
	var jobs []wire.CopyJob
	for _, source := range v.Sites() {
		ids := l.from[source.Name]
		if len(ids) == 0 || source.Store == nil || source.Name == site {
			continue
		}
		jobs = append(jobs, wire.CopyJob{Account: repo.Row(), From: source.Name, Store: *source.Store, Home: repo.Home, Snapshots: ids})
	}
	return jobs
}

func copyJobs(v *state.View, repo *state.Repository, site state.SiteName) []wire.CopyJob {
	return absentAt(v, repo, site).copies(v, repo, site)
}
