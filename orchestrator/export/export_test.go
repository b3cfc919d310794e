package export_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"filippo.io/age"

	"drp/orchestrator/export"
	"drp/raftstore/identity"
	"drp/raftstore/state"
)

// shop is a coordinator that exports, and a store in memory.
type shop struct {
	t       testing.TB
	state   *state.State
	index   uint64
	key     *age.X25519Identity
	signer  *identity.Credentials
	objects map[string][]byte

	authority *identity.Authority
}

func newShop(t testing.TB) *shop {
	t.Helper()
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	s := &shop{t: t, state: state.New(), key: key, objects: map[string][]byte{}, authority: authority(t)}
	s.signer = s.credentials("par1-c")
	s.apply(state.ClusterInit, state.ClusterInitData{UUID: "cluster-a", Incarnation: 1, Level: state.Level})
	return s
}

func authority(t testing.TB) *identity.Authority {
	t.Helper()
	a, err := identity.NewAuthority("cluster-a")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// credentials of another coordinator of the platform.
func (s *shop) credentials(name string) *identity.Credentials {
	s.t.Helper()
	return issued(s.t, s.authority, identity.Coordinator, name)
}

func credentials(t testing.TB, role identity.Role) *identity.Credentials {
	t.Helper()
	return issued(t, authority(t), role, "par1-c")
}

func issued(t testing.TB, a *identity.Authority, role identity.Role, name string) *identity.Credentials {
	t.Helper()
	cert, key, err := a.Issue(role, name, nil, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	c, err := identity.New(cert, key, a.CertificatePEM())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *shop) apply(name state.Name, payload any) {
	s.t.Helper()
	s.index++
	r, err := s.state.Apply(s.index, state.NewCommand(name, fmt.Sprint(s.index), time.Now(), "coordinator/par1-c", payload))
	if err != nil || r.Err != nil {
		s.t.Fatal(err, r.Err)
	}
}

// export puts one more export into the store, and returns its name.
func (s *shop) export(signer *identity.Credentials) string {
	s.t.Helper()
	return s.exportAt(signer, time.Now())
}

func (s *shop) exportAt(signer *identity.Credentials, at time.Time) string {
	s.t.Helper()
	s.apply(state.InventoryApply, state.InventoryData{Sites: []state.Site{{Name: state.SiteName(fmt.Sprintf("par%d", s.index))}}})
	var sealed bytes.Buffer
	m, err := export.Write(&sealed, s.state.View(), []string{s.key.Recipient().String()}, "par1-c", at)
	if err != nil {
		s.t.Fatal(err)
	}
	if m.Chain, m.Signature, err = signer.Sign(m.Signed()); err != nil {
		s.t.Fatal(err)
	}
	data, err := json.Marshal(m)
	if err != nil {
		s.t.Fatal(err)
	}
	s.objects[m.Name()+export.Sealed], s.objects[m.Name()+export.Clear] = sealed.Bytes(), data
	return m.Name()
}

func (s *shop) List(context.Context) ([]string, error) {
	var names []string
	for n := range s.objects {
		names = append(names, n)
	}
	return names, nil
}

func (s *shop) Get(_ context.Context, name string) ([]byte, error) {
	if b, ok := s.objects[name]; ok {
		return b, nil
	}
	return nil, state.ErrNotFound
}

func (s *shop) newest(keys ...age.Identity) *export.Look {
	s.t.Helper()
	if len(keys) == 0 {
		keys = []age.Identity{s.key}
	}
	look, err := export.Newest(s.t.Context(), s, export.SignedBy(s.signer), keys...)
	if err != nil {
		s.t.Fatal(err)
	}
	return look
}

func TestNewest(t *testing.T) {
	s := newShop(t)
	if look := s.newest(); look.Found != nil {
		t.Fatalf("got %v from an empty store", look.Found.Name)
	}
	s.export(s.signer)
	want := s.export(s.signer)
	look := s.newest()
	if look.Found == nil || look.Found.Name != want || len(look.Skipped) != 0 {
		t.Fatalf("got %+v, want %s", look, want)
	}
	if got, want := look.Found.State.View().Digest(), s.state.View().Digest(); got != want {
		t.Errorf("got a state with digest %s, want %s", got, want)
	}
	if look.Found.State.View().AuditHead() != s.state.View().AuditHead() {
		t.Error("the audit trail does not end where it did")
	}
}

// Whatever is wrong with the newest, the one before it is taken, and the reason is said.
func TestNewest_skips(t *testing.T) {
	for _, c := range []struct {
		name string
		harm func(s *shop, name string)
		want error
	}{
		{"cut short", func(s *shop, n string) { s.objects[n+export.Sealed] = s.objects[n+export.Sealed][:500] }, export.ErrDamaged},
		{"a flipped bit", func(s *shop, n string) {
			b := slices.Clone(s.objects[n+export.Sealed])
			b[len(b)-20] ^= 1
			s.objects[n+export.Sealed] = b
		}, export.ErrDamaged},
		{"gone", func(s *shop, n string) { delete(s.objects, n+export.Sealed) }, state.ErrNotFound},
		{"no manifest in it", func(s *shop, n string) { s.objects[n+export.Clear] = []byte("{") }, export.ErrDamaged},
		{"a manifest of another", func(s *shop, n string) {
			for other := range s.objects {
				if other != n+export.Clear && other[len(other)-1] == 'n' {
					s.objects[n+export.Clear] = s.objects[other]
				}
			}
		}, export.ErrDamaged},
		{"a manifest that was changed", func(s *shop, n string) {
			m, err := export.ReadManifest(s.objects[n+export.Clear])
			if err != nil {
				t.Fatal(err)
			}
			m.AuditSeq++
			s.objects[n+export.Clear], _ = json.Marshal(m)
		}, export.ErrUnsigned},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newShop(t)
			want := s.export(s.signer)
			newest := s.export(s.signer)
			c.harm(s, newest)
			look := s.newest()
			if look.Found == nil || look.Found.Name != want {
				t.Fatalf("got %+v, want %s", look, want)
			}
			if len(look.Skipped) != 1 || look.Skipped[0].Name != newest || !errors.Is(look.Skipped[0].Why, c.want) {
				t.Errorf("got %+v skipped, want %s because it is %v", look.Skipped, newest, c.want)
			}
		})
	}
}

// Anybody can seal a state to keys that are public. Only a coordinator of the platform is believed.
func TestNewest_forged(t *testing.T) {
	for name, signer := range map[string]*identity.Credentials{
		"by another authority": credentials(t, identity.Coordinator),
	} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t)
			want := s.export(s.signer)
			s.apply(state.ClusterRecover, state.ClusterRecoverData{UUID: "cluster-a", Incarnation: 200, How: state.RecoveredExport})
			s.export(signer)
			look := s.newest()
			if look.Found == nil || look.Found.Name != want || len(look.Skipped) != 1 || !errors.Is(look.Skipped[0].Why, export.ErrUnsigned) {
				t.Errorf("got %+v, want %s and the forged one skipped", look, want)
			}
			if look.Incarnation != 1 {
				t.Errorf("got incarnation %d from a forged manifest", look.Incarnation)
			}
		})
	}
	t.Run("by an agent", func(t *testing.T) {
		s := newShop(t)
		s.signer = credentials(t, identity.Agent)
		s.export(s.signer)
		if look := s.newest(); look.Found != nil || !errors.Is(look.Skipped[0].Why, export.ErrUnsigned) {
			t.Errorf("got %+v, want an agent's signature refused", look)
		}
	})
}

// However many forged ones stand before it, and though the newest genuine one was sealed to a key that is not at hand, the
// one before that is found.
func TestNewest_manyForged(t *testing.T) {
	s := newShop(t)
	want := s.export(s.signer)
	ours, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	own := s.key
	s.key = ours
	s.export(s.signer)
	s.key = own
	stranger := credentials(t, identity.Coordinator)
	for range 30 {
		s.export(stranger)
	}
	if look := s.newest(own); look.Found == nil || look.Found.Name != want {
		t.Errorf("got %+v, want %s", look.Found, want)
	}
}

// Who recovers from an older export begins an incarnation above all that there were: a lower one would give out tokens a second
// time.
func TestNamed(t *testing.T) {
	s := newShop(t)
	want := s.export(s.signer)
	s.apply(state.ClusterRecover, state.ClusterRecoverData{UUID: "cluster-a", Incarnation: 4, How: state.RecoveredExport})
	s.export(s.signer)
	look, err := export.Named(t.Context(), s, want, export.SignedBy(s.signer), s.key)
	if err != nil || look.Found == nil || look.Found.Name != want || look.Found.Manifest.Incarnation != 1 {
		t.Fatalf("got %+v (%v), want %s", look, err, want)
	}
	if look.Incarnation != 4 {
		t.Errorf("got incarnation %d, want 4: a later export has it", look.Incarnation)
	}
	if look, err := export.Named(t.Context(), s, "i000009-0-x-y", export.SignedBy(s.signer), s.key); err != nil || look.Found != nil || len(look.Skipped) != 1 {
		t.Errorf("got %+v (%v), want none", look, err)
	}
}

func TestNewest_wrongKey(t *testing.T) {
	s := newShop(t)
	s.export(s.signer)
	stranger, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	if look := s.newest(stranger); look.Found != nil || len(look.Skipped) != 1 || !errors.Is(look.Skipped[0].Why, export.ErrClosed) {
		t.Errorf("got %+v, want it sealed to others", look)
	}
}

// A clock that ran wrong does not make an old state the newest.
func TestManifest_Name(t *testing.T) {
	at := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	names := []string{
		export.Manifest{Incarnation: 1, Index: 9, At: at.Add(time.Hour)}.Name(),
		export.Manifest{Incarnation: 1, Index: 10, At: at}.Name(),
		export.Manifest{Incarnation: 2, Index: 10, At: at.Add(-time.Hour)}.Name(),
		export.Manifest{Incarnation: 10, Index: 1, At: at.Add(-time.Hour)}.Name(),
	}
	if !slices.IsSorted(names) {
		t.Errorf("got %q, want them in the order of what they hold", names)
	}
}
