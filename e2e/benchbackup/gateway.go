package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"drp/e2e/measure"
	"drp/orchestrator/wire"
	"drp/raftstore/identity"
	"drp/raftstore/state"
)

const (
	site    = "bench"
	account = "account"
	agent   = "server"
)

var token = state.Token{Incarnation: 1, Generation: 1}

// gateway is `drp gateway`, and the leader that it asks.
type gateway struct {
	url    string // rest:https://…/account/token/
	agent  string // file: certificate and key of an agent
	root   string // file: the authority
	cmd    *exec.Cmd
	leader *http.Server
}

func (b *bench) startGateway(ctx context.Context) (*gateway, error) {
	authority, err := identity.NewAuthority("bench")
	if err != nil {
		return nil, err
	}
	g := &gateway{agent: filepath.Join(b.dir, "agent.pem"), root: filepath.Join(b.dir, "root.pem")}
	certificate, key, err := authority.Issue(identity.Agent, agent, nil, 24*time.Hour)
	if err != nil {
		return nil, err
	}
	files := identity.Files{Certificate: filepath.Join(b.dir, "gateway.pem"), Key: filepath.Join(b.dir, "gateway.key"), Authority: g.root}
	own, ownKey, err := authority.Issue(identity.Gateway, site, []string{"127.0.0.1"}, 24*time.Hour)
	if err != nil {
		return nil, err
	}
	credentials := filepath.Join(b.dir, "store.yaml")
	err = errors.Join(
		os.WriteFile(g.agent, append(certificate, key...), 0o600), os.WriteFile(g.root, authority.CertificatePEM(), 0o600),
		os.WriteFile(files.Certificate, own, 0o600), os.WriteFile(files.Key, ownKey, 0o600),
		os.WriteFile(credentials, []byte("access_key: "+measure.AccessKey+"\nsecret_key: "+measure.SecretKey+"\n"), 0o600))
	if err != nil {
		return nil, err
	}
	leader, err := g.lead(authority)
	if err != nil {
		return nil, err
	}
	listen, err := freeAddress()
	if err != nil {
		return nil, err
	}
	config := filepath.Join(b.dir, "gateway.yaml")
	text := fmt.Sprintf("name: gateway\nsite: %s\nlisten: %s\ncoordinators: [%q]\ncertificates: {certificate: %s, key: %s, authority: %s}\n"+
		"store: {endpoint: %q, bucket: %s, region: %s, credentials: %s}\n", site, listen, leader, files.Certificate, files.Key, files.Authority,
		b.store.Endpoint, b.store.Bucket, measure.Region, credentials)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	g.cmd = exec.Command(filepath.Join(b.programs, "drp"), "gateway", "--config", config)
	log, err := os.Create(filepath.Join(b.dir, "gateway.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	g.cmd.Stdout, g.cmd.Stderr = log, log
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := g.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start gateway: %w", err)
	}
	g.url = "rest:https://" + listen + "/" + account + "/" + token.String() + "/"
	for range 300 {
		conn, err := net.Dial("tcp", listen)
		if err == nil {
			return g, conn.Close()
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			g.stop()
			return nil, ctx.Err()
		}
	}
	g.stop()
	said, _ := os.ReadFile(log.Name())
	return nil, fmt.Errorf("start gateway: it does not listen:\n%s", said)
}

// lead answers the gateway as the leader does.
func (g *gateway) lead(authority *identity.Authority) (address string, err error) {
	certificate, key, err := authority.Issue(identity.Coordinator, "coordinator", []string{"127.0.0.1"}, 24*time.Hour)
	if err != nil {
		return "", err
	}
	credentials, err := identity.New(certificate, key, authority.CertificatePEM())
	if err != nil {
		return "", err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	view := wire.GatewayView{Revision: 1, Grants: []wire.Grant{{Account: account, Server: agent, Token: token, Write: true}}}
	g.leader = &http.Server{TLSConfig: credentials.Server(identity.Gateway), ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var report wire.GatewayReport
			if err := json.NewDecoder(r.Body).Decode(&report); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			if report.Revision == view.Revision {
				select {
				case <-time.After(report.Wait):
				case <-r.Context().Done():
				}
			}
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(view) // a gateway that has gone
		})}
	go func() { _ = g.leader.ServeTLS(l, "", "") }() // until stop
	return "https://" + l.Addr().String(), nil
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func (g *gateway) stop() {
	_ = g.cmd.Process.Kill() // it may have ended
	_ = g.cmd.Wait()
	_ = g.leader.Close()
}

// forget has the kernel begin anew with the most memory that the gateway took.
func (g *gateway) forget() error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", g.cmd.Process.Pid), []byte("5"), 0)
}

// memory is the most that the gateway took since, in bytes.
func (g *gateway) memory() (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("the kernel does not tell the most memory of a process")
}
