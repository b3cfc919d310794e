package identity

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"net/url"
	"testing"
	"time"
)

// signed makes a certificate as nothing of ours would, by an authority's key or by a stolen one.
func signed(t *testing.T, parent *x509.Certificate, by *ecdsa.PrivateKey, change func(*x509.Certificate)) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	serial, err := newSerial()
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "coordinator/a"},
		URIs:      []*url.URL{{Scheme: "drp", Host: "cluster-a", Path: "/coordinator/a"}},
		NotBefore: time.Now().Add(-backdate), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	change(template)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c, key
}

// What somebody can make of a stolen leaf's key, of an issuing authority that has ended, or of names that read like others,
// is refused by a server, by a client, and where a certificate is passed on.
func TestCredentials_Forged(t *testing.T) {
	root, err := NewAuthority("cluster-a")
	if err != nil {
		t.Fatal(err)
	}
	issuing, err := root.NewIssuing()
	if err != nil {
		t.Fatal(err)
	}
	plain := func(*x509.Certificate) {}
	authority := func(c *x509.Certificate) {
		c.IsCA, c.KeyUsage, c.ExtKeyUsage = true, x509.KeyUsageCertSign, nil
		c.URIs = []*url.URL{{Scheme: "drp", Host: "cluster-a", Path: "/authority"}}
	}
	named := func(uris ...string) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			c.URIs = nil
			for _, text := range uris {
				u, err := url.Parse(text)
				if err != nil {
					t.Fatal(err)
				}
				c.URIs = append(c.URIs, u)
			}
		}
	}
	type shown struct {
		chain []*x509.Certificate
		key   *ecdsa.PrivateKey
	}
	below := func(change func(*x509.Certificate)) shown {
		c, key := signed(t, issuing.certificate, issuing.key, change)
		return shown{[]*x509.Certificate{c, issuing.certificate}, key}
	}
	under := func(change func(*x509.Certificate)) shown { // an authority of this kind below the issuing one
		middle, middleKey := signed(t, issuing.certificate, issuing.key, change)
		c, key := signed(t, middle, middleKey, plain)
		return shown{[]*x509.Certificate{c, middle, issuing.certificate}, key}
	}
	ended, endedKey := signed(t, root.certificate, root.key, func(c *x509.Certificate) {
		authority(c)
		c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Minute)
	})
	late, lateKey := signed(t, ended, endedKey, plain)

	good, goodKey, err := issuing.Issue(Coordinator, "a", nil, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := New(good, goodKey, root.CertificatePEM())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		shown
		asServer bool // it is good for a server, and so only refused as a client
		good     bool
	}{
		"a good one":                                {below(plain), false, true},
		"signed with a stolen leaf":                 {under(plain), false, false},
		"signed by an authority of the issuing one": {under(authority), false, false},
		"signed by an authority that has ended":     {shown{[]*x509.Certificate{late, ended}, lateKey}, false, false},
		"without what it is for":                    {below(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} }), false, false},
		"only for servers":                          {below(func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] }), true, false},
		"of two holders":                            {below(named("drp://cluster-a/agent/a", "drp://cluster-a/coordinator/a")), false, false},
		"of another cluster":                        {below(named("drp://cluster-b/coordinator/a")), false, false},
		"of another case":                           {below(named("drp://cluster-a/Coordinator/a")), false, false},
		"without a name":                            {below(named("drp://cluster-a/coordinator/")), false, false},
		"of another scheme":                         {below(named("https://cluster-a/coordinator/a")), false, false},
		"an agent that is called like a role":       {below(named("drp://cluster-a/agent/../coordinator/a")), false, false},
		"an agent with a coded slash":               {below(named("drp://cluster-a/agent%2Fx/coordinator/a")), false, false},
		"the issuing authority itself":              {shown{[]*x509.Certificate{issuing.certificate}, issuing.key}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			pair := tls.Certificate{PrivateKey: c.key}
			var chain []byte
			for _, x := range c.chain {
				pair.Certificate = append(pair.Certificate, x.Raw)
				chain = append(chain, encodeCertificate(x.Raw)...)
			}
			client := &tls.Config{InsecureSkipVerify: true, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }}
			if err := meet(t, ours.Server(Coordinator), client); (err == nil) != c.good {
				t.Errorf("as a client: got %v", err)
			}
			server := &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAnyClientCert}
			if err := meet(t, server, ours.Client(Coordinator)); (err == nil) != (c.good || c.asServer) {
				t.Errorf("as a server: got %v", err)
			}
			if _, id, err := ours.VerifyLeaf(chain); (err == nil && id.Role == Coordinator) != (c.good || c.asServer) {
				t.Errorf("passed on: got %v, %v", id, err)
			}
			if _, err := ours.VerifySignature(pair.Certificate, []byte("x"), nil, time.Now()); err == nil {
				t.Error("a signature that is none was verified")
			}
		})
	}
}

// meet shakes hands, and says why either side does not want the other.
func meet(t *testing.T, server, client *tls.Config) error {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	done := make(chan error, 1)
	go func() {
		err := tls.Server(a, server).HandshakeContext(t.Context())
		_ = a.SetDeadline(time.Now()) // the other side must not wait for more
		done <- err
	}()
	err := tls.Client(b, client).HandshakeContext(t.Context())
	_ = b.Close()
	if other := <-done; other != nil {
		return other
	}
	return err
}
