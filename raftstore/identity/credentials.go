package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ErrExpired means that a certificate is not good at this time, or this machine's clock is wrong.
var ErrExpired = errors.New("certificate not valid at this time")

// Credentials are a process's own certificate and the authority that it trusts. A certificate that is renewed on the
// disk is shown from the next connection on.
type Credentials struct {
	files        Files // none: these were made in memory
	authority    *x509.CertPool
	authorityPEM []byte
	revoked      atomic.Pointer[func(*x509.Certificate) error]
	log          atomic.Pointer[slog.Logger]

	listing sync.Mutex
	list    Revocations // that was sent

	current atomic.Pointer[loaded]
	mu      sync.Mutex // over one reading of the files
	tried   stamp      // what was read last, well or not
}

// loaded is one version of a certificate.
type loaded struct {
	pair     tls.Certificate
	identity Identity
}

// Load reads credentials from files.
func Load(f Files) (*Credentials, error) {
	seen, err := f.stamp() // before they are read: what changes meanwhile is read again
	if err != nil {
		return nil, fmt.Errorf("load certificate: %w", err)
	}
	cert, key, authority, err := f.Read()
	if err != nil {
		return nil, err
	}
	c, err := New(cert, key, authority)
	if err != nil {
		return nil, fmt.Errorf("load credentials %s: %w", f.Certificate, err)
	}
	c.files, c.tried = f, seen
	if c.list, err = f.loadRevocations(); err != nil {
		return nil, err
	}
	if len(c.list) > 0 {
		c.SetRevoked(c.list.Check)
	}
	return c, nil
}

// New makes credentials from PEM.
func New(certPEM, keyPEM, authorityPEM []byte) (*Credentials, error) {
	pool, _, err := readRoots(authorityPEM)
	if err != nil {
		return nil, err
	}
	l, err := readPair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	c := &Credentials{authority: pool, authorityPEM: authorityPEM}
	c.current.Store(l)
	return c, nil
}

func readPair(certPEM, keyPEM []byte) (*loaded, error) {
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("read certificate and key: %w", err)
	}
	id, err := ofCertificate(pair.Leaf)
	if err != nil {
		return nil, err
	}
	return &loaded{pair: pair, identity: id}, nil
}

// readRoots reads the authorities that a machine trusts, all of one cluster. There are two while a lost root is replaced.
func readRoots(authorityPEM []byte) (pool *x509.CertPool, cluster string, err error) {
	certs, err := DecodeCertificates(authorityPEM)
	if err != nil {
		return nil, "", fmt.Errorf("read authority: %w", err)
	}
	pool = x509.NewCertPool()
	for _, c := range certs {
		a, err := readAuthority(c.Raw, nil)
		if err != nil {
			return nil, "", err
		}
		if cluster != "" && a.cluster != cluster {
			return nil, "", fmt.Errorf("read authority: it has certificates of cluster %s and of %s", cluster, a.cluster)
		}
		cluster = a.cluster
		pool.AddCert(c)
	}
	return pool, cluster, nil
}

// Identity is who these credentials say we are.
func (c *Credentials) Identity() Identity { return c.current.Load().identity }

// Certificate is our own as it is shown now. Nil: anonymous.
func (c *Credentials) Certificate() *x509.Certificate { return c.fresh().pair.Leaf }

// ChainPEM is our own certificate with what vouches for it, as it is shown.
func (c *Credentials) ChainPEM() []byte { return c.fresh().chainPEM() }

func (l *loaded) chainPEM() []byte {
	var chain []byte
	for _, der := range l.pair.Certificate {
		chain = append(chain, encodeCertificate(der)...)
	}
	return chain
}

// Authority is the pool that peers have to chain to.
func (c *Credentials) Authority() *x509.CertPool { return c.authority }

// AuthorityPEM is what a newcomer has to know to trust this platform.
func (c *Credentials) AuthorityPEM() []byte { return c.authorityPEM }

// Files are where these credentials were read. Empty: they live in memory alone.
func (c *Credentials) Files() Files { return c.files }

// SetLogger says where a renewed certificate, or one that cannot be read, is told of. Default slog.Default.
func (c *Credentials) SetLogger(log *slog.Logger) { c.log.Store(log) }

func (c *Credentials) logger() *slog.Logger {
	if log := c.log.Load(); log != nil {
		return log
	}
	return slog.Default()
}

// SetRevoked sets who says that a peer's certificate counts no more. It is called at each handshake and request, by
// many at once, and must not block.
func (c *Credentials) SetRevoked(check func(*x509.Certificate) error) { c.revoked.Store(&check) }

// SetRevocations takes over the list that the platform sent. What was on it stays on it, also over a restart: else whoever
// has a revoked coordinator's key could take itself off again.
func (c *Credentials) SetRevocations(next Revocations) {
	c.listing.Lock()
	defer c.listing.Unlock()
	all := c.list.with(next, time.Now())
	if slices.Equal(all, c.list) {
		return
	}
	c.list = all
	c.SetRevoked(all.Check)
	if c.files == (Files{}) {
		return
	}
	if err := c.files.saveRevocations(all); err != nil {
		c.logger().Error("revocations are known, but not on the disk", "error", err)
	}
}

// Check says why a peer's certificate counts no more: a connection outlives what it began with.
func (c *Credentials) Check(peer *x509.Certificate) error {
	if err := current(peer, time.Now()); err != nil {
		return fmt.Errorf("%w: %w", err, ErrRefused)
	}
	if check := c.revoked.Load(); check != nil {
		if err := (*check)(peer); err != nil {
			return fmt.Errorf("%w: %w", err, ErrRefused)
		}
	}
	return nil
}

// Usable says why our own certificate is no good at present. Nobody else says it as clearly: a peer only ends the handshake.
func (c *Credentials) Usable() error {
	l := c.fresh()
	if l.pair.Leaf == nil {
		return nil
	}
	if err := current(l.pair.Leaf, time.Now()); err != nil {
		return fmt.Errorf("our own certificate: %w: make a new token on any machine of the platform (drp ca enrol %s %s) "+
			"and join with it here (drp %s join --replace …), or set the clock", err, l.identity.Role, l.identity.Name, command(l.identity.Role))
	}
	return nil
}

func command(r Role) string {
	switch r {
	case Coordinator:
		return "server"
	case Support:
		return "operator"
	default:
		return string(r)
	}
}

func current(c *x509.Certificate, now time.Time) error {
	name := c.Subject.CommonName
	switch {
	case now.Before(c.NotBefore):
		return fmt.Errorf("the certificate of %s is good from %s on, and the clock here says %s: %w",
			name, c.NotBefore.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339), ErrExpired)
	case now.After(c.NotAfter):
		return fmt.Errorf("the certificate of %s has expired at %s, and the clock here says %s: %w",
			name, c.NotAfter.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339), ErrExpired)
	}
	return nil
}

// fresh returns the newest good version of our certificate. Where the disk has one that cannot be used, the old one
// stays, and that is told once.
func (c *Credentials) fresh() *loaded {
	if c.files == (Files{}) {
		return c.current.Load()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.current.Load()
	seen, err := c.files.stamp()
	if err == nil && seen == c.tried {
		return old
	}
	if err == nil {
		c.tried = seen
		var l *loaded
		if l, err = c.read(old); err == nil {
			if !l.pair.Leaf.Equal(old.pair.Leaf) {
				c.logger().Info("certificate was renewed", "certificate", c.files.Certificate, "good_until", l.pair.Leaf.NotAfter)
			}
			c.current.Store(l)
			return l
		}
	} else if c.tried == (stamp{}) {
		return old // told already
	} else {
		c.tried = stamp{}
	}
	c.logger().Error("certificate on the disk cannot be used; going on with the old one", "certificate", c.files.Certificate,
		"good_until", old.pair.Leaf.NotAfter, "error", err)
	return old
}

func (c *Credentials) read(old *loaded) (*loaded, error) {
	cert, key, _, err := c.files.Read()
	if err != nil {
		return nil, err
	}
	l, err := readPair(cert, key)
	if err != nil {
		return nil, err
	}
	if l.identity != old.identity {
		return nil, fmt.Errorf("it is for %s of cluster %s, and this process is %s of cluster %s: start it anew for that",
			l.identity, l.identity.Cluster, old.identity, old.identity.Cluster)
	}
	return l, nil
}

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
		MinVersion:     tls.VersionTLS13,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &c.fresh().pair, nil },
		ClientAuth:     auth,
		ClientCAs:      c.authority,
		NextProtos:     []string{"h2", "http/1.1"},
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
		MinVersion: tls.VersionTLS13,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if err := c.Usable(); err != nil {
				return nil, err
			}
			return &c.fresh().pair, nil
		},
		NextProtos: []string{"h2", "http/1.1"},
		// The standard check would compare host names; VerifyConnection below does all the rest of it.
		InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			if len(cs.PeerCertificates) == 0 {
				return fmt.Errorf("verify server: no certificate: %w", ErrRefused)
			}
			if err := c.verify(cs.PeerCertificates); err != nil {
				return fmt.Errorf("verify server: %w", err)
			}
			return c.judge(cs.PeerCertificates[0], expect)
		},
	}
}

func (c *Credentials) verify(chain []*x509.Certificate) error {
	intermediates := x509.NewCertPool()
	for _, ic := range chain[1:] {
		intermediates.AddCert(ic)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: c.authority, Intermediates: intermediates,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		if when := current(chain[0], time.Now()); when != nil {
			return when // with both times, so that a wrong clock shows
		}
	}
	return err
}

func (c *Credentials) judge(peer *x509.Certificate, allow []Role) error {
	id, err := ofCertificate(peer)
	if err != nil {
		return err
	}
	if ours := c.Identity().Cluster; id.Cluster != ours {
		return fmt.Errorf("verify peer %s: it belongs to cluster %s, we to %s: %w", id, id.Cluster, ours, ErrRefused)
	}
	if !slices.Contains(allow, id.Role) {
		return fmt.Errorf("verify peer %s: its role is not among %v: %w", id, allow, ErrRefused)
	}
	if err := c.Check(peer); err != nil {
		return fmt.Errorf("verify peer %s: %w", id, err)
	}
	return nil
}

// VerifyLeaf says whether a certificate that was passed on, and not shown in a handshake, is one of ours, and whose.
func (c *Credentials) VerifyLeaf(chainPEM []byte) (*x509.Certificate, Identity, error) {
	fail := func(err error) (*x509.Certificate, Identity, error) {
		return nil, Identity{}, fmt.Errorf("verify certificate: %w", err)
	}
	chain, err := DecodeCertificates(chainPEM)
	if err != nil {
		return fail(err)
	}
	if err := c.verify(chain); err != nil {
		return fail(err)
	}
	id, err := ofCertificate(chain[0])
	if err != nil {
		return fail(err)
	}
	if err := c.judge(chain[0], roles); err != nil {
		return fail(err)
	}
	return chain[0], id, nil
}

// VerifyIssuing says why a certificate is not that of an issuing authority under our root.
func (c *Credentials) VerifyIssuing(cert *x509.Certificate) error {
	a, err := readAuthority(cert.Raw, nil)
	if err != nil {
		return err
	}
	switch {
	case a.cluster != c.Identity().Cluster:
		return fmt.Errorf("it belongs to cluster %s, we to %s", a.cluster, c.Identity().Cluster)
	case !a.issuing || !cert.MaxPathLenZero:
		return errors.New("it could sign further authorities")
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: c.authority, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		return fmt.Errorf("it is not signed by the root that this coordinator trusts: %w", err)
	}
	return nil
}
