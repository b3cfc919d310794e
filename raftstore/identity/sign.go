package identity

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// Sign signs a message with our certificate's key. What is signed has to begin with what it is, so that it can never be
// taken for something else. The chain is our certificate and what stands between it and the authority (DER).
func (c *Credentials) Sign(message []byte) (chain [][]byte, signature []byte, err error) {
	pair, err := c.pair()
	if err != nil {
		return nil, nil, fmt.Errorf("sign: %w", err)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, nil, fmt.Errorf("sign: our key is %T, which cannot sign", pair.PrivateKey)
	}
	sum := sha256.Sum256(message)
	signature, err = key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		return nil, nil, fmt.Errorf("sign: %w", err)
	}
	return pair.Certificate, signature, nil
}

// pair is what we show to a server.
func (c *Credentials) pair() (*tls.Certificate, error) {
	config := c.Client()
	if config.GetClientCertificate != nil {
		return config.GetClientCertificate(&tls.CertificateRequestInfo{})
	}
	if len(config.Certificates) == 0 {
		return nil, errors.New("we have no certificate")
	}
	return &config.Certificates[0], nil
}

// VerifySignature tells who signed a message: somebody whose certificate chained to our authority at that time. It knows of
// no revocation.
func (c *Credentials) VerifySignature(chain [][]byte, message, signature []byte, at time.Time) (Identity, error) {
	var certs []*x509.Certificate
	for _, der := range chain {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return Identity{}, fmt.Errorf("verify signature: read certificate: %w: %w", err, ErrRefused)
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return Identity{}, fmt.Errorf("verify signature: no certificate: %w", ErrRefused)
	}
	intermediates := x509.NewCertPool()
	for _, cert := range certs[1:] {
		intermediates.AddCert(cert)
	}
	if _, err := certs[0].Verify(x509.VerifyOptions{
		Roots: c.authority, Intermediates: intermediates, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil {
		return Identity{}, fmt.Errorf("verify signature: %w: %w", err, ErrRefused)
	}
	if err := certs[0].CheckSignature(x509.ECDSAWithSHA256, message, signature); err != nil {
		return Identity{}, fmt.Errorf("verify signature: %w: %w", err, ErrRefused)
	}
	id, err := ofCertificate(certs[0])
	if err != nil {
		return Identity{}, err
	}
	if own := c.Identity().Cluster; id.Cluster != own {
		return Identity{}, fmt.Errorf("verify signature: %s belongs to cluster %s, we to %s: %w", id, id.Cluster, own, ErrRefused)
	}
	return id, nil
}
