package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"drp/orchestrator"
	"drp/raftstore/identity"
	"drp/raftstore/state"
	"drp/replicator"
	"drp/replicator/gateway"
	"drp/replicator/storetest"
)

// The coordinators' side of what gateways keep, against a real gateway and a real store. The first gateway of the site is
// dead.
func TestVault(t *testing.T) {
	authority, err := identity.NewAuthority("cluster-a")
	if err != nil {
		t.Fatal(err)
	}
	issue := func(role identity.Role) *identity.Credentials {
		cert, key, err := authority.Issue(role, "par1", []string{"127.0.0.1"}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		c, err := identity.New(cert, key, authority.CertificatePEM())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	server := storetest.Start(t)
	server.Bucket("drp-par1")
	store, err := gateway.OpenS3(replicator.StoreConfig{
		Endpoint: server.Endpoint, Bucket: "drp-par1", Region: server.Region, AccessKey: server.Admin.Access, SecretKey: server.Admin.Secret})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tlsConfig := issue(identity.Gateway).Server(identity.Agent, identity.Coordinator)
	s := gateway.NewServer(l.Addr().String(), tlsConfig, &gateway.Gateway{Site: "par1", Store: store})
	go s.Serve(tls.NewListener(l, tlsConfig)) //nolint:errcheck // http.ErrServerClosed
	t.Cleanup(func() { s.Close() })

	platform := state.New()
	site := state.Site{Name: "par1", Gateways: []string{"https://127.0.0.1:1", "https://" + l.Addr().String() + "/"}}
	if r, err := platform.Apply(1, state.NewCommand(state.InventoryApply, "1", time.Now(), "test", state.InventoryData{Sites: []state.Site{site}})); err != nil || r.Err != nil {
		t.Fatal(err, r.Err)
	}
	var v orchestrator.Vault = newVault(platform.View, issue(identity.Coordinator))
	ctx, large := t.Context(), bytes.Repeat([]byte("0123456789abcdef"), 40_000)
	for name, body := range map[string][]byte{"exports/b": []byte("b"), "exports/a": large, "audit/a": {}} {
		for range 2 {
			if err := v.Put(ctx, "par1", name, body); err != nil {
				t.Fatalf("put %s: %v", name, err)
			}
		}
		if got, err := v.Get(ctx, "par1", name); err != nil || !bytes.Equal(got, body) {
			t.Errorf("get %s: got %d bytes (%v), want %d", name, len(got), err, len(body))
		}
		if err := v.Put(ctx, "par1", name, []byte("another")); !errors.Is(err, state.ErrConflict) {
			t.Errorf("put another %s: got %v, want %v", name, err, state.ErrConflict)
		}
	}
	if got, err := v.List(ctx, "par1", "exports/"); err != nil || !slices.Equal(got, []string{"exports/a", "exports/b"}) {
		t.Errorf("got %v (%v), want both exports", got, err)
	}
	if got, err := v.List(ctx, "par1", "exports/b"); err != nil || !slices.Equal(got, []string{"exports/b"}) {
		t.Errorf("got %v (%v), want the one that begins with b", got, err)
	}
	if got, err := v.List(ctx, "par1", "audit/x"); err != nil || len(got) != 0 {
		t.Errorf("got %v (%v), want none", got, err)
	}
	if _, err := v.Get(ctx, "par1", "exports/none"); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("got %v, want %v", err, state.ErrNotFound)
	}
	if err := v.Put(ctx, "par9", "exports/a", nil); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("unknown site: got %v, want %v", err, state.ErrNotFound)
	}
	agent := newVault(platform.View, issue(identity.Agent))
	if _, err := agent.Get(ctx, "par1", "exports/a"); err == nil {
		t.Error("an agent read an export")
	}
}

// A store that holds something huge under a name of the trail takes no leader down.
func TestVault_huge(t *testing.T) {
	authority, err := identity.NewAuthority("cluster-a")
	if err != nil {
		t.Fatal(err)
	}
	issue := func(role identity.Role) *identity.Credentials {
		cert, key, err := authority.Issue(role, "par1", nil, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		c, err := identity.New(cert, key, authority.CertificatePEM())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	var sent atomic.Int64
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/said") {
			w.Header().Set("Content-Length", "1073741824")
		}
		chunk := make([]byte, 1<<20)
		for range 1024 {
			if _, err := w.Write(chunk); err != nil {
				return
			}
			sent.Add(1)
		}
	})}
	go s.Serve(tls.NewListener(l, issue(identity.Gateway).Server(identity.Coordinator))) //nolint:errcheck // http.ErrServerClosed
	t.Cleanup(func() { s.Close() })
	platform := state.New()
	site := state.Site{Name: "par1", Gateways: []string{"https://" + l.Addr().String()}}
	if r, err := platform.Apply(1, state.NewCommand(state.InventoryApply, "1", time.Now(), "test", state.InventoryData{Sites: []state.Site{site}})); err != nil || r.Err != nil {
		t.Fatal(err, r.Err)
	}
	v := newVault(platform.View, issue(identity.Coordinator))
	defer v.http.CloseIdleConnections()
	for _, name := range []string{"audit/said", "audit/unsaid"} {
		if got, err := v.Get(t.Context(), "par1", name); err == nil || !strings.Contains(err.Error(), "nothing") {
			t.Errorf("%s: got %d bytes (%v), want it refused", name, len(got), err)
		}
	}
	if got := sent.Load(); got > 100 {
		t.Errorf("%d MiB were read", got)
	}
}
