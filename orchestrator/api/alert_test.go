package api

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"testing"

	"drp/raftstore/identity"
)

// The request of somebody who was revoked is on its way when the server has judged the certificate: the connection breaks, and
// the alert is lost. The person is told all the same.
func TestClient_LostAlert(t *testing.T) {
	r := newRig(t, "par1-c")
	for name, refuses := range map[string]bool{"refused": true, "broken": false} {
		t.Run(name, func(t *testing.T) {
			server := r.credentials(t, identity.Coordinator, "par1-c").Server(identity.Operator)
			second := server.Clone()
			if refuses {
				second.VerifyConnection = nil
				second.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error { return errors.New("revoked") }
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				for first := true; ; first = false {
					raw, err := l.Accept()
					if err != nil {
						return
					}
					go func() {
						config := second
						if first {
							config = server
						}
						conn := tls.Server(raw, config)
						err := conn.Handshake()
						if first {
							_ = raw.(*net.TCPConn).SetLinger(0) // reset: what was sent before is lost with it
						} else if err == nil {
							_, _ = conn.Read(make([]byte, 1)) // until it goes
						}
						_ = raw.Close()
					}()
				}
			}()
			c := newTestClient(t, ClientConfig{Coordinators: []string{"https://" + l.Addr().String()}, Credentials: r.credentials(t, identity.Operator, "ada")})
			_, err = c.Status(t.Context())
			if !errors.Is(err, ErrUnreachable) {
				t.Fatalf("got %v, want %v", err, ErrUnreachable)
			}
			if told := strings.Contains(err.Error(), "the certificate of operator/ada is refused there"); told != refuses {
				t.Errorf("got %v; told that the certificate is refused: %v, want %v", err, told, refuses)
			}
		})
	}
}
