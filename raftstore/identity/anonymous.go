package identity

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
)

// Anonymous makes credentials without a certificate, for a client that shows a token: they only know whom to trust.
// Their Identity has a cluster, and neither role nor name.
func Anonymous(authorityPEM []byte) (*Credentials, error) {
	block, _ := pem.Decode(authorityPEM)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("read authority: no PEM certificate in it")
	}
	a, err := readAuthority(block.Bytes, nil)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return &Credentials{authority: pool, identity: Identity{Cluster: a.cluster}}, nil
}
