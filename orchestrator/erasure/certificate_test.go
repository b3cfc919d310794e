package erasure

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"drp/raftstore/audit"
	"drp/raftstore/identity"
	"drp/raftstore/signed"
	"drp/raftstore/state"
)

const cluster = "7d1f"

// credentials of somebody, under an authority.
func credentials(t *testing.T, a *identity.Authority, role identity.Role) *identity.Credentials {
	t.Helper()
	certificate, key, err := a.Issue(role, "par1-c", []string{"::1"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	c, err := identity.New(certificate, key, a.CertificatePEM())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func authority(t *testing.T, cluster string) *identity.Authority {
	t.Helper()
	a, err := identity.NewAuthority(cluster)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// erased is one that is done.
func erased() *state.Erasure {
	at := time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)
	return &state.Erasure{Account: "shop", By: "operator/olga", Reason: "the contract has ended", Ordered: at, NotBefore: at.Add(time.Hour), Begun: at.Add(2 * time.Hour),
		Repositories: []string{"shop", "shop~2"}, Servers: []state.ServerName{"par1-s1", "par2-s1"}, Many: true,
		Sites: []state.SiteErasure{{Site: "par1", Objects: 12, Bytes: 345, Empty: at.Add(3 * time.Hour)}, {Site: "par2", Objects: 8, Bytes: 300, Empty: at.Add(4 * time.Hour)}},
		Done:  at.Add(4 * time.Hour)}
}

func issue(t *testing.T, by *identity.Credentials, at time.Time) []byte {
	t.Helper()
	c, err := Of(cluster, erased(), at)
	if err != nil {
		t.Fatal(err)
	}
	text, err := Sign(c, by.Sign)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestCertificate(t *testing.T) {
	a := authority(t, cluster)
	by := credentials(t, a, identity.Coordinator)
	s, err := Read(issue(t, by, time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	if name, err := s.Check(by.Authority()); err != nil || name != "par1-c" {
		t.Errorf("got %q, %v", name, err)
	}
	c := s.Certificate
	if objects, size := c.Totals(); objects != 20 || size != 645 || !slices.Equal(c.Repositories, []string{"shop", "shop~2"}) || c.By != "operator/olga" {
		t.Errorf("got %+v", c)
	}
	for _, words := range []string{"par1-s1, par2-s1 and others", "from before 2026-03-01T05:00:00Z", "thinned out by 2026-04-05", "audit trail", "logs and snapshots", "by other means"} {
		if !slices.ContainsFunc(c.Remains, func(r string) bool { return strings.Contains(r, words) }) {
			t.Errorf("it does not say %q: %q", words, c.Remains)
		}
	}
	nowhere := erased()
	nowhere.Servers, nowhere.Many = nil, false
	if c, err := Of(cluster, nowhere, time.Now()); err != nil || strings.Contains(strings.Join(c.Remains, " "), "homes") {
		t.Errorf("it never ran anywhere: %q, %v", c.Remains, err)
	}
	many := erased()
	for n := len(many.Repositories) + 1; len(many.Repositories) < state.MostErased; n++ {
		if c, err := Of(cluster, many, time.Now()); err != nil || strings.Contains(strings.Join(c.Remains, " "), "named here") {
			t.Fatalf("all of its %d repositories are named: %q, %v", len(many.Repositories), c.Remains, err)
		}
		many.Repositories = append(many.Repositories, fmt.Sprintf("shop~%d", n))
	}
	if c, err := Of(cluster, many, time.Now()); err != nil || !strings.Contains(strings.Join(c.Remains, " "), "no more than 64 of the account's repositories are named here") {
		t.Errorf("some of its repositories may not be named: %q, %v", c.Remains, err)
	}
}

func TestCertificate_ofCoordinatorsAlone(t *testing.T) {
	a := authority(t, cluster)
	good := credentials(t, a, identity.Coordinator)
	for _, c := range []struct {
		name string
		by   *identity.Credentials
		at   time.Time
		want string
	}{
		{"an operator", credentials(t, a, identity.Operator), time.Now(), "not by a coordinator"},
		{"a worker", credentials(t, a, identity.Worker), time.Now(), "not by a coordinator"},
		{"another root", credentials(t, authority(t, cluster), identity.Coordinator), time.Now(), "does not lead to the root"},
		{"another cluster", credentials(t, authority(t, "other"), identity.Coordinator), time.Now(), "does not lead to the root"},
		{"when its certificate was over", good, time.Now().Add(2 * time.Hour), "does not lead to the root"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := Read(issue(t, c.by, c.at))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Check(good.Authority()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// Every changed byte is found; and a coordinator's word on something else is no certificate.
func TestCertificate_findsEveryChange(t *testing.T) {
	by := credentials(t, authority(t, cluster), identity.Coordinator)
	text := issue(t, by, time.Now())
	for i := range text {
		for _, bit := range []byte{1, 4, 32, 128} {
			changed := bytes.Clone(text)
			changed[i] ^= bit
			s, err := Read(changed)
			if err == nil {
				_, err = s.Check(by.Authority())
			}
			if err == nil {
				t.Fatalf("byte %d, bit %d: the change was not found", i, bit)
			}
		}
	}
	for name, changed := range map[string][]byte{"cut": text[:len(text)-1], "longer": append(bytes.Clone(text), '\n'), "empty": nil, "huge": make([]byte, longest+1), "no signature": []byte(`{"certificate":{}}`)} {
		if _, err := Read(changed); err == nil {
			t.Errorf("%s: it is read", name)
		}
	}
	word, err := audit.Sign(audit.Checkpoint{Cluster: cluster, Incarnation: 1, Seq: 1, At: time.Now()}, by.Sign)
	if err != nil {
		t.Fatal(err)
	}
	checkpoint, err := audit.ReadCheckpoint(word)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Read(text)
	if err != nil {
		t.Fatal(err)
	}
	// The same bytes under another name of the kind.
	proof, err := kindOfCheckpoint.Sign(s.Certificate, by.Sign)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []Signed{{s.Certificate, checkpoint.Proof}, {s.Certificate, proof}} {
		if _, err := p.Check(by.Authority()); err == nil {
			t.Error("what was signed as a checkpoint is taken for a certificate")
		}
	}
}

const kindOfCheckpoint signed.Kind = "drp audit checkpoint 1\n"

func TestOf_missing(t *testing.T) {
	waiting := &state.Erasure{Account: "shop"}
	if _, err := Of(cluster, waiting, time.Now()); err == nil || !strings.Contains(err.Error(), "has not begun") {
		t.Errorf("got %v", err)
	}
	e := erased()
	at := e.Begun
	e.Done = time.Time{}
	for _, c := range []struct {
		site state.SiteErasure
		want string
	}{
		{state.SiteErasure{}, "its worker has not answered yet"},
		{state.SiteErasure{Heard: at, Until: at.Add(time.Hour)}, "its grace is over at 2026-03-01T06:00:00Z"},
		{state.SiteErasure{Heard: at, Objects: 7}, "7 objects erased so far"},
		{state.SiteErasure{Heard: at, Objects: 7, Error: "the store is full"}, "the store is full"},
		{state.SiteErasure{Heard: at}, "its worker has begun"},
	} {
		c.site.Site = "par2"
		e.Sites[1] = c.site
		if _, err := Of(cluster, e, time.Now()); err == nil || !strings.HasSuffix(err.Error(), "not erased everywhere yet: site par2: "+c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

// Whatever a file holds, it is refused, or it is in the one form that there is.
func FuzzRead(f *testing.F) {
	c, err := Of(cluster, erased(), time.Unix(1, 0))
	if err != nil {
		f.Fatal(err)
	}
	text, err := Sign(c, func([]byte) ([][]byte, []byte, error) {
		return [][]byte{[]byte("certificate")}, []byte("signature"), nil
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"certificate":{"cluster":"c","account":"a"},"chain":null,"signature":null}` + "\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Read(text)
		if err != nil {
			return
		}
		if again, err := signed.Encode(s); err != nil || !bytes.Equal(again, text) {
			t.Errorf("got %q, %v", again, err)
		}
		if _, err := s.Check(x509.NewCertPool()); err == nil {
			t.Error("somebody vouches for it")
		}
	})
}
