package identity_test

import (
	"errors"
	"testing"
	"time"

	"drp/raftstore/identity"
)

func TestRevocations_Check(t *testing.T) {
	root := authority(t, "cluster-a")
	c := certificateOf(t, credentialsOf(t, root, root, identity.Agent, "x", time.Hour))
	issued := identity.IssuedAt(c)
	for _, test := range []struct {
		name string
		r    identity.Revoked
		want bool
	}{
		{"its serial", identity.Revoked{Role: identity.Agent, Holder: "x", Serial: identity.SerialOf(c), Before: issued.Add(-time.Hour)}, true},
		{"another serial", identity.Revoked{Role: identity.Agent, Holder: "x", Serial: "abc", Before: issued.Add(time.Hour)}, false},
		{"its holder, later", identity.Revoked{Role: identity.Agent, Holder: "x", Before: issued.Add(time.Second)}, true},
		{"its holder, within the second", identity.Revoked{Role: identity.Agent, Holder: "x", Before: issued.Add(time.Millisecond)}, true},
		{"its holder, before it was signed", identity.Revoked{Role: identity.Agent, Holder: "x", Before: issued}, false},
		{"another holder", identity.Revoked{Role: identity.Agent, Holder: "y", Before: issued.Add(time.Hour)}, false},
		{"the same name in another role", identity.Revoked{Role: identity.Worker, Holder: "x", Before: issued.Add(time.Hour)}, false},
	} {
		err := identity.Revocations{{Role: identity.Agent, Holder: "z"}, test.r}.Check(c)
		if got := errors.Is(err, identity.ErrRevoked); got != test.want || !test.want && err != nil {
			t.Errorf("%s: got %v, want revoked %t", test.name, err, test.want)
		}
	}
}

func TestCredentials_Revoked(t *testing.T) {
	root := authority(t, "cluster-a")
	server := credentialsOf(t, root, root, identity.Coordinator, "x", time.Hour)
	client := credentialsOf(t, root, root, identity.Agent, "x", time.Hour)
	meet := func() error {
		_, err := handshake(t, server.Server(identity.Agent), client.Client(identity.Coordinator))
		return err
	}
	if err := meet(); err != nil {
		t.Fatal(err)
	}
	client.SetRevocations(identity.Revocations{{Role: identity.Coordinator, Holder: "x", Before: time.Now().Add(time.Second)}})
	if err := meet(); err == nil {
		t.Error("a client met a revoked server")
	}
	client = credentialsOf(t, root, root, identity.Agent, "x", time.Hour)
	server.SetRevocations(identity.Revocations{{Role: identity.Agent, Holder: "x", Serial: identity.SerialOf(client.Certificate()), Before: time.Now()}})
	if err := meet(); err == nil {
		t.Error("a server met a revoked client")
	}
}

// A process that was started anew knows whom not to trust before anybody tells it, and nobody can take it back.
func TestCredentials_RevocationsStay(t *testing.T) {
	root := authority(t, "cluster-a")
	f, c := machine(t, root, identity.Agent, "x")
	peer := certificateOf(t, credentialsOf(t, root, root, identity.Coordinator, "c", time.Hour))
	if err := c.Check(peer); err != nil {
		t.Fatal(err)
	}
	c.SetRevocations(identity.Revocations{
		{Role: identity.Coordinator, Holder: "c", Before: time.Now().Add(time.Second)},
		{Role: identity.Agent, Holder: "long-ago", Before: time.Now().Add(-identity.MaxValidity - 2*time.Hour)},
	})
	c.SetRevocations(nil)
	for range 2 {
		if err := c.Check(peer); !errors.Is(err, identity.ErrRevoked) || !errors.Is(err, identity.ErrRefused) {
			t.Errorf("got %v, want %v", err, identity.ErrRevoked)
		}
		var err error
		if c, err = identity.Load(f); err != nil {
			t.Fatal(err)
		}
	}
}
