package export_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"drp/orchestrator/export"
	"drp/raftstore/identity"
	"drp/raftstore/state"
)

// known makes the state know that a coordinator's certificates are revoked, and returns how to make it forget: who forges
// an export puts into it what he likes.
func (s *shop) known(revoked string) (forget func()) {
	s.t.Helper()
	var before bytes.Buffer
	if err := s.state.View().Persist(&before); err != nil {
		s.t.Fatal(err)
	}
	s.apply(state.CertificateRevoke, state.CertificateRevokeData{Role: "coordinator", Holder: revoked, Reason: "stolen"})
	return func() {
		old, err := state.Restore(&before)
		if err != nil {
			s.t.Fatal(err)
		}
		s.state = old
	}
}

// A revoked coordinator's certificate is good by its dates. What others signed earlier in the log knows better.
func TestNewest_revokedSigner(t *testing.T) {
	s := newShop(t)
	stolen := s.credentials("par2-c")
	s.export(stolen)
	forget := s.known("par2-c")
	want := s.export(s.signer)
	forget()
	s.apply(state.ClusterRecover, state.ClusterRecoverData{UUID: "cluster-a", Incarnation: 9, How: state.RecoveredExport})
	forged := []string{s.export(stolen), s.exportAt(stolen, time.Now().Add(-time.Minute))}
	look := s.newest()
	if look.Found == nil || look.Found.Name != want || len(look.Skipped) != len(forged) {
		t.Fatalf("got %+v, want %s, and %d skipped", look, want, len(forged))
	}
	for _, x := range look.Skipped {
		if !errors.Is(x.Why, export.ErrDisbelieved) || !errors.Is(x.Why, identity.ErrRevoked) || !strings.Contains(x.Why.Error(), want) {
			t.Errorf("got %v, want it said that %s knows the signer as revoked", x.Why, want)
		}
	}
	if look.Incarnation != 1 {
		t.Errorf("got incarnation %d from an export that is not believed", look.Incarnation)
	}
	if named, err := export.Named(t.Context(), s, forged[0], export.SignedBy(s.signer), s.key); err != nil || named.Found != nil || !errors.Is(named.Skipped[0].Why, export.ErrDisbelieved) || named.Incarnation != 1 {
		t.Errorf("by its name: got %+v (%v), want the same", named, err)
	}
	if named, err := export.Named(t.Context(), s, want, export.SignedBy(s.signer), s.key); err != nil || named.Found == nil || named.Incarnation != 1 {
		t.Errorf("the older one by its name: got %+v (%v), want it in incarnation 1", named, err)
	}
}

// A coordinator that was revoked and let in again signs with a new certificate.
func TestNewest_signerLetInAgain(t *testing.T) {
	s := newShop(t)
	again := s.credentials("par2-c")
	s.index++
	r, err := s.state.Apply(s.index, state.NewCommand(state.CertificateRevoke, "then", time.Now().Add(-time.Minute), "operator/ada",
		state.CertificateRevokeData{Role: "coordinator", Holder: "par2-c"}))
	if err != nil || r.Err != nil {
		t.Fatal(err, r.Err)
	}
	s.export(s.signer)
	want := s.export(again)
	if look := s.newest(); look.Found == nil || look.Found.Name != want {
		t.Errorf("got %+v, want %s", look, want)
	}
}

// Who has a revoked coordinator's key cannot have the exports of all others passed over by accusing them: each of his own
// lies just before one of theirs.
func TestNewest_falseAccusations(t *testing.T) {
	s := newShop(t)
	stolen := s.credentials("par2-c")
	s.export(stolen)
	s.known("par2-c")
	s.export(s.signer)
	var want string
	for range 5 {
		forget := s.known("par1-c")
		s.export(stolen)
		forget()
		want = s.export(s.signer)
	}
	if look := s.newest(); look.Found == nil || look.Found.Name != want {
		t.Errorf("got %+v, want %s: its accuser is revoked", look, want)
	}
}

// Whose certificate has expired can only sign for times at which it was good. Something newer cannot be that old.
func TestNewest_expiredSigner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		forget := s.known("nobody")
		s.index += 1000
		forged := s.export(s.credentials("par2-c"))
		forget()
		s.index = 10
		time.Sleep(101 * 24 * time.Hour)
		s.signer = s.credentials("par3-c")
		want := s.export(s.signer)
		look := s.newest()
		if look.Found == nil || look.Found.Name != want || len(look.Skipped) != 1 || look.Skipped[0].Name != forged {
			t.Fatalf("got %+v, want %s, and %s skipped", look, want, forged)
		}
		if why := look.Skipped[0].Why; !errors.Is(why, export.ErrDisbelieved) || !strings.Contains(why.Error(), "101 days before "+want+", which par3-c signed") {
			t.Errorf("got %v, want the two times said", why)
		}
	})
}

// A person is told whose word it is, and since when it is nobody else's.
func TestNewest_signer(t *testing.T) {
	s := newShop(t)
	another := s.credentials("par2-c")
	s.export(s.signer)
	last := s.export(another)
	for range 3 {
		s.export(s.signer)
	}
	f := s.newest().Found
	if f == nil || f.Signer == nil || f.Signer.Name != "par1-c" || f.Other == nil || f.Other.Manifest.Name() != last || f.Other.Signer != "par2-c" || f.Since != 3 {
		t.Fatalf("got %+v, want par1-c alone for 3, and before them %s by par2-c", f, last)
	}
	alone := newShop(t)
	alone.export(alone.signer)
	alone.export(alone.signer)
	if f := alone.newest().Found; f == nil || f.Other != nil || f.Since != 2 {
		t.Errorf("got %+v, want nobody else", f)
	}
}
