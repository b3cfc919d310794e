package identity

import (
	"crypto/tls"
	"fmt"
)

// Dialled returns whom a client has reached. The connection was made with Credentials.Client, which has verified the
// certificate.
func Dialled(cs *tls.ConnectionState) (Identity, error) {
	if cs == nil || len(cs.PeerCertificates) == 0 {
		return Identity{}, fmt.Errorf("read identity of a server: no certificate: %w", ErrRefused)
	}
	return ofCertificate(cs.PeerCertificates[0])
}
