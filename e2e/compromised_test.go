package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drp/e2e/scenario"
	"drp/raftstore/state"
)

// A server is broken into: its certificate and the passwords of what it runs are stolen. The platform is told; its accounts come
// back elsewhere from what they had, and are backed up where neither the certificate nor the passwords lead.
func TestCompromisedServer(t *testing.T) {
	s := newStage(t)
	gallery := s.account("gallery")
	before := s.copied(time.Now(), "par2", s.accounts...)["gallery"]
	stolen, err := s.Passwords(s.ctx, s.accounts)
	s.must(err)
	server, token := s.runsOn("gallery")
	visitor := s.intruder(server)
	if got := visitor("gallery", token); got != http.StatusOK {
		t.Fatalf("before anybody knows, the intruder is answered with %d: the test would show nothing", got)
	}

	out, err := s.Run(s.ctx, "server", "compromised", server, "--yes", "--reason", "a root shell from elsewhere")
	if err != nil || !strings.Contains(out, "gallery~2") {
		t.Fatalf("%v\n%s", err, out)
	}
	told := time.Now()
	s.within(func(context.Context) error {
		for _, name := range []string{"gallery", "gallery~2"} {
			if got := visitor(name, token); got != http.StatusForbidden && got != 0 {
				return fmt.Errorf("with the stolen certificate %s is answered with %d", name, got)
			}
		}
		return nil
	})
	s.within(func(ctx context.Context) error {
		if out, err := s.Run(ctx, "failover", "server", server, "--yes"); err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	})
	s.within(func(ctx context.Context) error { return s.CheckPage(ctx, gallery) })
	if now, _ := s.runsOn("gallery"); now == server {
		t.Fatalf("gallery is on %s still", server)
	}

	after := s.copied(told, "par2", s.accounts...)["gallery"]
	if before.Repository != 0 || after.Repository != 2 {
		t.Errorf("the snapshots before and after lie in repositories %d and %d, want 0 and 2", before.Repository, after.Repository)
	}
	passwords, err := s.Passwords(s.ctx, s.accounts)
	s.must(err)
	into := filepath.Join(t.TempDir(), "new")
	s.must(s.RestoreByHand(s.ctx, "par2", "gallery~2", passwords["gallery"], after.ID, into))
	if _, err := scenario.FindTree(filepath.Join(into, "files"), scenario.Content("gallery")); err != nil {
		t.Error(err)
	}
	err = s.RestoreByHand(s.ctx, "par2", "gallery~2", stolen["gallery"], after.ID, filepath.Join(t.TempDir(), "stolen"))
	if err == nil || !strings.Contains(err.Error(), "wrong password") {
		t.Errorf("the stolen password at the new repository: %v", err)
	}

	// Support restores from before the break-in as ever: from the retired repository.
	at := before.Start.Add(time.Second).UTC().Format(time.RFC3339)
	if out, err := s.Run(s.ctx, "run", "start", "restore-files", "-p", "account=gallery", "-p", "path=www", "-p", "at="+at, "--watch"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	home, err := s.HomeOf(s.ctx, "gallery")
	s.must(err)
	if restored, err := filepath.Glob(filepath.Join(home, "restored-"+before.Start.UTC().Format("20060102T150405Z")+"-*", "*")); err != nil || len(restored) == 0 {
		t.Errorf("got %v (%v), want the folder of the snapshot before the break-in", restored, err)
	}
	if out, err := s.Run(s.ctx, "server", "compromised", server, "--yes"); err != nil || !strings.Contains(out, "0 accounts have new repositories") {
		t.Errorf("said twice: %v\n%s", err, out)
	}
}

func (s *stage) runsOn(account state.AccountName) (server string, token state.Token) {
	s.t.Helper()
	report, err := s.Status(s.ctx)
	s.must(err)
	for _, a := range report.Accounts {
		if a.Account == account {
			return string(a.Server), a.Token
		}
	}
	s.t.Fatalf("account %s is not in the status", account)
	return "", state.Token{}
}

// intruder asks the gateway of a server's site for a repository's config, with the server's own certificate and from its place. Its
// answer is the status; 0: there was none.
func (s *stage) intruder(server string) func(repository string, token state.Token) int {
	s.t.Helper()
	etc := s.Lab.Etc(server)
	pair, err := tls.LoadX509KeyPair(filepath.Join(etc, "agent.pem"), filepath.Join(etc, "agent.key"))
	s.must(err)
	root, err := os.ReadFile(filepath.Join(etc, "ca.pem"))
	s.must(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(root)
	client := s.Lab.ClientAt(server)
	transport := client.Transport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, MinVersion: tls.VersionTLS13}
	transport.DisableKeepAlives = true
	client.Transport = transport
	var site state.Site
	out, err := s.Run(s.ctx, "get", "sites", server[:strings.IndexByte(server, '-')], "--json")
	s.must(err)
	s.must(json.Unmarshal([]byte(out), &site))
	return func(repository string, token state.Token) int {
		response, err := client.Get(site.Gateways[0] + "/" + repository + "/" + token.String() + "/config")
		if err != nil {
			s.t.Logf("intruder: %v", err)
			return 0
		}
		response.Body.Close()
		return response.StatusCode
	}
}
