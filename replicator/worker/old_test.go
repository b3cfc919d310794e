package worker

import (
	"path/filepath"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"drp/replicator/storetest"
)

// TestOldRepositories: what another restic has made, or one of long ago, is copied, backed up to, pruned, verified and
// restored as any other, at both sites; and Debian's own restic can read what came of it.
func TestOldRepositories(t *testing.T) {
	debian := storetest.DebianRestic(t)
	for name, create := range map[string]func(*testing.T, *storetest.Repository){
		"debian":  func(t *testing.T, r *storetest.Repository) { r.By(debian).Init(t) },
		"debian1": func(t *testing.T, r *storetest.Repository) { r.By(debian).Init(t, "--repository-version", "1") },
		"today1":  func(t *testing.T, r *storetest.Repository) { r.Init(t, "--repository-version", "1") },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRegion(t, func(repository *storetest.Repository) { create(t, repository) })
			write(t, filepath.Join(r.dir, "stays"), 300<<10)
			for range 3 {
				write(t, filepath.Join(r.dir, "changes"), 200<<10)
				id := r.direct[0].By(debian).Backup(t, r.dir)
				r.saved[id] = files(t, r.dir)
				r.order = append(r.order, id)
			}
			work(t, r.workers[1])
			r.copyAll()
			r.mustBackup() // by the restic of today, through the gateway
			if err := r.maintain(t.Context(), r.maintainJob()); err != nil {
				t.Fatal(err)
			}
			r.copyAll()

			kept := r.kept()
			for side, w := range r.workers {
				for _, job := range []VerifyJob{
					{Account: "shop", Kind: "scrubbed"},
					{Account: "shop", Kind: "checked", Password: shopPassword, Part: 1, Parts: 1},
					{Account: "shop", Kind: "proven", Password: shopPassword, Snapshot: kept[0]},
					{Account: "shop", Kind: "proven", Password: shopPassword, Snapshot: kept[len(kept)-1]},
				} {
					if err := w.verifyHere(t.Context(), job); err != nil {
						t.Errorf("%s at %s: %v", job.Kind, siteNames[side], err)
					}
				}
				if held := r.held(side); len(held) != len(kept) {
					t.Errorf("%s has %d snapshots, want %d", siteNames[side], len(held), len(kept))
				}
				for _, repository := range []*storetest.Repository{r.direct[side], r.direct[side].By(debian)} {
					repository.Check(t)
					for _, id := range kept {
						out := t.TempDir()
						repository.Restore(t, id, out)
						if got, want := files(t, out), r.saved[id]; !gocmp.Equal(got, want) {
							t.Errorf("%s: snapshot %.8s restores something else: %s", siteNames[side], id, gocmp.Diff(want, got))
						}
					}
				}
			}
		})
	}
}
