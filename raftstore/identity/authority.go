package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	rootValidity = 10 * 365 * 24 * time.Hour
	// IssuingValidity is how long an issuing authority may sign.
	IssuingValidity = 365 * 24 * time.Hour
	// MaxValidity is the longest that a process or a person may have a certificate for: a stolen key is worth no more.
	MaxValidity = 30 * 24 * time.Hour
	// backdate lets a certificate be good at once also where the issuer's clock is an hour ahead, and the other's one behind.
	backdate = 3 * time.Hour
)

// Authority signs the platform's certificates: the root, whose key lies in a safe and signs issuing authorities, or an
// issuing authority, whose key the coordinators hold sealed and which can sign no further authority.
type Authority struct {
	cluster     string
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	issuing     bool
}

// NewAuthority makes a root for one cluster.
func NewAuthority(cluster string) (*Authority, error) {
	key, err := newKey()
	if err != nil {
		return nil, fmt.Errorf("make authority key: %w", err)
	}
	template, err := authorityTemplate(cluster, "drp authority of "+cluster, rootValidity)
	if err != nil {
		return nil, err
	}
	template.MaxPathLen = 1
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("sign authority certificate: %w", err)
	}
	return readAuthority(der, key)
}

// NewIssuing makes an issuing authority under this root.
func (a *Authority) NewIssuing() (*Authority, error) {
	key, err := newKey()
	if err != nil {
		return nil, fmt.Errorf("make issuing authority key: %w", err)
	}
	der, err := a.signIssuing(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	return readAuthority(der, key)
}

// SignIssuing makes the certificate of an issuing authority from a request (PEM) for one, whose key stays where it is.
func (a *Authority) SignIssuing(requestPEM []byte) (certificatePEM []byte, err error) {
	request, err := readRequest(requestPEM)
	if err != nil {
		return nil, err
	}
	der, err := a.signIssuing(request.PublicKey)
	if err != nil {
		return nil, err
	}
	return encodeCertificate(der), nil
}

func (a *Authority) signIssuing(public any) ([]byte, error) {
	if a.issuing {
		return nil, errors.New("sign issuing authority: only the root signs one")
	}
	template, err := authorityTemplate(a.cluster, "drp issuing authority of "+a.cluster, IssuingValidity)
	if err != nil {
		return nil, err
	}
	template.MaxPathLenZero = true
	if template.NotAfter.After(a.certificate.NotAfter) {
		template.NotAfter = a.certificate.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, public, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign issuing authority: %w", err)
	}
	return der, nil
}

func authorityTemplate(cluster, title string, validity time.Duration) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: title},
		URIs:                  []*url.URL{{Scheme: "drp", Host: cluster, Path: "/authority"}},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(validity),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, nil
}

func readAuthority(der []byte, key *ecdsa.PrivateKey) (*Authority, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read authority certificate: %w", err)
	}
	if !cert.IsCA || len(cert.URIs) != 1 || cert.URIs[0].Scheme != "drp" {
		return nil, fmt.Errorf("read authority certificate: it is not a drp authority")
	}
	issuing := cert.CheckSignatureFrom(cert) != nil
	return &Authority{cluster: cert.URIs[0].Host, certificate: cert, key: key, issuing: issuing}, nil
}

// OpenAuthority reads an authority's certificate and its key, both PEM.
func OpenAuthority(certificatePEM, keyPEM []byte) (*Authority, error) {
	certs, err := DecodeCertificates(certificatePEM)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(keyPEM)
	if block == nil {
		return nil, errors.New("read authority key: no PEM in it")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read authority key: %w", err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("read authority key: it is %T, want ECDSA", parsed)
	}
	if !key.PublicKey.Equal(certs[0].PublicKey) {
		return nil, errors.New("read authority: the key belongs to another certificate")
	}
	return readAuthority(certs[0].Raw, key)
}

// Cluster is the UUID that every certificate of this authority carries.
func (a *Authority) Cluster() string { return a.cluster }

// Certificate is the authority's own.
func (a *Authority) Certificate() *x509.Certificate { return a.certificate }

// CertificatePEM is the authority's own certificate. Of a root it is what everybody has to know to trust it.
func (a *Authority) CertificatePEM() []byte { return encodeCertificate(a.certificate.Raw) }

// KeyPEM is the key. It leaves this process sealed, or not at all.
func (a *Authority) KeyPEM() ([]byte, error) { return encodeKey(a.key) }

// Leaf says what a certificate is made for.
type Leaf struct {
	Role  Role
	Name  string
	Hosts []string // DNS names and addresses, for peers that compare them (restic does)
	// Serial, Issued and NotAfter may be left out: drawn, now, and MaxValidity from Issued.
	Serial           *big.Int
	Issued, NotAfter time.Time
}

// Sign makes a certificate from a request, of which only the key counts: who it is for is said by leaf. The answer is
// the chain that its holder shows: the certificate, and that of an issuing authority.
func (a *Authority) Sign(requestPEM []byte, leaf Leaf) (chainPEM []byte, err error) {
	request, err := readRequest(requestPEM)
	if err != nil {
		return nil, err
	}
	return a.sign(request.PublicKey, leaf)
}

// Issue makes a certificate and its key in one place, for a platform that is set up at once.
func (a *Authority) Issue(role Role, name string, hosts []string, validity time.Duration) (chainPEM, keyPEM []byte, err error) {
	key, err := newKey()
	if err != nil {
		return nil, nil, fmt.Errorf("make key for %s/%s: %w", role, name, err)
	}
	now := time.Now()
	chainPEM, err = a.sign(&key.PublicKey, Leaf{Role: role, Name: name, Hosts: hosts, Issued: now, NotAfter: now.Add(validity)})
	if err != nil {
		return nil, nil, err
	}
	keyPEM, err = encodeKey(key)
	if err != nil {
		return nil, nil, err
	}
	return chainPEM, keyPEM, nil
}

func (a *Authority) sign(public any, leaf Leaf) ([]byte, error) {
	fail := func(err error) ([]byte, error) {
		return nil, fmt.Errorf("sign certificate of %s/%s: %w", leaf.Role, leaf.Name, err)
	}
	if !slices.Contains(roles, leaf.Role) || leaf.Name == "" {
		return fail(errors.New("it needs a role that there is, and a name"))
	}
	if leaf.Issued.IsZero() {
		leaf.Issued = time.Now()
	}
	if leaf.NotAfter.IsZero() {
		leaf.NotAfter = leaf.Issued.Add(MaxValidity)
	}
	if leaf.NotAfter.Sub(leaf.Issued) > MaxValidity {
		return fail(fmt.Errorf("it would be good for %s, and %s is the most", leaf.NotAfter.Sub(leaf.Issued), MaxValidity))
	}
	if leaf.NotAfter.After(a.certificate.NotAfter) {
		leaf.NotAfter = a.certificate.NotAfter // nobody would believe it for longer
	}
	if leaf.Serial == nil {
		var err error
		if leaf.Serial, err = newSerial(); err != nil {
			return fail(err)
		}
	}
	template := &x509.Certificate{
		SerialNumber: leaf.Serial,
		Subject:      pkix.Name{CommonName: string(leaf.Role) + "/" + leaf.Name},
		URIs:         []*url.URL{Identity{Cluster: a.cluster, Role: leaf.Role, Name: leaf.Name}.uri()},
		NotBefore:    leaf.Issued.Add(-backdate),
		NotAfter:     leaf.NotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, h := range leaf.Hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, public, a.key)
	if err != nil {
		return fail(err)
	}
	chain := encodeCertificate(der)
	if a.issuing {
		chain = append(chain, a.CertificatePEM()...)
	}
	return chain, nil
}

// Save writes ca.pem and ca.key into dir, in clear: for a platform that lives no longer than this machine is on.
func (a *Authority) Save(dir string) error {
	key, err := encodeKey(a.key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), a.CertificatePEM(), 0o644); err != nil {
		return fmt.Errorf("save authority: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.key"), key, 0o600); err != nil {
		return fmt.Errorf("save authority key: %w", err)
	}
	return nil
}

// Fingerprint is the SHA-256 of a certificate, as a person passes it on.
func Fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// SerialOf is a certificate's serial number as records keep it.
func SerialOf(c *x509.Certificate) string { return c.SerialNumber.Text(16) }

// IssuedAt is when a certificate of ours was signed.
func IssuedAt(c *x509.Certificate) time.Time { return c.NotBefore.Add(backdate) }

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func encodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// DecodeCertificates reads all certificates of a PEM file. There is at least one in what it returns.

func DecodeCertificates(data []byte) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read certificate: %w", err)
		}
		list = append(list, c)
	}
	if len(list) == 0 {
		return nil, errors.New("read certificate: no PEM certificate in it")
	}
	return list, nil
}

func newSerial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	return n, nil
}
