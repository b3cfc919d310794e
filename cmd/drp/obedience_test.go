package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"drp/orchestrator/wire"
	"drp/raftstore/identity"
	"drp/replicator/gateway"
	"drp/replicator/worker"
)

// leaders answer as the leader of an incarnation does: with everything, whoever asks.
type leaders struct {
	incarnation uint64
	recovering  bool
	told        uint64 // what the last report said
}

func (l *leaders) GatewaySync(_ context.Context, r wire.GatewayReport) (wire.GatewayView, error) {
	l.told = r.Incarnation
	return wire.GatewayView{Revision: l.incarnation, Incarnation: l.incarnation, Recovering: l.recovering}, nil
}

func (l *leaders) WorkerSync(_ context.Context, r wire.WorkerReport) (wire.WorkerDesired, error) {
	l.told = r.Incarnation
	return wire.WorkerDesired{Revision: l.incarnation, Incarnation: l.incarnation, Recovering: l.recovering}, nil
}

// Coordinators from before a recovery come back and lead each other. Gateways and workers take nothing of what they say, and
// after a restart neither.
func TestFormerLeader(t *testing.T) {
	w := newWreck(t)
	credentials := w.credentials(identity.Coordinator)
	for name, start := range map[string]func(files identity.Files, l *leaders) func() (uint64, error){
		"gateway": func(files identity.Files, l *leaders) func() (uint64, error) {
			o, err := obedienceOf(files, credentials)
			if err != nil {
				t.Fatal(err)
			}
			g := grants{l, &gateway.Gateway{}, credentials, o, "par1", newLogger()}
			return func() (uint64, error) { return g.take(t.Context(), 0) }
		},
		"worker": func(files identity.Files, l *leaders) func() (uint64, error) {
			o, err := obedienceOf(files, credentials)
			if err != nil {
				t.Fatal(err)
			}
			leader := workerLeader{l, credentials, o}
			return func() (uint64, error) {
				d, err := leader.Sync(t.Context(), worker.Report{Site: "par1"})
				return d.Revision, err
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			files, l := identity.Files{Certificate: filepath.Join(t.TempDir(), "own.pem")}, &leaders{incarnation: 3}
			ask := start(files, l)
			for range 2 {
				l.incarnation = 3
				if got, err := ask(); err != nil || got != 3 {
					t.Errorf("got %d (%v), want the word of incarnation 3", got, err)
				}
				l.incarnation = 2
				if got, err := ask(); err == nil || l.told != 3 {
					t.Errorf("got %d, told %d; want incarnation 2 refused, and told that 3 is obeyed", got, l.told)
				}
				ask = start(files, l)
			}
			if got, err := ask(); err == nil {
				t.Errorf("after a restart: got %d, want incarnation 2 refused", got)
			}
			l.recovering = true
			if _, err := ask(); err != nil {
				t.Errorf("being recovered: got %v, want it heard", err)
			}
		})
	}
}

// The view that a gateway lets in by is not made fresh by a leader from before a recovery.
func TestFormerLeader_view(t *testing.T) {
	w := newWreck(t)
	credentials := w.credentials(identity.Coordinator)
	files, l := identity.Files{Certificate: filepath.Join(t.TempDir(), "own.pem")}, &leaders{incarnation: 3}
	o, err := obedienceOf(files, credentials)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Take(4, false); err != nil {
		t.Fatal(err)
	}
	door := &gateway.Gateway{Site: "par1", SettleFor: time.Nanosecond}
	if _, err := (grants{l, door, credentials, o, "par1", newLogger()}).take(t.Context(), 0); err == nil {
		t.Fatal("it was taken")
	}
	agent := w.credentials(identity.Agent).Certificate()
	r := httptest.NewRequest(http.MethodGet, "/guestbook/1.1/config", nil)
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{agent}, VerifiedChains: [][]*x509.Certificate{{agent}}}
	answer := httptest.NewRecorder()
	door.ServeHTTP(answer, r)
	if answer.Code != http.StatusServiceUnavailable {
		t.Errorf("got status %d (%s), want %d: there is no view yet", answer.Code, answer.Body, http.StatusServiceUnavailable)
	}
}
