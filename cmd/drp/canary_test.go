package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"

	"drp/orchestrator"
	"drp/orchestrator/api"
	"drp/orchestrator/inventory"
	"drp/orchestrator/sealing"
	"drp/orchestrator/wire"
	"drp/raftstore"
	"drp/raftstore/identity"
)

// inClear is a coordinator's keyring with the sealing taken out.
type inClear struct{ orchestrator.Sealer }

func (inClear) Seal(plain []byte) ([]byte, error)  { return plain, nil }
func (inClear) Open(sealed []byte) ([]byte, error) { return sealed, nil }

// Secrets go through a real coordinator, by the ways that they go, and are looked for where they must not be: in the log,
// in snapshots, in what the process says, and in the API's answers. The same search finds them when nothing is sealed.
func TestServer_keepsSecrets(t *testing.T) {
	t.Run("sealed", func(t *testing.T) {
		t.Parallel()
		c := newCanaries(t, func(s orchestrator.Sealer) orchestrator.Sealer { return s })
		for where, names := range c.found() {
			t.Errorf("%s shows %v", where, names)
		}
	})
	t.Run("with sealing taken out", func(t *testing.T) {
		t.Parallel()
		c := newCanaries(t, func(s orchestrator.Sealer) orchestrator.Sealer { return inClear{s} })
		found := c.found()
		for _, name := range []string{"environment", "environment that was replaced", "repository password"} {
			if !strings.Contains(fmt.Sprint(found["raft.db"]), name) {
				t.Errorf("the search does not find the %s in the log: got %v", name, found)
			}
		}
	})
}

// canaries are secrets on their way through a coordinator that runs.
type canaries struct {
	t       *testing.T
	config  serverConfig
	dir     string // all that the coordinator writes
	url     string
	log     syncBuffer
	secrets map[string]string // what it is → the secret
	answers map[string][]byte // the API's, by who asked what
	roles   map[identity.Role]*identity.Credentials
	stop    func()
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

const canaryInventory = `kind: provider
name: example
as: 64512
prefixes: ["2001:db8:a::/48"]
---
kind: site
name: par1
gateways: ["https://[2001:db8:f001::30]:7460"]
store: {endpoint: "http://[2001:db8:f001::40]:7480", bucket: drp-par1}
---
kind: server
name: par1-s1
site: par1
capacity: {memory: 64GiB, processes: 20000, cpu: 16, disk: 2TiB}
---
kind: policy
name: hourly
schedule: "@every 1h"
replicas: [par1]
rpo: 2h
---
kind: account
name: shop
plan: {memory: 256MiB, processes: 100, cpu: 1, disk: 1GiB}
policy: hourly
services:
  - name: web
    command: [php]
    user: 1000
    environment: {DB_PASSWORD: %[1]q}
cron_jobs:
  - name: clean
    schedule: "@daily"
    command: [php]
    user: 1000
    environment: {DB_PASSWORD: %[1]q}
`

func newCanaries(t *testing.T, seal func(orchestrator.Sealer) orchestrator.Sealer) *canaries {
	t.Helper()
	c := &canaries{t: t, dir: t.TempDir(), secrets: map[string]string{}, answers: map[string][]byte{}, roles: map[identity.Role]*identity.Credentials{}}
	c.start(seal)
	operator := c.client(identity.Operator)

	c.apply(operator, "environment that was replaced", false)
	c.apply(operator, "environment of a dry run", true)
	again := c.apply(operator, "environment", false)
	if changes := c.applySecret(operator, c.secrets["environment"], false); len(again) != 1 || len(changes) != 0 {
		t.Errorf("the environment again: got %q and then %q, want one change and then none", again, changes)
	}
	c.repository()
	token, err := operator.CreateToken(t.Context(), "ci", "support", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	c.secrets["API token"] = token

	for _, role := range []identity.Role{identity.Operator, identity.Support} {
		c.askEverything(role)
	}
	c.stop()
	c.snapshot()
	return c
}

// start runs a coordinator that is a cluster by itself.
func (c *canaries) start(seal func(orchestrator.Sealer) orchestrator.Sealer) {
	t := c.t
	t.Helper()
	etc := t.TempDir()
	a, err := identity.NewAuthority("cluster-a")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Save(etc); err != nil {
		t.Fatal(err)
	}
	for role, name := range map[identity.Role]string{
		identity.Coordinator: "par1-c", identity.Operator: "olga", identity.Support: "sam", identity.Agent: "par1-s1", identity.Worker: "par1"} {
		if c.roles[role], err = issue(a, etc, role, name); err != nil {
			t.Fatal(err)
		}
	}
	own, offline := newAge(t), newAge(t)
	c.secrets["coordinator's age identity"], c.secrets["offline age identity"] = own.String(), offline.String()
	raft, address := freePort(t), freePort(t)
	c.url = "https://" + address
	config := serverConfig{
		Name: "par1-c", Site: "par1", Data: c.dir, Raft: raft, API: address, Socket: filepath.Join(t.TempDir(), "drp.sock"),
		Certificates: identity.Files{
			Certificate: filepath.Join(etc, "coordinator.pem"), Key: filepath.Join(etc, "coordinator.key"), Authority: filepath.Join(etc, "ca.pem")},
		Peers:      []peerConfig{{Name: "par1-c", Site: "par1", Raft: raft, API: c.url, Recipient: own.Recipient().String()}},
		Recipients: []string{own.Recipient().String(), offline.Recipient().String()},
	}
	if err := raftstore.Prepare(config.Data); err != nil {
		t.Fatal(err)
	}
	c.config = config
	log := slog.New(slog.NewTextHandler(&c.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- runCoordinator(ctx, config, seal(sealing.New(own)), log) }()
	c.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("coordinator: %v", err)
		}
	})
	t.Cleanup(c.stop)
}

// apply makes a secret and has it applied as an environment.
func (c *canaries) apply(operator *api.Client, name string, dryRun bool) []string {
	c.t.Helper()
	c.secrets[name] = "canary-" + newID()
	return c.applySecret(operator, c.secrets[name], dryRun)
}

func (c *canaries) applySecret(operator *api.Client, secret string, dryRun bool) []string {
	c.t.Helper()
	changes, err := operator.Apply(c.t.Context(), newID(), []inventory.File{{Name: "a.yaml", Data: fmt.Appendf(nil, canaryInventory, secret)}}, dryRun)
	if err != nil {
		c.t.Fatalf("apply: %v\n%s", err, c.log.b.String())
	}
	c.answers[fmt.Sprintf("answer to apply %d", len(c.answers))] = []byte(strings.Join(changes, "\n"))
	return changes
}

// repository has the account's repository made, as its server's agent and its site's worker do. The worker is told the
// password, and the agent gets the environment.
func (c *canaries) repository() {
	c.t.Helper()
	agent, worker := c.client(identity.Agent), c.client(identity.Worker)
	for c.secrets["repository password"] == "" {
		d, err := agent.AgentSync(c.t.Context(), wire.AgentReport{Server: "par1-s1"})
		if err != nil {
			c.t.Fatal(err)
		}
		for _, a := range d.Accounts {
			for what, p := range a.Account.Programs() {
				if got := p.Environment["DB_PASSWORD"]; got != c.secrets["environment"] {
					c.t.Errorf("the agent gets %q as the environment of a %s, want %q", got, what, c.secrets["environment"])
				}
			}
		}
		w, err := worker.WorkerSync(c.t.Context(), wire.WorkerReport{Site: "par1", Revision: 1, Wait: time.Second})
		if err != nil {
			c.t.Fatal(err)
		}
		for _, job := range w.Initial {
			c.secrets["repository password"] = job.Password
			if _, err := worker.WorkerSync(c.t.Context(), wire.WorkerReport{Site: "par1", Ready: []wire.Initialised{{Account: job.Account, Home: job.Home}}}); err != nil {
				c.t.Fatal(err)
			}
		}
	}
}

func (c *canaries) client(role identity.Role) *api.Client {
	c.t.Helper()
	client, err := api.NewClient(api.ClientConfig{Coordinators: []string{c.url}, Credentials: c.roles[role], Patience: 30 * time.Second})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(client.Close)
	return client
}

// toldOnPurpose are routes whose answers are there to hand a secret out, to the one whom it is for.
var toldOnPurpose = map[string]bool{"create-token": true, "sync-agent": true, "sync-worker": true}

// askEverything keeps the answers of every route that the API describes.
func (c *canaries) askEverything(role identity.Role) {
	t := c.t
	t.Helper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: c.roles[role].Client(identity.Coordinator), ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()
	ask := func(method, path, body string) []byte {
		req, err := http.NewRequestWithContext(t.Context(), method, c.url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		res, err := client.Do(req)
		if err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
		defer res.Body.Close()
		answer, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
		c.answers[fmt.Sprintf("answer to %s %s %s for %s", method, path, body, role)] = answer
		return answer
	}
	var description struct {
		Paths map[string]map[string]struct {
			OperationID string `json:"operationId"`
		} `json:"paths"`
	}
	if err := json.Unmarshal(ask("GET", "/v1/openapi.json", ""), &description); err != nil {
		t.Fatalf("read the API's description: %v", err)
	}
	asked := 0
	for path, methods := range description.Paths {
		for method, op := range methods {
			if toldOnPurpose[op.OperationID] {
				continue
			}
			for _, name := range []string{"shop", "ci", "none"} {
				if method == "delete" && name != "none" {
					continue
				}
				ask(strings.ToUpper(method), strings.NewReplacer("{name}", name, "{id}", name).Replace(path), bodies[op.OperationID])
				asked++
			}
		}
	}
	if asked < 20 {
		t.Errorf("only %d questions were asked", asked)
	}
}

// bodies are what routes want that are asked for a good answer; others are asked without and refuse.
var bodies = map[string]string{
	"back-up":       `{"accounts":["shop"]}`,
	"plan-failover": `{"site":"par1"}`,
	"start-run":     `{"runbook":"restore-files","parameters":{"account":"shop","path":"www","at":"1h"}}`,
}

// snapshot starts on what the coordinator left, and has a snapshot of it taken. It also writes the state as an export has it.
func (c *canaries) snapshot() {
	t := c.t
	t.Helper()
	config := c.config.store(c.roles[identity.Coordinator], slog.New(slog.DiscardHandler), func(err error) { t.Error(err) })
	config.Snapshots = raftstore.Snapshots{Interval: 50 * time.Millisecond, Threshold: 1}
	store, err := raftstore.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	for files := []string(nil); len(files) == 0; {
		select {
		case <-t.Context().Done():
			t.Fatal("no snapshot was taken")
		case <-time.After(20 * time.Millisecond):
		}
		if files, err = filepath.Glob(filepath.Join(c.dir, "snapshots", "*-*[0-9]", "state.bin")); err != nil {
			t.Fatal(err)
		}
	}
	var export bytes.Buffer
	if err := store.View().Persist(&export); err != nil {
		t.Error(err)
	}
	c.answers["state as it is exported"] = export.Bytes()
	if v := store.View(); v.Repository("shop") == nil || len(v.APITokens()) != 1 || len(v.Keys()) != 1 {
		t.Errorf("the state lacks what was put into it: repository %v, %d tokens, %d keys", v.Repository("shop"), len(v.APITokens()), len(v.Keys()))
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
}

// found says where which secrets are, in any form in which they could be written.
func (c *canaries) found() map[string][]string {
	c.t.Helper()
	places := map[string][]byte{"log of the process": c.log.b.Bytes()}
	for what, answer := range c.answers {
		places[what] = answer
	}
	err := filepath.WalkDir(c.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(c.dir, path)
		places[name] = data
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
	for _, name := range []string{"environ", "cmdline"} {
		data, err := os.ReadFile("/proc/self/" + name)
		if err != nil {
			c.t.Fatal(err)
		}
		places["/proc/self/"+name] = data
	}
	if len(places["raft.db"]) == 0 {
		c.t.Error("there is no log to look into")
	}
	found := map[string][]string{}
	for place, data := range places {
		for name, secret := range c.secrets {
			if secret == "" {
				c.t.Fatalf("the %s is empty", name)
			}
			for _, form := range forms(secret) {
				if bytes.Contains(data, form) {
					found[place] = append(found[place], name)
					break
				}
			}
		}
		if bytes.Contains(bytes.ToUpper(data), []byte("AGE-SECRET-KEY-1")) {
			found[place] = append(found[place], "an age identity")
		}
	}
	return found
}

// forms are how a secret looks as it is, in hexadecimal, and inside of base64 at each of the three places that a byte can have.
func forms(secret string) [][]byte {
	out := [][]byte{[]byte(secret), []byte(hex.EncodeToString([]byte(secret)))}
	for pad := range 3 {
		for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			text := e.EncodeToString(append(make([]byte, pad), secret...))
			out = append(out, []byte(text[4:len(text)-4])) // without what depends on its neighbours
		}
	}
	return out
}

func newAge(t testing.TB) *age.X25519Identity {
	t.Helper()
	i, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// freePort is an address of this machine that nothing listens at.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
