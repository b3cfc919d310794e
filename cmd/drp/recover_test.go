package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"drp/orchestrator/export"
	"drp/orchestrator/sealing"
	"drp/raftstore"
	"drp/raftstore/identity"
	"drp/raftstore/state"
)

// wreck is a machine on which a coordinator is to be brought back: its configuration, a certificate, an export in a file
// and the offline key.
type wreck struct {
	t          testing.TB
	dir        string
	offline    *age.X25519Identity
	own        *age.X25519Identity // of the coordinator that is to come
	authority  *identity.Authority
	state      *state.State
	peer       string // host:port of another coordinator, of which nothing is left
	accounts   []state.AccountName
	sealedWith []string
}

func newWreck(t testing.TB) *wreck {
	t.Helper()
	w := &wreck{t: t, dir: t.TempDir(), offline: ageKey(t), own: ageKey(t), state: state.New(), peer: deadAddress(t), accounts: []state.AccountName{"guestbook", "shop"}}
	var err error
	if w.authority, err = identity.NewAuthority("cluster-a"); err != nil {
		t.Fatal(err)
	}
	former := ageKey(t)
	w.sealedWith = []string{former.Recipient().String(), w.offline.Recipient().String()}
	w.apply(state.ClusterInit, state.ClusterInitData{UUID: "cluster-a", Incarnation: 1, Level: state.Level})
	inventory := state.InventoryData{
		Provider: &state.Provider{Name: "p", Prefixes: []netip.Prefix{netip.MustParsePrefix("2001:db8:a::/48")}},
		Sites:    []state.Site{{Name: "par1"}}, Policies: []state.Policy{{Name: "p", Schedule: "@every 1h"}},
	}
	for _, a := range w.accounts {
		inventory.Accounts = append(inventory.Accounts, state.Account{Name: a, Tier: state.Gold, Policy: "p"})
	}
	w.apply(state.InventoryApply, inventory)
	for _, a := range w.accounts {
		w.apply(state.RepositoryCreate, state.RepositoryCreateData{Account: a, Site: "par1", SealedPassword: seal(t, "password of "+string(a), w.sealedWith)})
	}
	w.export()
	w.configure()
	return w
}

func ageKey(t testing.TB) *age.X25519Identity {
	t.Helper()
	k, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func seal(t testing.TB, plain string, to []string) []byte {
	t.Helper()
	var recipients []age.Recipient
	for _, r := range to {
		parsed, err := age.ParseX25519Recipient(r)
		if err != nil {
			t.Fatal(err)
		}
		recipients = append(recipients, parsed)
	}
	var b bytes.Buffer
	out, err := age.Encrypt(&b, recipients...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Write([]byte(plain)); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// deadAddress is one at which nobody listens.
func deadAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (w *wreck) apply(name state.Name, payload any) {
	w.t.Helper()
	index := w.state.View().Index() + 1
	r, err := w.state.Apply(index, state.NewCommand(name, fmt.Sprint(index), time.Now(), "coordinator/par1-c", payload))
	if err != nil || r.Err != nil {
		w.t.Fatal(err, r.Err)
	}
}

func (w *wreck) path(name string) string { return filepath.Join(w.dir, name) }

func (w *wreck) write(name string, data []byte) {
	w.t.Helper()
	if err := os.WriteFile(w.path(name), data, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *wreck) credentials(role identity.Role) *identity.Credentials {
	w.t.Helper()
	cert, key, err := w.authority.Issue(role, "par1-c", []string{"127.0.0.1"}, time.Hour)
	if err != nil {
		w.t.Fatal(err)
	}
	w.write("server.pem", cert)
	w.write("server.key", key)
	w.write("ca.pem", w.authority.CertificatePEM())
	c, err := identity.New(cert, key, w.authority.CertificatePEM())
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *wreck) export() {
	w.t.Helper()
	var sealed bytes.Buffer
	m, err := export.Write(&sealed, w.state.View(), w.sealedWith, "par1-c", time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	if m.Chain, m.Signature, err = w.credentials(identity.Coordinator).Sign(m.Signed()); err != nil {
		w.t.Fatal(err)
	}
	data, err := json.Marshal(m)
	if err != nil {
		w.t.Fatal(err)
	}
	w.write("state.age", sealed.Bytes())
	w.write("state.age.json", data)
}

func (w *wreck) configure() {
	w.t.Helper()
	w.write("age.key", []byte(w.own.String()+"\n"))
	w.write("offline.key", []byte(w.offline.String()+"\n"))
	w.write("server.yaml", fmt.Appendf(nil, `name: par1-c
site: par1
data: %s
raft: %s
api: %s
socket: %s
peers:
  - {name: par1-c, site: par1, raft: "127.0.0.1:1", api: "https://127.0.0.1:2"}
  - {name: par2-c, site: par2, raft: %q, api: "https://127.0.0.1:3"}
certificates: {certificate: %s, key: %s, authority: %s}
age_identity: %s
recipients: [%s, %s]
`, w.path("data"), deadAddress(w.t), deadAddress(w.t), w.path("server.sock"), w.peer,
		w.path("server.pem"), w.path("server.key"), w.path("ca.pem"), w.path("age.key"), w.own.Recipient(), w.offline.Recipient()))
}

// recover runs drp recover cluster, and returns what it printed.
func (w *wreck) recover(more ...string) (string, error) {
	w.t.Helper()
	var out bytes.Buffer
	root := newRootCommand()
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetIn(strings.NewReader("cluster-a\n"))
	root.SetArgs(append([]string{"recover", "cluster", "--config", w.path("server.yaml"), "--identity", w.path("offline.key"),
		"--file", w.path("state.age"), "--yes", "cluster-a"}, more...))
	err := root.ExecuteContext(w.t.Context())
	return out.String(), err
}

// The coordinator that comes back has a key of its own, to which nothing was ever sealed: the offline key is enough.
func TestRecoverCluster_fromFile(t *testing.T) {
	w := newWreck(t)
	out, err := w.recover()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"signed by coordinator par1-c, with its certificate ", "2 accounts", "No coordinator answers", "incarnation 2", "drp recover resume"} {
		if !strings.Contains(out, want) {
			t.Errorf("got %q, want it to say %q", out, want)
		}
	}
	v, report, err := raftstore.Survey(w.path("data"))
	if err != nil {
		t.Fatal(err)
	}
	if c := v.Cluster(); c.Held == nil || c.Held.How != state.RecoveredExport || report.Incarnation != 2 {
		t.Errorf("got %+v, want it held in incarnation 2", c)
	}
	for _, a := range w.accounts {
		opener, err := sealing.OpenKeyring(w.own, v.Keys())
		if err != nil {
			t.Fatal(err)
		}
		plain, err := opener.Open(v.Repository(a).SealedPassword)
		if err != nil || string(plain) != "password of "+string(a) {
			t.Errorf("account %s: got %q (%v), want its password opened with the new coordinator's key", a, plain, err)
		}
	}
	if out, err := w.recover(); exitCode(err) != codeUsage || !strings.Contains(err.Error(), "empty directory only") {
		t.Errorf("a second time: got %v, want it refused\n%s", err, out)
	}
}

// An export holds orders to erase accounts: how many, and what becomes of them, is said before anybody begins from it.
func TestRecoverCluster_erasures(t *testing.T) {
	w := newWreck(t)
	w.apply(state.ErasureOrder, state.ErasureOrderData{Account: "shop", Reason: "left", Wait: time.Hour})
	w.export()
	out, err := w.recover()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		", 1 erasures\n",
		"\n  - erasures: an account that was erased since is there again, and its passwords open nothing any more: order it again, after the resume.\n" +
			"    An order that had not begun is taken back by the resume: order that again, too\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("got %q, want it to say %q", out, want)
		}
	}
	v, _, err := raftstore.Survey(w.path("data"))
	if err != nil {
		t.Fatal(err)
	}
	if e := v.Erasure("shop"); e == nil || !e.Begun.IsZero() {
		t.Errorf("got %+v: an order is taken back by the resume, and not before", e)
	}
}

// Who decides to begin from an export is told whose word it is.
func TestPrintSigner(t *testing.T) {
	w := newWreck(t)
	at := time.Now()
	old := &export.Other{Manifest: export.Manifest{Incarnation: 1, Index: 7, At: at.Add(-time.Hour)}, Signer: "par2-c"}
	signer := &export.Signer{Name: "par1-c", Certificate: w.credentials(identity.Coordinator).Certificate()}
	for name, c := range map[string]struct {
		look       export.Look
		says, not  string
		shiftOther time.Duration
	}{
		"unsigned":             {export.Look{All: 2, Found: &export.Found{}}, "nobody vouches for it", "signed by coordinator", 0},
		"the only one":         {export.Look{All: 1, Found: &export.Found{Signer: signer, Since: 1}}, "signed by coordinator par1-c", "nobody else", 0},
		"nobody else's":        {export.Look{All: 3, Found: &export.Found{Signer: signer, Since: 3}}, "no other coordinator has signed", "warning", 0},
		"nobody else's since":  {export.Look{All: 3, Found: &export.Found{Signer: signer, Since: 2, Other: old}}, "up to this one: 2; before those: " + old.Manifest.Name(), "warning", 0},
		"with an earlier time": {export.Look{All: 3, Found: &export.Found{Signer: signer, Since: 2, Other: old}}, "bears an earlier time", "unsigned", 3 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			c.look.Found.Manifest.At = at.Add(-c.shiftOther)
			var out bytes.Buffer
			printSigner(&out, &c.look)
			if got := out.String(); !strings.Contains(got, c.says) || strings.Contains(got, c.not) {
				t.Errorf("got %q, want %q in it and not %q", got, c.says, c.not)
			}
		})
	}
}

func TestRecoverCluster_refused(t *testing.T) {
	flip := func(name string, at int) func(*wreck) {
		return func(w *wreck) {
			b, err := os.ReadFile(w.path(name))
			if err != nil {
				t.Fatal(err)
			}
			b[len(b)-at] ^= 1
			w.write(name, b)
		}
	}
	for _, c := range []struct {
		name  string
		spoil func(w *wreck)
		args  []string
		want  string
		code  int
	}{
		{"a living coordinator", func(w *wreck) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			w.peer = l.Addr().String()
			w.configure()
		}, nil, "a coordinator answers: par2-c (raft)", codeRefused},
		{"a directory that is not empty", func(w *wreck) {
			if err := os.Mkdir(w.path("data"), 0o700); err != nil {
				t.Fatal(err)
			}
			w.write("data/raft.db", nil)
		}, nil, "drp recover quorum begins from it", codeUsage},
		{"another key", func(w *wreck) { w.write("offline.key", []byte(ageKey(t).String())) }, nil, "sealed to other keys", codeFailed},
		{"a flipped bit", flip("state.age", 100), nil, "damaged", codeFailed},
		{"a flipped bit and unsigned", flip("state.age", 100), []string{"--unsigned"}, "damaged", codeFailed},
		{"cut short", func(w *wreck) {
			b, err := os.ReadFile(w.path("state.age"))
			if err != nil {
				t.Fatal(err)
			}
			w.write("state.age", b[:len(b)/2])
		}, nil, "damaged", codeFailed},
		{"a changed manifest", func(w *wreck) {
			b, err := os.ReadFile(w.path("state.age.json"))
			if err != nil {
				t.Fatal(err)
			}
			changed := bytes.Replace(b, []byte(`"incarnation":1`), []byte(`"incarnation":2`), 1)
			if bytes.Equal(changed, b) {
				t.Fatalf("nothing to change in %s", b)
			}
			w.write("state.age.json", changed)
		}, nil, "not signed by a coordinator", codeFailed},
		{"a certificate of another cluster", func(w *wreck) {
			var err error
			if w.authority, err = identity.NewAuthority("cluster-b"); err != nil {
				t.Fatal(err)
			}
			w.credentials(identity.Coordinator)
		}, []string{"--unsigned"}, "the certificate here is coordinator/par1-c of cluster cluster-b", codeFailed},
		{"an agent's certificate", func(w *wreck) { w.credentials(identity.Agent) }, nil, "it takes a coordinator's of that cluster", codeFailed},
		{"another name typed", func(*wreck) {}, []string{"--yes", "cluster-b"}, `not "cluster-b"; nothing was done`, codeUsage},
		{"nobody to ask", func(*wreck) {}, []string{"--yes", ""}, "no terminal", codeUsage},
		{"store and file", func(*wreck) {}, []string{"--store", "s3://x"}, "either --store", codeUsage},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWreck(t)
			c.spoil(w)
			out, err := w.recover(c.args...)
			if err == nil {
				t.Fatalf("recovered:\n%s", out)
			}
			if text := out + err.Error(); !strings.Contains(text, c.want) || exitCode(err) != c.code {
				t.Errorf("got exit code %d and %q, want %d and %q", exitCode(err), text, c.code, c.want)
			}
			if entries, err := os.ReadDir(w.path("data")); err == nil && c.name != "a directory that is not empty" {
				t.Errorf("the directory was made, with %d entries", len(entries))
			}
		})
	}
}
