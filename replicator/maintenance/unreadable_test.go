package maintenance_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"drp/replicator/maintenance"
	"drp/replicator/restic"
)

// forge adds a snapshot that no backup recorded.
func (w *world) forge(s *worldSite, blobs ...string) string {
	id, content := w.tool.file(modelFile{Blobs: blobs})
	s.double.Store("shop/snapshots/"+id, content)
	return id
}

// TestRun_Unreadable: who adds a snapshot that cannot be read stops the maintenance of that account. It is named, nothing is
// deleted, and all goes on when it is set aside. One that can be read is in nobody's way.
func TestRun_Unreadable(t *testing.T) {
	w, s, job := lone(t)
	w.forge(s, w.catalogue[w.order[2]].blobs...)
	forged := w.forge(s, "of a tree that there is not")
	before := s.repository()
	result, err := s.keeper.Run(t.Context(), job)
	var unreadable *maintenance.UnreadableError
	if !errors.As(err, &unreadable) || !slices.Equal(unreadable.Snapshots, []string{forged}) || len(result.Unknown) != 2 {
		t.Fatalf("got %v (unknown: %v), want %.8s to be named", err, result.Unknown, forged)
	}
	if text := err.Error(); !strings.Contains(text, "cannot be read: "+forged[:8]+". All that backups recorded is whole.") || !strings.Contains(text, "is nowhere") && !strings.Contains(text, "in no index") {
		t.Errorf("it does not say which one, or what restic said: %s", text)
	}
	if after := s.repository(); !maps.Equal(before, after) {
		t.Error("the repository is another one")
	}
	s.double.Store(".aside/shop/snapshots/"+forged, s.double.Objects()["shop/snapshots/"+forged])
	s.double.Forget("shop/snapshots/" + forged)
	if _, err := s.keeper.Run(t.Context(), job); err != nil {
		t.Errorf("when it was set aside: %v", err)
	}
}

// TestRun_UnreadableIsNotBlamed: a known snapshot that cannot be read, or a restic that fails for another reason, is no fault
// of the unknown ones.
func TestRun_UnreadableIsNotBlamed(t *testing.T) {
	for name, change := range map[string]func(w *world, s *worldSite){
		"a pack is missing": func(w *world, s *worldSite) {
			w.forge(s, "of a tree that there is not")
			for key := range s.double.Objects() {
				if strings.HasPrefix(key, "shop/data/") {
					s.double.Forget(key)
					return
				}
			}
		},
		"out of memory": func(w *world, s *worldSite) {
			w.forge(s, w.catalogue[w.order[2]].blobs...)
			s.keeper.Tool = &greedy{w.tool, func(context.Context, *session) error { return restic.ErrFailed }}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, s, job := lone(t)
			change(w, s)
			_, err := s.keeper.Run(t.Context(), job)
			if unreadable := (*maintenance.UnreadableError)(nil); err == nil || errors.As(err, &unreadable) {
				t.Errorf("got %v", err)
			}
		})
	}
}
