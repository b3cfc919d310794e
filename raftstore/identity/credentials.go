package identity

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"slices"
)

// Files are the paths of a process's credentials.
type Files struct {
	Certificate string `yaml:"certificate" json:"certificate"`
	Key         string `yaml:"key" json:"key"`
	Authority   string `yaml:"authority" json:"authority"`
}

// Credentials are a process's own certificate and the authority that it trusts.
type Credentials struct {
	certificate tls.Certificate
	authority   *x509.CertPool
	identity    Identity
}

// Load reads credentials from files.
func Load(f Files) (*Credentials, error) {
	cert, err := os.ReadFile(f.Certificate)
	if err != nil {
		return nil, fmt.Errorf("load certificate: %w", err)
	}
	key, err := os.ReadFile(f.Key)
	if err != nil {
		return nil, fmt.Errorf("load key: %w", err)
	}
	ca, err := os.ReadFile(f.Authority)
	if err != nil {
		return nil, fmt.Errorf("load authority: %w", err)
	}
	c, err := New(cert, key, ca)
	if err != nil {
		return nil, fmt.Errorf("load credentials %s: %w", f.Certificate, err)
	}
	return c, nil
}

// New makes credentials from PEM.
func New(certPEM, keyPEM, authorityPEM []byte) (*Credentials, error) {
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("read certificate and key: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authorityPEM) {
		return nil, fmt.Errorf("read authority: no PEM certificate in it")
	}
	id, err := ofCertificate(pair.Leaf)
	if err != nil {
		return nil, err
	}
	return &Credentials{certificate: pair, authority: pool, identity: id}, nil
}

// Identity is who these credentials say we are.
func (c *Credentials) Identity() Identity { return c.identity }

// Authority is the pool that peers have to chain to.
func (c *Credentials) Authority() *x509.CertPool { return c.authority }

// Server requires a client certificate of our cluster with one of these roles.
func (c *Credentials) Server(allow ...Role) *tls.Config {
	return c.server(tls.RequireAndVerifyClientCert, allow)
}

// ServerOptional lets a client without a certificate through: it shows a token instead. One that shows a
// certificate is held to it.
func (c *Credentials) ServerOptional(allow ...Role) *tls.Config {
	return c.server(tls.VerifyClientCertIfGiven, allow)
}

func (c *Credentials) server(auth tls.ClientAuthType, allow []Role) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{c.certificate},
		ClientAuth:   auth,
		ClientCAs:    c.authority,
		NextProtos:   []string{"h2", "http/1.1"},
		VerifyConnection: func(cs tls.ConnectionState) error {
			if len(cs.PeerCertificates) == 0 {
				return nil // only possible with VerifyClientCertIfGiven
			}
			return c.judge(cs.PeerCertificates[0], allow)
		},
	}
}

// Client trusts a peer by authority, cluster and role. Host names are not compared: coordinators move, and the
// role in the certificate says more than an address does.
func (c *Credentials) Client(expect ...Role) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{c.certificate},
		NextProtos:   []string{"h2", "http/1.1"},
		// The standard check would compare host names; VerifyConnection below does all the rest of it.
		InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			if len(cs.PeerCertificates) == 0 {
				return fmt.Errorf("verify server: no certificate: %w", ErrRefused)
			}
			intermediates := x509.NewCertPool()
			for _, ic := range cs.PeerCertificates[1:] {
				intermediates.AddCert(ic)
			}
			_, err := cs.PeerCertificates[0].Verify(x509.VerifyOptions{
				Roots: c.authority, Intermediates: intermediates,
				KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
			})
			if err != nil {
				return fmt.Errorf("verify server: %w", err)
			}
			return c.judge(cs.PeerCertificates[0], expect)
		},
	}
}

func (c *Credentials) judge(peer *x509.Certificate, allow []Role) error {
	id, err := ofCertificate(peer)
	if err != nil {
		return err
	}
	if id.Cluster != c.identity.Cluster {
		return fmt.Errorf("verify peer %s: it belongs to cluster %s, we to %s: %w", id, id.Cluster, c.identity.Cluster, ErrRefused)
	}
	if !slices.Contains(allow, id.Role) {
		return fmt.Errorf("verify peer %s: its role is not among %v: %w", id, allow, ErrRefused)
	}
	return nil
}
