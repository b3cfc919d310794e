package certificates_test

import (
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"drp/orchestrator"
	"drp/orchestrator/certificates"
	"drp/orchestrator/certificates/certificatestest"
	"drp/raftstore/identity"
	"drp/raftstore/state"
)

type rig struct {
	*certificates.Registrar
	platform *certificatestest.Platform
	mu       sync.Mutex
	now      time.Time
}

func newRig(t *testing.T) *rig {
	t.Helper()
	p, err := certificatestest.New("a")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{platform: p, now: time.Now()}
	r.Registrar = p.Registrar("a", r.credentials(t, identity.Coordinator, "a"))
	r.Clock = func() time.Time {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.now
	}
	return r
}

func (r *rig) credentials(t *testing.T, role identity.Role, name string) *identity.Credentials {
	t.Helper()
	chain, key, err := r.platform.Issuing.Issue(role, name, nil, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	c, err := identity.New(chain, key, r.platform.Root.CertificatePEM())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (r *rig) after(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = r.now.Add(d)
}

func (r *rig) token(t *testing.T, role identity.Role, holder string, hosts ...string) string {
	t.Helper()
	q := certificates.EnrolmentRequest{Role: role, Holder: holder, Hosts: hosts}
	if role == identity.Coordinator {
		q.Site = "par1"
	}
	got, err := r.CreateEnrolment(t.Context(), "operator/ada", q)
	if err != nil {
		t.Fatal(err)
	}
	return got.Token
}

func request(t *testing.T) string {
	t.Helper()
	request, _, err := identity.NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	return string(request)
}

func leaf(t *testing.T, chain string) *x509.Certificate {
	t.Helper()
	certs, err := identity.DecodeCertificates([]byte(chain))
	if err != nil {
		t.Fatal(err)
	}
	return certs[0]
}

// refused wants an error that says so in these words.
func refused(t *testing.T, err error, want error, words string) {
	t.Helper()
	if !errors.Is(err, want) || !strings.Contains(err.Error(), words) {
		t.Errorf("got %v, want %v with the words %q", err, want, words)
	}
}

func TestRegistrar_Enrol(t *testing.T) {
	r := newRig(t)
	token := r.token(t, identity.Gateway, "par1", "2001:db8::30", "gw.example.org")
	q := certificates.EnrolRequest{Token: token, Role: identity.Gateway, Request: request(t)}
	joined, err := r.Enrol(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	c, id, err := r.Credentials.VerifyLeaf([]byte(joined.Certificate))
	if err != nil || id.String() != "gateway/par1" || id.Cluster != certificatestest.Cluster {
		t.Fatalf("got %v, %v, want gateway/par1 of the cluster", id, err)
	}
	if life := c.NotAfter.Sub(identity.IssuedAt(c)); life > 30*24*time.Hour+time.Second {
		t.Errorf("got a certificate for %s, want 30 days at most", life)
	}
	if len(c.IPAddresses) != 1 || !slices.Equal(c.DNSNames, []string{"gw.example.org"}) {
		t.Errorf("got hosts %v and %v, want those of the token", c.IPAddresses, c.DNSNames)
	}
	rows := r.Store.View().CertificatesOf("gateway", "par1")
	if len(rows) != 1 || rows[0].Serial != identity.SerialOf(c) {
		t.Fatalf("got rows %v, want the certificate in the state", rows)
	}
	if e := r.Store.View().Enrolments(); len(e) != 1 || e[0].UsedAt.IsZero() {
		t.Errorf("got %v, want the token used up", e)
	}

	t.Run("again with the same key", func(t *testing.T) {
		again, err := r.Enrol(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		d := leaf(t, again.Certificate)
		if identity.SerialOf(d) != identity.SerialOf(c) || !d.NotAfter.Equal(c.NotAfter) {
			t.Errorf("got another certificate, want the same one again")
		}
		if n := len(r.Store.View().Certificates()); n != 1 {
			t.Errorf("got %d certificates in the state, want 1", n)
		}
	})
	t.Run("again with another key", func(t *testing.T) {
		other := q
		other.Request = request(t)
		_, err := r.Enrol(t.Context(), other)
		refused(t, err, orchestrator.ErrRefused, "used already")
	})
	t.Run("again after it was revoked", func(t *testing.T) {
		r.after(time.Minute)
		if err := r.Revoke(t.Context(), "operator/ada", certificates.RevokeRequest{Role: identity.Gateway, Holder: "par1"}); err != nil {
			t.Fatal(err)
		}
		_, err := r.Enrol(t.Context(), q)
		refused(t, err, orchestrator.ErrRefused, "revoked")
	})
}

func TestRegistrar_EnrolRefuses(t *testing.T) {
	r := newRig(t)
	join := func(token string, role identity.Role) error {
		_, err := r.Enrol(t.Context(), certificates.EnrolRequest{Token: token, Role: role, Request: request(t)})
		return err
	}
	refused(t, join("drpe_wrong", identity.Agent), orchestrator.ErrRefused, "not known here")
	refused(t, join("", identity.Agent), orchestrator.ErrRefused, "not known here")
	token := r.token(t, identity.Agent, "par1-s1")
	refused(t, join(token, identity.Coordinator), orchestrator.ErrRefused, "for agent/par1-s1")
	refused(t, join(token, identity.Operator), orchestrator.ErrRefused, "for agent/par1-s1")
	_, err := r.Enrol(t.Context(), certificates.EnrolRequest{Token: token, Role: identity.Agent, Request: "no request"})
	refused(t, err, state.ErrInvalid, "certificate request")
	r.after(15 * time.Minute)
	refused(t, join(token, identity.Agent), orchestrator.ErrRefused, "expired")
	if n := len(r.Store.View().Certificates()); n != 0 {
		t.Errorf("got %d certificates, want none", n)
	}
	r.platform.Store.Elect("b")
	if err := join(token, identity.Agent); !errors.Is(err, orchestrator.ErrNotLeader) {
		t.Errorf("got %v from a follower, want %v", err, orchestrator.ErrNotLeader)
	}
}

// A token lets one in, however many come with it at once.
func TestRegistrar_EnrolAtOnce(t *testing.T) {
	r := newRig(t)
	token := r.token(t, identity.Agent, "par1-s1")
	var requests []string
	for range 8 {
		requests = append(requests, request(t))
	}
	var group sync.WaitGroup
	let := make(chan string, len(requests))
	for _, q := range requests {
		group.Go(func() {
			if _, err := r.Enrol(t.Context(), certificates.EnrolRequest{Token: token, Role: identity.Agent, Request: q}); err == nil {
				let <- q
			}
		})
	}
	group.Wait()
	if got := len(let); got != 1 {
		t.Errorf("got %d certificates of one token, want 1", got)
	}
	if n := len(r.Store.View().Certificates()); n != 1 {
		t.Errorf("got %d certificates in the state, want 1", n)
	}
}

// The certificate is committed before it is handed out: when nobody knows whether it was, it is not handed out, and
// asking again gets it.
func TestRegistrar_EnrolOutcomeUnknown(t *testing.T) {
	r := newRig(t)
	q := certificates.EnrolRequest{Token: r.token(t, identity.Agent, "par1-s1"), Role: identity.Agent, Request: request(t)}
	r.platform.Store.LoseReply()
	joined, err := r.Enrol(t.Context(), q)
	if !errors.Is(err, orchestrator.ErrUnknownOutcome) || joined != nil {
		t.Fatalf("got %v, %v, want no certificate and %v", joined, err, orchestrator.ErrUnknownOutcome)
	}
	if _, err = r.Enrol(t.Context(), q); err != nil {
		t.Errorf("the second time: %v", err)
	}
}

func TestRegistrar_Renew(t *testing.T) {
	r := newRig(t)
	first, err := r.Enrol(t.Context(), certificates.EnrolRequest{Token: r.token(t, identity.Gateway, "par1", "::1"), Role: identity.Gateway, Request: request(t)})
	if err != nil {
		t.Fatal(err)
	}
	renew := func(by, present string) (*certificates.Renewed, error) {
		return r.Renew(t.Context(), by, certificates.RenewRequest{Request: request(t), Present: present})
	}
	next, err := renew("gateway/par1", first.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	c, id, err := r.Credentials.VerifyLeaf([]byte(next.Certificate))
	if err != nil || id.String() != "gateway/par1" || len(c.IPAddresses) != 1 || identity.SerialOf(c) == identity.SerialOf(leaf(t, first.Certificate)) {
		t.Errorf("got %v %v, %v, want the next certificate of gateway/par1, with its host", id, c.IPAddresses, err)
	}
	for by, words := range map[string]string{
		"gateway/par2": "is of gateway/par1", "agent/par1": "is of gateway/par1", "operator/token/ci": "is of gateway/par1", "operator/unix/root": "is of gateway/par1",
	} {
		_, err := renew(by, first.Certificate)
		refused(t, err, orchestrator.ErrRefused, words)
	}
	other, err := identity.NewAuthority(certificatestest.Cluster)
	if err != nil {
		t.Fatal(err)
	}
	forged, _, err := other.Issue(identity.Gateway, "par1", nil, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	_, err = renew("gateway/par1", string(forged))
	refused(t, err, orchestrator.ErrRefused, "unknown authority")

	t.Run("revoked by serial", func(t *testing.T) {
		serial := identity.SerialOf(leaf(t, first.Certificate))
		if err := r.Revoke(t.Context(), "operator/ada", certificates.RevokeRequest{Role: identity.Gateway, Holder: "par1", Serial: serial}); err != nil {
			t.Fatal(err)
		}
		_, err := renew("gateway/par1", first.Certificate)
		refused(t, err, orchestrator.ErrRefused, "revoked")
		if _, err := renew("gateway/par1", next.Certificate); err != nil {
			t.Errorf("the other one: %v", err)
		}
	})
	t.Run("again and again", func(t *testing.T) {
		var err error
		for range 30 {
			if _, err = renew("gateway/par1", next.Certificate); err != nil {
				break
			}
		}
		refused(t, err, orchestrator.ErrRefused, "certificates that are good")
	})
}

// Who was revoked can be let in again at once, also within the same second.
func TestRegistrar_EnrolAfterRevocation(t *testing.T) {
	r := newRig(t)
	join := func() *x509.Certificate {
		joined, err := r.Enrol(t.Context(), certificates.EnrolRequest{Token: r.token(t, identity.Agent, "par1-s1"), Role: identity.Agent, Request: request(t)})
		if err != nil {
			t.Fatal(err)
		}
		return leaf(t, joined.Certificate)
	}
	list := orchestrator.NewRevoked(r.Store.View)
	old := join()
	if err := list.Check(old); err != nil {
		t.Fatal(err)
	}
	r.after(time.Millisecond)
	if err := r.Revoke(t.Context(), "operator/ada", certificates.RevokeRequest{Role: identity.Agent, Holder: "par1-s1"}); err != nil {
		t.Fatal(err)
	}
	r.after(time.Millisecond)
	next := join()
	if err := list.Check(old); !errors.Is(err, identity.ErrRevoked) {
		t.Errorf("the old one: got %v, want %v", err, identity.ErrRevoked)
	}
	if err := list.Check(next); err != nil {
		t.Errorf("the next one: %v", err)
	}
	if entries, err := r.List(t.Context()); err != nil || len(entries) != 2 || entries[0].Revoked == entries[1].Revoked {
		t.Errorf("got %v, %v, want one of two revoked", entries, err)
	}
}

// Who was let in again within the second of its revocation, and lost the answer, asks again and gets it.
func TestRegistrar_EnrolAfterRevocationAgain(t *testing.T) {
	r := newRig(t)
	join := func(q certificates.EnrolRequest) *x509.Certificate {
		joined, err := r.Enrol(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		return leaf(t, joined.Certificate)
	}
	join(certificates.EnrolRequest{Token: r.token(t, identity.Agent, "par1-s1"), Role: identity.Agent, Request: request(t)})
	if err := r.Revoke(t.Context(), "operator/ada", certificates.RevokeRequest{Role: identity.Agent, Holder: "par1-s1"}); err != nil {
		t.Fatal(err)
	}
	q := certificates.EnrolRequest{Token: r.token(t, identity.Agent, "par1-s1"), Role: identity.Agent, Request: request(t)}
	first := join(q)
	if again := join(q); !again.NotBefore.Equal(first.NotBefore) || identity.SerialOf(again) != identity.SerialOf(first) {
		t.Errorf("got another certificate the second time")
	}
}

// The leader that issued had a clock that was ahead, and the one that revokes has not.
func TestRegistrar_RevokeIssuedByAClockAhead(t *testing.T) {
	r := newRig(t)
	r.after(10 * time.Minute)
	joined, err := r.Enrol(t.Context(), certificates.EnrolRequest{Token: r.token(t, identity.Agent, "par1-s1"), Role: identity.Agent, Request: request(t)})
	if err != nil {
		t.Fatal(err)
	}
	r.after(-10 * time.Minute)
	if err := r.Revoke(t.Context(), "operator/ada", certificates.RevokeRequest{Role: identity.Agent, Holder: "par1-s1"}); err != nil {
		t.Fatal(err)
	}
	if err := orchestrator.NewRevoked(r.Store.View).Check(leaf(t, joined.Certificate)); !errors.Is(err, identity.ErrRevoked) {
		t.Errorf("got %v, want %v", err, identity.ErrRevoked)
	}
}

// A recovery from an older export has lost the record of who was let in since. Their certificates are still good, so they
// can be revoked.
func TestRegistrar_RevokeAfterRecovery(t *testing.T) {
	r := newRig(t)
	q := certificates.RevokeRequest{Role: identity.Operator, Holder: "eve"}
	refused(t, r.Revoke(t.Context(), "operator/ada", q), state.ErrNotFound, "nothing of that name")
	if err := r.platform.Store.Command(state.ClusterRecover, state.ClusterRecoverData{UUID: certificatestest.Cluster, Incarnation: 2, How: state.RecoveredExport}); err != nil {
		t.Fatal(err)
	}
	stolen := r.credentials(t, identity.Operator, "eve")
	for _, q := range []certificates.RevokeRequest{{Role: identity.Operator, Holder: "eve", Serial: identity.SerialOf(stolen.Certificate())}, q} {
		if err := r.Revoke(t.Context(), "operator/ada", q); err != nil {
			t.Errorf("%+v: %v", q, err)
		}
	}
}

func TestRegistrar_RevokeRefuses(t *testing.T) {
	r := newRig(t)
	revoke := func(by string, role identity.Role, holder string) error {
		return r.Revoke(t.Context(), by, certificates.RevokeRequest{Role: role, Holder: holder, Reason: "test"})
	}
	refused(t, revoke("operator/ada", identity.Agent, "par1-s9"), state.ErrNotFound, "nothing of that name")
	refused(t, revoke("operator/ada", identity.Coordinator, "a"), orchestrator.ErrRefused, "it leads")
	refused(t, revoke("operator/ada", "root", "a"), state.ErrInvalid, "no role")
	err := r.Revoke(t.Context(), "operator/ada", certificates.RevokeRequest{Role: identity.Agent, Holder: "par1-s9", Serial: "abc"})
	refused(t, err, state.ErrNotFound, "no certificate with serial abc")
	if err := revoke("operator/ada", identity.Coordinator, "b"); err != nil {
		t.Fatal(err)
	}
	refused(t, revoke("operator/ada", identity.Coordinator, "c"), orchestrator.ErrRefused, "only a would still talk")
	r.Voters = func() []string { return []string{"a"} }
	refused(t, revoke("operator/ada", identity.Coordinator, "a"), orchestrator.ErrRefused, "the last coordinator")
	if _, err := r.Enrol(t.Context(), certificates.EnrolRequest{Token: r.token(t, identity.Operator, "ada"), Role: identity.Operator, Request: request(t)}); err != nil {
		t.Fatal(err)
	}
	refused(t, revoke("operator/ada", identity.Operator, "ada"), orchestrator.ErrRefused, "your own certificate")
	if err := r.Revoke(t.Context(), "operator/ada", certificates.RevokeRequest{Role: identity.Operator, Holder: "ada", Myself: true}); err != nil {
		t.Errorf("with the caller's word: %v", err)
	}
}

func TestRegistrar_CreateEnrolmentRefuses(t *testing.T) {
	r := newRig(t)
	for words, q := range map[string]certificates.EnrolmentRequest{
		"no role":       {Role: "root", Holder: "x"},
		"is no name":    {Role: identity.Agent, Holder: "token/ci"},
		"--host":        {Role: identity.Gateway, Holder: "par1"},
		"neither a":     {Role: identity.Agent, Holder: "x", Hosts: []string{"a b"}},
		"--site":        {Role: identity.Coordinator, Holder: "d"},
		"name of its s": {Role: identity.Worker, Holder: "gw", Site: "par1"},
	} {
		_, err := r.CreateEnrolment(t.Context(), "operator/ada", q)
		refused(t, err, state.ErrInvalid, words)
	}
}

// A coordinator is told of the others, and is not one of them yet: that is for drp raft join to say.
func TestRegistrar_Coordinator(t *testing.T) {
	r := newRig(t)
	joined, err := r.Enrol(t.Context(), certificates.EnrolRequest{Token: r.token(t, identity.Coordinator, "d"), Role: identity.Coordinator, Request: request(t)})
	if err != nil {
		t.Fatal(err)
	}
	if len(joined.Others) != 1 || joined.Others[0].Name != "a" || joined.Site != "par1" {
		t.Errorf("got others %v at site %q, want a, and its own site par1", joined.Others, joined.Site)
	}
	if m := r.Store.View().Member("d"); m != nil {
		t.Errorf("it is recorded as a member already: %v", m)
	}
}

// A file that was written for a newcomer must not make a coordinator that is gone an offline recipient, for which its
// configuration would then speak: the keyring says who those are.
func TestRegistrar_CoordinatorRecipients(t *testing.T) {
	r := newRig(t)
	r.Registrar.Recipients = func() []string { return []string{"age1gone", "age1offline"} } // of the time before the removal
	if err := r.platform.Store.Command(state.KeyringSet, state.KeyringSetData{Key: state.Key{
		ID: "k", Recipient: "age1k", Sealed: []byte("x"), Recipients: []string{"age1a", "age1offline"}, Offline: []string{"age1offline"}}}); err != nil {
		t.Fatal(err)
	}
	joined, err := r.Enrol(t.Context(), certificates.EnrolRequest{Token: r.token(t, identity.Coordinator, "d"), Role: identity.Coordinator, Request: request(t)})
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(joined.Recipients, "age1gone") || !slices.Contains(joined.Recipients, "age1offline") {
		t.Errorf("got recipients %v, want the offline one and not the one that is gone", joined.Recipients)
	}
}

func TestRegistrar_SetIssuer(t *testing.T) {
	r := newRig(t)
	next := func(root *identity.Authority) certificates.IssuingAuthority {
		key, err := r.NewIssuerKey(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		certificate, err := root.SignIssuing([]byte(key.Request))
		if err != nil {
			t.Fatal(err)
		}
		return certificates.IssuingAuthority{Certificate: string(certificate), SealedKey: key.SealedKey}
	}
	other, err := identity.NewAuthority(certificatestest.Cluster)
	if err != nil {
		t.Fatal(err)
	}
	refused(t, r.SetIssuer(t.Context(), "operator/ada", next(other)), orchestrator.ErrRefused, "not signed by the root")
	mixed := next(r.platform.Root)
	mixed.Certificate = next(r.platform.Root).Certificate
	refused(t, r.SetIssuer(t.Context(), "operator/ada", mixed), state.ErrInvalid, "another certificate")
	rootKey, err := r.platform.Root.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	sealed, _ := certificatestest.Sealer{}.Seal(rootKey)
	refused(t, r.SetIssuer(t.Context(), "operator/ada", certificates.IssuingAuthority{Certificate: string(r.platform.Root.CertificatePEM()), SealedKey: sealed}),
		orchestrator.ErrRefused, "further authorities")

	good := next(r.platform.Root)
	if err := r.SetIssuer(t.Context(), "operator/ada", good); err != nil {
		t.Fatal(err)
	}
	if got := string(r.Store.View().Issuer().Certificate); got != good.Certificate {
		t.Error("the state has another issuing authority")
	}
	joined, err := r.Enrol(t.Context(), certificates.EnrolRequest{Token: r.token(t, identity.Agent, "s1"), Role: identity.Agent, Request: request(t)})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(joined.Certificate, good.Certificate) {
		t.Error("the chain does not end with the new issuing authority")
	}
	if _, _, err := r.Credentials.VerifyLeaf([]byte(joined.Certificate)); err != nil {
		t.Error(err)
	}

	// Back to the one before, and forth again: each is a change of its own, and not a retry of the first.
	before := next(r.platform.Root)
	for _, i := range []certificates.IssuingAuthority{before, good, before} {
		if err := r.SetIssuer(t.Context(), "operator/ada", i); err != nil {
			t.Fatal(err)
		}
		if got := string(r.Store.View().Issuer().Certificate); got != i.Certificate {
			t.Error("the change was acknowledged, and the state has another issuing authority")
		}
	}
}
