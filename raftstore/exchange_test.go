package raftstore

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"drp/raftstore/identity"
	"drp/raftstore/state"
)

// Coordinators hear of each other over the raft port, and nobody else gets an answer there.
func TestExchange_TLS(t *testing.T) {
	dir, authority := t.TempDir(), newAuthority(t, "7d1f")
	var peers []Peer
	for i, address := range loopback(2) {
		peers = append(peers, Peer{string(rune('a' + i)), address})
	}
	var stores []*Store
	for _, p := range peers {
		stores = append(stores, open(t, prepare(t, realConfig(t, authority, dir, p.Name, peers))))
	}
	leader := firstToLead(t, stores)
	propose(t, leader, clusterInit("init"))
	await(t, "all have heard of all, and of the incarnation", func() bool {
		for _, s := range stores {
			for _, m := range s.Members() {
				if m.Healthy.IsZero() || m.Level != state.Level || m.Clock.Abs() > time.Second {
					return false
				}
			}
			if s.parts.history.incarnation() != 1 {
				return false
			}
		}
		return true
	})
	address := peers[0].Address
	as := func(a *identity.Authority, role identity.Role, name string) *tls.Config {
		c := issue(t, a, role, name).Client(identity.Coordinator)
		c.NextProtos, c.VerifyConnection = []string{peerProtocol}, nil
		return c
	}
	for _, test := range []struct {
		name   string
		config *tls.Config
		say    *hello
		answer bool
	}{
		{"a member", as(authority, identity.Coordinator, "b"), &hello{Name: "b"}, true},
		{"a coordinator that is none", as(authority, identity.Coordinator, "z"), &hello{Name: "z"}, true}, // it may have been removed
		{"a coordinator under another's name", as(authority, identity.Coordinator, "z"), &hello{Name: "b"}, false},
		{"an agent", as(authority, identity.Agent, "b"), &hello{Name: "b"}, false},
		{"an operator", as(authority, identity.Operator, "ada"), &hello{Name: "ada"}, false},
		{"another cluster", as(newAuthority(t, "other"), identity.Coordinator, "b"), &hello{Name: "b"}, false},
		{"too many marks", as(authority, identity.Coordinator, "b"), &hello{Name: "b", Marks: make([]mark, keptMarks+1)}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			data, err := test.say.encode()
			if err != nil {
				t.Fatal(err)
			}
			answer, err := ask(t, address, test.config, data)
			if (err == nil) != test.answer {
				t.Errorf("got %q, %v, want an answer: %v", answer, err, test.answer)
			}
		})
	}
	t.Run("a hello without an end", func(t *testing.T) {
		conn, err := tls.Dial("tcp", address, as(authority, identity.Coordinator, "b"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = conn.Write(binary.BigEndian.AppendUint32(nil, maxHello+1))
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := conn.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) || err == nil {
			t.Errorf("got %v, want the connection closed", err)
		}
	})
	for _, s := range stores {
		closeStore(t, s)
	}
}

// One that was begun with a configuration of itself alone is a cluster by itself. Its word must not make the members of the
// one that is at work believe that they were removed, and it counts for nothing there.
func TestExchange_secondCluster(t *testing.T) {
	dir, authority := t.TempDir(), newAuthority(t, "7d1f")
	var peers []Peer
	for i, address := range loopback(3) {
		peers = append(peers, Peer{string(rune('a' + i)), address})
	}
	alone := open(t, prepare(t, realConfig(t, authority, dir, "c", peers[2:])))
	firstToLead(t, []*Store{alone})
	propose(t, alone, clusterInit("init"))
	var stores []*Store
	for _, p := range peers[:2] {
		stores = append(stores, open(t, prepare(t, realConfig(t, authority, dir, p.Name, peers))))
	}
	propose(t, firstToLead(t, stores), clusterInit("init"))
	for _, s := range stores {
		await(t, "an alarm about the second cluster", func() bool { return alarmed(s, AlarmSecond, "c") != "" })
		await(t, "none about itself", func() bool { return alarmed(s, AlarmRemoved, s.cfg.Name) == "" })
		if m := s.Members()[2]; m.Name != "c" || m.Quarantined == "" || s.answers("c") {
			t.Errorf("got %+v, want it not counted among those that answer", m)
		}
	}
	for _, s := range append(stores, alone) {
		closeStore(t, s)
	}
}

// A coordinator that was asked before, and started anew since, answers the next question, too: the connection of before is
// no sign of how it is now. Whoever answers in its place is named.
func TestExchange_startedAnew(t *testing.T) {
	dir, authority := t.TempDir(), newAuthority(t, "7d1f")
	addresses := loopback(2)
	a := Peer{"a", addresses[0]}
	asks := open(t, prepare(t, realConfig(t, authority, dir, "a", []Peer{a})))
	b := Peer{"b", addresses[1]}
	cfg := realConfig(t, authority, dir, "b", []Peer{a, b})
	if err := PrepareJoin(cfg.Dir); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s := open(t, cfg)
		if h, err := asks.parts.courier.ask(t.Context(), b, asks.hello()); err != nil || !h.Joining {
			t.Errorf("got %+v (%v), want its word that it waits to join", h, err)
		}
		closeStore(t, s)
	}
	s := open(t, cfg)
	_, err := asks.parts.courier.ask(t.Context(), Peer{"c", b.Address}, asks.hello())
	if err == nil || err.Error() != "ask coordinator c: b answers there" {
		t.Errorf("got %v, want it told that b is there", err)
	}
	closeStore(t, s)
	closeStore(t, asks)
}

func ask(t *testing.T, address string, config *tls.Config, data []byte) ([]byte, error) {
	t.Helper()
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", address, config)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if err := writeHello(conn, data); err != nil {
		return nil, err
	}
	return readHello(conn)
}

func TestHistory_Choose(t *testing.T) {
	of := func(n uint64) *history { return &history{known: n} }
	for _, test := range []struct {
		name         string
		dials, takes *history
		want         string
	}{
		{"none known yet", of(0), of(0), "drp-raft/1"},
		{"the same", of(1), of(1), "drp-raft/1+1"},
		{"the same after a recovery", of(3), of(3), "drp-raft/1+3"},
		{"a member that was just added", of(2), of(0), "drp-raft/1+2"},
		{"before the first incarnation is everywhere", of(0), of(1), "drp-raft/1"},
		{"from before a recovery", of(1), of(2), ""},
		{"to one from before a recovery", of(2), of(1), ""},
		{"one that never knew, to one after a recovery", of(0), of(2), ""},
	} {
		if got, ok := test.takes.choose(test.dials.protocols()); got != test.want || ok != (test.want != "") {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
	if got, ok := of(1).choose([]string{"h2", "http/1.1"}); ok {
		t.Errorf("a client of the API: got %q", got)
	}
	if got, _ := of(5).choose([]string{peerProtocol}); got != peerProtocol {
		t.Errorf("got %q, want a hello from any history", got)
	}
}

func TestDecodeHello(t *testing.T) {
	if _, err := decodeHello([]byte(`{"name":"b","level":7,"of the future":{"x":1}}`), "b"); err != nil {
		t.Errorf("a newer coordinator: %v", err)
	}
	for data, words := range map[string]string{`{"name":"c"}`: "calls itself c", `[`: "read hello of b"} {
		if _, err := decodeHello([]byte(data), "b"); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("got %v, want the words %q", err, words)
		}
	}
}
