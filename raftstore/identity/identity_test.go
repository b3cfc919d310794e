package identity_test

import (
	"crypto/tls"
	"errors"
	"net"
	"testing"
	"time"

	"drp/raftstore/identity"
)

func TestRolesAreCheckedAtBothEnds(t *testing.T) {
	ours, theirs := authority(t, "cluster-a"), authority(t, "cluster-b")
	server := credentials(t, ours, identity.Coordinator, time.Hour)
	cases := []struct {
		name   string
		client *identity.Credentials
		expect identity.Role
		want   bool
	}{
		{"agent", credentials(t, ours, identity.Agent, time.Hour), identity.Coordinator, true},
		{"role not allowed", credentials(t, ours, identity.Operator, time.Hour), identity.Coordinator, false},
		{"expired", credentials(t, ours, identity.Agent, -time.Minute), identity.Coordinator, false},
		{"other authority", credentials(t, theirs, identity.Agent, time.Hour), identity.Coordinator, false},
		{"server has another role", credentials(t, ours, identity.Agent, time.Hour), identity.Gateway, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			id, err := handshake(t, server.Server(identity.Agent), c.client.Client(c.expect))
			if got := err == nil; got != c.want {
				t.Fatalf("handshake: got error %v, want success %v", err, c.want)
			}
			if c.want && id.String() != "agent/x" {
				t.Errorf("got identity %s, want agent/x", id)
			}
		})
	}
	t.Run("no certificate where one is optional", func(t *testing.T) {
		bare := credentials(t, ours, identity.Agent, time.Hour).Client(identity.Coordinator)
		bare.GetClientCertificate = nil
		if _, err := handshake(t, server.ServerOptional(identity.Agent), bare); !errors.Is(err, identity.ErrRefused) {
			t.Errorf("got %v, want a connection without identity", err)
		}
		if _, err := handshake(t, server.Server(identity.Agent), bare); err == nil {
			t.Error("got a connection, want it refused where a certificate is required")
		}
	})
	t.Run("TLS 1.2", func(t *testing.T) {
		old := credentials(t, ours, identity.Agent, time.Hour).Client(identity.Coordinator)
		old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		if _, err := handshake(t, server.Server(identity.Agent), old); err == nil {
			t.Error("got a connection, want it refused")
		}
	})
}

func authority(t testing.TB, cluster string) *identity.Authority {
	t.Helper()
	a, err := identity.NewAuthority(cluster)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func credentials(t testing.TB, a *identity.Authority, role identity.Role, validity time.Duration) *identity.Credentials {
	t.Helper()
	cert, key, err := a.Issue(role, "x", []string{"::1"}, validity)
	if err != nil {
		t.Fatal(err)
	}
	c, err := identity.New(cert, key, a.CertificatePEM())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// handshake returns the client's identity as the server sees it.
func handshake(t testing.TB, server, client *tls.Config) (identity.Identity, error) {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	failed := make(chan error, 1)
	go func() {
		conn := tls.Client(b, client)
		err := conn.Handshake()
		if err == nil {
			_, err = conn.Read(make([]byte, 1)) // TLS 1.3 tells the client of a refusal only here
		} else {
			b.Close()
		}
		failed <- err
	}()
	conn := tls.Server(a, server)
	if err := conn.Handshake(); err != nil {
		a.Close()
		<-failed
		return identity.Identity{}, err
	}
	cs := conn.ConnectionState()
	if _, err := conn.Write([]byte{1}); err != nil {
		return identity.Identity{}, err
	}
	if err := <-failed; err != nil {
		return identity.Identity{}, err
	}
	return identity.Of(&cs)
}
