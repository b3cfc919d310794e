package state

import (
	"bytes"
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"
)

// node is a state with a log of its own: each command gets the next index, an id and a time.
type node struct {
	tb    testing.TB
	state *State
	index uint64
}

var epoch = time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)

func (n *node) command(name Name, payload any) Command {
	at := epoch.Add(time.Duration(n.index+1) * time.Second)
	return NewCommand(name, "c"+strconv.FormatUint(n.index+1, 10), at, "operator/ada", payload)
}

func (n *node) apply(name Name, payload any) Result {
	n.tb.Helper()
	return n.applyCommand(n.command(name, payload))
}

func (n *node) applyCommand(c Command) Result {
	n.tb.Helper()
	n.index++
	r, err := n.state.Apply(n.index, c)
	if err != nil {
		n.tb.Fatalf("apply %s: %v", c.Name, err)
	}
	return r
}

// must applies a command that changes something.
func (n *node) must(name Name, payload any) Result {
	n.tb.Helper()
	r := n.apply(name, payload)
	if r.Err != nil {
		n.tb.Fatalf("apply %s: refused: %v", name, r.Err)
	}
	if !r.Changed {
		n.tb.Fatalf("apply %s: got no change", name)
	}
	return r
}

// same applies a command that finds everything as asked.
func (n *node) same(name Name, payload any) {
	n.tb.Helper()
	if r := n.apply(name, payload); r.Err != nil || r.Changed {
		n.tb.Fatalf("apply %s: got changed=%v err=%v, want no change", name, r.Changed, r.Err)
	}
}

// refused applies a command, holds that nothing changed, and that the sentence has these words.
func (n *node) refused(kind error, words string, name Name, payload any) {
	n.tb.Helper()
	before := n.content()
	r := n.apply(name, payload)
	if !errors.Is(r.Err, kind) {
		n.tb.Fatalf("apply %s: got %v, want a refusal: %v", name, r.Err, kind)
	}
	if !strings.Contains(r.Err.Error(), words) {
		n.tb.Errorf("apply %s: got %q, want the words %q", name, r.Err, words)
	}
	if r.Changed || r.Notes != nil || !r.Token.IsZero() {
		n.tb.Errorf("apply %s: got %+v beside the refusal", name, r)
	}
	if got := n.content(); got != before {
		n.tb.Errorf("apply %s: a refused command changed the state:\n%s\nwas\n%s", name, got, before)
	}
}

// content is the state without the log's progress, the remembered answers and the audit trail.
func (n *node) content() string {
	n.tb.Helper()
	var kept strings.Builder
	for line := range strings.Lines(string(persisted(n.tb, n.state.View()))) {
		if !strings.HasPrefix(line, `{"t":"progress"`) && !strings.HasPrefix(line, `{"t":"applied"`) &&
			!strings.HasPrefix(line, `{"t":"audit"`) && !strings.HasPrefix(line, `{"end"`) {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

func (n *node) view() *View { return n.state.View() }

func persisted(tb testing.TB, v *View) []byte {
	tb.Helper()
	var b bytes.Buffer
	if err := v.Persist(&b); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// newNode has no command yet; newPlatform has two sites and a witness, two servers a site, and two accounts.
func newNode(tb testing.TB) *node { return &node{tb: tb, state: New()} }

func newPlatform(tb testing.TB) *node {
	n := newNode(tb)
	n.must(ClusterInit, ClusterInitData{UUID: "7d1f", Incarnation: 1})
	n.must(InventoryApply, inventory())
	return n
}

func inventory() InventoryData {
	return InventoryData{
		Provider: &Provider{Name: "example", AS: 64512, Prefixes: []netip.Prefix{netip.MustParsePrefix("2001:db8:a::/48")}},
		Sites:    []Site{{Name: "par1"}, {Name: "par2"}, {Name: "par3", Witness: true}},
		Servers: []Server{
			{Name: "par1-s1", Site: "par1"}, {Name: "par1-s2", Site: "par1"},
			{Name: "par2-s1", Site: "par2"}, {Name: "par2-s2", Site: "par2"},
		},
		Policies: []Policy{{Name: "hourly", Schedule: "@every 1h", Replicas: []SiteName{"par1", "par2"}}},
		Accounts: []Account{
			{Name: "guestbook", Tier: Gold, Policy: "hourly", Addresses: []netip.Addr{netip.MustParseAddr("2001:db8:a::100")}},
			{Name: "static", Tier: Bronze, Policy: "hourly", Addresses: []netip.Addr{netip.MustParseAddr("2001:db8:a::101")}},
		},
	}
}

// running assigns the account to par1-s1, with a repository that is ready.
func running(tb testing.TB) (*node, Token) {
	n := newPlatform(tb)
	n.must(RepositoryCreate, RepositoryCreateData{Account: "guestbook", Site: "par1", SealedPassword: []byte("sealed")})
	n.must(RepositoryReady, RepositoryReadyData{Account: "guestbook", Home: Home{Site: "par1", Epoch: 1}})
	token := n.must(Assign, AssignData{Account: "guestbook", Server: "par1-s1"}).Token
	return n, token
}

func backupTask(id TaskID, token Token) TaskCreateData {
	return TaskCreateData{Task: Task{ID: id, Kind: TaskBackup, Account: "guestbook", Server: "par1-s1", Token: token, Due: epoch}}
}

// snapshotID is a well-formed id made of one hexadecimal digit.
func snapshotID(digit string) SnapshotID { return SnapshotID(strings.Repeat(digit, 64)) }

// backedUp has done one backup, which gave this snapshot.
func backedUp(tb testing.TB) (*node, Token, SnapshotID) {
	n, token := running(tb)
	id := snapshotID("a")
	n.must(TaskCreate, backupTask("b1", token))
	n.must(TaskFinish, TaskFinishData{Task: "b1", Snapshot: &Snapshot{ID: id, Start: epoch, Finished: epoch.Add(time.Second), View: "btrfs"}})
	return n, token, id
}
