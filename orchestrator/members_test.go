package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

// noPeers are coordinators that nobody reaches.
type noPeers struct{}

func (noPeers) Probe(context.Context, state.SiteName, wire.Probe) (wire.ProbeResult, error) {
	return wire.ProbeResult{}, errors.New("nobody there")
}
func (noPeers) TellContacts(context.Context, wire.Contacts, func(string, wire.Introduction)) {}
func (noPeers) Sites() []state.SiteName                                                      { return nil }

// council is a cluster of coordinators that does at once what it is told, and the store of one of them.
type council struct {
	*platform
	name    string // of the coordinator that is tested
	leader  string
	members []Member
	alarms  []Alarm
	fails   map[string]error
	did     []string
}

func newCouncil(t testing.TB, answering map[string]bool) (*council, *Orchestrator) {
	t.Helper()
	c := &council{platform: newPlatform(t), name: "par1-c", leader: "par1-c", fails: map[string]error{}}
	c.apply(state.ClusterLevel, state.ClusterLevelData{Level: state.Level})
	var configured []state.Member
	for name, answers := range answering {
		m := Member{Name: name, Address: name + ".test:7400", Role: RoleVoter, Level: state.Level, Last: 100, Applied: 100, LastContact: c.at.Add(-time.Second)}
		if !answers {
			m.LastContact = c.at.Add(-time.Hour)
		}
		c.members = append(c.members, m)
		configured = append(configured, state.Member{Name: name, Site: state.SiteName(name[:4]), Raft: m.Address, API: "https://" + name + ".test:7443"})
	}
	o := New(Config{Name: c.name, Cluster: "c", Site: "par1", Coordinators: configured, Store: c, Membership: c, Peers: noPeers{},
		Logger: slog.New(slog.DiscardHandler), Clock: func() time.Time { return c.at }})
	o.setSince(c.since)
	return c, o
}

func (c *council) Propose(_ context.Context, cmd state.Command) (state.Result, error) {
	c.index++
	if err := c.do(string(cmd.Name)); err != nil {
		return state.Result{}, err
	}
	return c.state.Apply(c.index, cmd)
}
func (c *council) View() *state.View                                       { return c.state.View() }
func (c *council) Read(context.Context) (*state.View, error)               { return c.View(), nil }
func (c *council) Leader() (string, bool)                                  { return c.leader, c.leader != "" }
func (c *council) Lead(context.Context, func(context.Context) error) error { return nil }
func (c *council) Changed() <-chan struct{}                                { return nil }
func (c *council) Members() []Member                                       { return slices.Clone(c.members) }
func (c *council) Alarms() []Alarm                                         { return c.alarms }
func (c *council) ReadStale() (*state.View, time.Duration, error)          { return c.View(), time.Minute, nil }
func (c *council) Snapshot(context.Context) error                          { return c.do("snapshot") }

func (c *council) do(what string) error {
	c.did = append(c.did, what)
	return c.fails[what]
}

func (c *council) Add(_ context.Context, name, address string) error {
	if err := c.do("add"); err != nil {
		return err
	}
	if find(c.members, name) == nil {
		c.members = append(c.members, Member{Name: name, Address: address, Role: RoleNonVoter, LastContact: c.at})
	}
	return nil
}

func (c *council) Remove(_ context.Context, name string) error {
	if err := c.do("remove"); err != nil {
		return err
	}
	c.members = slices.DeleteFunc(c.members, func(m Member) bool { return m.Name == name })
	return nil
}

func (c *council) Transfer(_ context.Context, to string) error {
	if err := c.do("transfer"); err != nil {
		return err
	}
	if c.leader = to; to == "" {
		c.leader = "par2-c"
	}
	return nil
}

func (c *council) Verify(context.Context) (*Verification, error) {
	return &Verification{Index: 256, Nodes: []NodeDigest{{Name: "par1-c", Same: true, Digest: "aa"}}}, c.fails["verify"]
}

func (c *council) joining(t testing.TB) JoinRequest {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return JoinRequest{Name: "par3-d", Site: "par3", Address: "par3-d.test:7400", API: "https://par3-d.test:7443", Recipient: id.Recipient().String()}
}

func three() map[string]bool { return map[string]bool{"par1-c": true, "par2-c": true, "par3-c": false} }

func TestOrchestrator_Join(t *testing.T) {
	c, o := newCouncil(t, three())
	r := c.joining(t)
	for range 2 { // the second one changes nothing
		warnings, err := o.Join(t.Context(), "operator/claire", r)
		if err != nil {
			t.Fatal(err)
		}
		if len(warnings) == 0 || !strings.Contains(warnings[0], "even") {
			t.Errorf("got warnings %q, want one about four voters", warnings)
		}
	}
	want := state.Member{Name: "par3-d", Site: "par3", Raft: r.Address, API: r.API, Recipient: r.Recipient}
	if got := c.View().Member("par3-d"); got == nil || *got != want {
		t.Errorf("got record %+v, want %+v", got, want)
	}
	if got, want := c.did, []string{"member.set", "add", "add"}; !slices.Equal(got, want) {
		t.Errorf("did %v, want %v", got, want)
	}
	report, err := o.Members()
	if err != nil {
		t.Fatal(err)
	}
	if m := find(report.Members, "par3-d"); m == nil || m.Role != RoleNonVoter || m.Site != "par3" || m.API != r.API {
		t.Errorf("got %+v", m)
	}
}

// What would give two machines one vote, or leave a coordinator that nobody reaches, is refused before anything is written.
func TestOrchestrator_Join_refuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*JoinRequest)
		want   error
		says   string
	}{
		{"a member's name at another address", func(r *JoinRequest) { r.Name = "par3-c" }, ErrRefused, "two votes"},
		{"a member's address", func(r *JoinRequest) { r.Address = "par2-c.test:7400" }, ErrRefused, "is the address of par2-c"},
		{"a member's API", func(r *JoinRequest) { r.API = "https://par2-c.test:7443" }, ErrRefused, "is the API of par2-c"},
		{"no name", func(r *JoinRequest) { r.Name = "Par 3" }, state.ErrInvalid, "no name"},
		{"no site", func(r *JoinRequest) { r.Site = "" }, state.ErrInvalid, "site"},
		{"no port", func(r *JoinRequest) { r.Address = "par3-d.test" }, state.ErrInvalid, "HOST:PORT"},
		{"port 0", func(r *JoinRequest) { r.Address = "par3-d.test:0" }, state.ErrInvalid, "no port"},
		{"everywhere", func(r *JoinRequest) { r.Address = "[::]:7400" }, state.ErrInvalid, "cannot reach"},
		{"no host", func(r *JoinRequest) { r.Address = ":7400" }, state.ErrInvalid, "cannot reach"},
		{"API without TLS", func(r *JoinRequest) { r.API = "http://par3-d.test:7443" }, state.ErrInvalid, "https"},
		{"API at the Raft port", func(r *JoinRequest) { r.API = "https://" + r.Address }, state.ErrInvalid, "Raft port"},
		{"no recipient", func(r *JoinRequest) { r.Recipient = "" }, state.ErrInvalid, "age1"},
		{"a secret key for a recipient", func(r *JoinRequest) { r.Recipient = "AGE-SECRET-KEY-1X" }, state.ErrInvalid, "age1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			council, o := newCouncil(t, three())
			r := council.joining(t)
			c.change(&r)
			_, err := o.Join(t.Context(), "operator/claire", r)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %v that says %q", err, c.want, c.says)
			}
			if len(council.did) > 0 {
				t.Errorf("did %v, want nothing", council.did)
			}
		})
	}
	t.Run("another's age key", func(t *testing.T) {
		council, o := newCouncil(t, three())
		r := council.joining(t)
		if _, err := o.Join(t.Context(), "operator/claire", r); err != nil {
			t.Fatal(err)
		}
		r.Name, r.Address, r.API = "par3-e", "par3-e.test:7400", "https://par3-e.test:7443"
		if _, err := o.Join(t.Context(), "operator/claire", r); !errors.Is(err, ErrRefused) {
			t.Errorf("got %v, want %v", err, ErrRefused)
		}
	})
	t.Run("by one that does not lead", func(t *testing.T) {
		council, o := newCouncil(t, three())
		o.setSince(time.Time{})
		if _, err := o.Join(t.Context(), "operator/claire", council.joining(t)); !errors.Is(err, ErrNotLeader) {
			t.Errorf("got %v, want %v", err, ErrNotLeader)
		}
	})
}

// One that was removed, or not added yet, does not speak for the cluster: another one is asked.
func TestOrchestrator_Members_ofOneThatIsNone(t *testing.T) {
	c, o := newCouncil(t, three())
	c.leader = ""
	if r, err := o.Members(); err != nil || r.Leader != "" {
		t.Errorf("got %+v (%v), want what a member knows by itself", r, err)
	}
	c.members = slices.DeleteFunc(c.members, func(m Member) bool { return m.Name == c.name })
	if r, err := o.Members(); !errors.Is(err, ErrNotLeader) || !strings.Contains(err.Error(), "no member of the cluster") {
		t.Errorf("got %+v (%v), want %v, so that another one is asked", r, err, ErrNotLeader)
	}
}

// A voter that cannot write acknowledges nothing: it is not counted among those that a decision can wait for.
func TestOrchestrator_Members_fullDisk(t *testing.T) {
	c, o := newCouncil(t, three()) // par3-c is silent
	find(c.members, "par2-c").DiskFull = "its disk is full"
	r, err := o.Members()
	if err != nil {
		t.Fatal(err)
	}
	if r.Quorum.Answering != 1 || r.Quorum.Survives >= 0 {
		t.Errorf("got %s, want that nothing can be decided", r.Quorum)
	}
}

// A record without a member is left only where nobody knows whether the member is there.
func TestOrchestrator_Join_brokenOff(t *testing.T) {
	for _, c := range []struct {
		cause error
		stays bool
	}{{fmt.Errorf("it is of another cluster: %w", ErrRefused), false}, {ErrUnknownOutcome, true}, {ErrNotLeader, true}} {
		council, o := newCouncil(t, three())
		council.fails["add"] = c.cause
		if _, err := o.Join(t.Context(), "operator/claire", council.joining(t)); !errors.Is(err, c.cause) {
			t.Errorf("got %v, want %v", err, c.cause)
		}
		if got := council.View().Member("par3-d") != nil; got != c.stays {
			t.Errorf("%v: record stays %t, want %t", c.cause, got, c.stays)
		}
		if !c.stays {
			continue
		}
		report, err := o.Members()
		if err != nil {
			t.Fatal(err)
		}
		if m := find(report.Members, "par3-d"); m == nil || m.Role != RoleUnfinished || m.Problem == "" {
			t.Errorf("got %+v, want it shown as unfinished", m)
		}
	}
}

func TestRemovalOf(t *testing.T) {
	five := map[string]bool{"par1-c": true, "par2-c": true, "par3-c": true, "par4-c": true, "par5-c": false}
	for _, c := range []struct {
		name      string
		members   map[string]bool
		remove    string
		refused   string
		doubt     string
		after     Quorum
		following string
	}{
		{"the silent one of three", three(), "par3-c", "", "", Quorum{2, 2, 2, 0}, "next failure stops every decision"},
		{"a healthy one of three, with another silent", three(), "par2-c", "of the 2 voters that stay 1 answer and 2 are needed", "", Quorum{2, 2, 1, -1}, ""},
		{"the leader of three, with another silent", three(), "par1-c", "silent: par3-c", "", Quorum{2, 2, 1, -1}, ""},
		{"a healthy one of five, with another silent", five, "par4-c", "", "par5-c is silent", Quorum{4, 3, 3, 0}, "even"},
		{"the silent one of five", five, "par5-c", "", "", Quorum{4, 3, 4, 1}, "even"},
		{"the leader of five", five, "par1-c", "", "par5-c is silent", Quorum{4, 3, 3, 0}, "another voter is made the leader first"},
		{"the only one", map[string]bool{"par1-c": true}, "par1-c", "only voter", "", Quorum{0, 1, 0, -1}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, o := newCouncil(t, c.members)
			p, err := o.PlanRemoval(t.Context(), c.remove)
			if err != nil {
				t.Fatal(err)
			}
			if (c.refused == "") != (p.Refused == "") || !strings.Contains(p.Refused, c.refused) {
				t.Errorf("refused: got %q, want %q", p.Refused, c.refused)
			}
			doubts := strings.Join(p.Doubts, "; ")
			if (c.doubt == "") != (doubts == "") || !strings.Contains(doubts, c.doubt) {
				t.Errorf("doubts: got %q, want %q", doubts, c.doubt)
			}
			if p.After != c.after {
				t.Errorf("after: got %+v, want %+v", p.After, c.after)
			}
			all := strings.Join(p.Consequences, "; ")
			for _, want := range []string{c.following, "sealed anew", "revoke", "must never be started again"} {
				if !strings.Contains(all, want) {
					t.Errorf("consequences: got %q, want %q in it", all, want)
				}
			}
		})
	}
}

func TestOrchestrator_RemoveMember(t *testing.T) {
	four := map[string]bool{"par1-c": true, "par2-c": true, "par3-c": false, "par3-d": true}
	plan := func(t *testing.T, o *Orchestrator, name string) *RemovalPlan {
		t.Helper()
		p, err := o.PlanRemoval(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	t.Run("the dead one, with its record", func(t *testing.T) {
		c, o := newCouncil(t, four)
		c.apply(state.MemberSet, state.MemberSetData{Member: state.Member{Name: "par3-c", Raft: "par3-c.test:7400", API: "https://par3-c.test:7443"}})
		if err := o.RemoveMember(t.Context(), "operator/claire", "par3-c", plan(t, o, "par3-c").Hash); err != nil {
			t.Fatal(err)
		}
		if got, want := c.did, []string{"audit.note", "remove", "member.remove"}; !slices.Equal(got, want) {
			t.Errorf("did %v, want %v", got, want)
		}
		if c.View().Member("par3-c") != nil {
			t.Error("its record stays")
		}
	})
	t.Run("what broke off is finished", func(t *testing.T) {
		c, o := newCouncil(t, four)
		c.apply(state.MemberSet, state.MemberSetData{Member: state.Member{Name: "par9-c", Raft: "par9-c.test:7400", API: "https://par9-c.test:7443"}})
		if err := o.RemoveMember(t.Context(), "operator/claire", "par9-c", "of the first attempt"); err != nil {
			t.Fatal(err)
		}
		if got, want := c.did, []string{"member.remove"}; !slices.Equal(got, want) {
			t.Errorf("did %v, want %v", got, want)
		}
	})
	t.Run("not when somebody fell silent since the plan", func(t *testing.T) {
		c, o := newCouncil(t, map[string]bool{"par1-c": true, "par2-c": true, "par3-c": true, "par4-c": true, "par5-c": true})
		p := plan(t, o, "par5-c")
		find(c.members, "par4-c").LastContact = c.at.Add(-time.Minute)
		if err := o.RemoveMember(t.Context(), "operator/claire", "par5-c", p.Hash); !errors.Is(err, ErrRefused) {
			t.Errorf("got %v, want %v", err, ErrRefused)
		}
		if len(c.did) > 0 {
			t.Errorf("did %v, want nothing", c.did)
		}
	})
	t.Run("not where the quorum would be lost", func(t *testing.T) {
		c, o := newCouncil(t, three())
		err := o.RemoveMember(t.Context(), "operator/claire", "par2-c", plan(t, o, "par2-c").Hash)
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "1 answer and 2 are needed") {
			t.Errorf("got %v, want a refusal with the numbers", err)
		}
		if len(c.did) > 0 {
			t.Errorf("did %v, want nothing", c.did)
		}
	})
	t.Run("the leader hands over first", func(t *testing.T) {
		c, o := newCouncil(t, map[string]bool{"par1-c": true, "par2-c": true, "par3-c": true})
		err := o.RemoveMember(t.Context(), "operator/claire", "par1-c", plan(t, o, "par1-c").Hash)
		if !errors.Is(err, ErrNotLeader) {
			t.Errorf("got %v, want %v", err, ErrNotLeader)
		}
		if got, want := c.did, []string{"transfer"}; !slices.Equal(got, want) {
			t.Errorf("did %v, want %v", got, want)
		}
	})
	t.Run("nobody of that name", func(t *testing.T) {
		_, o := newCouncil(t, three())
		if err := o.RemoveMember(t.Context(), "operator/claire", "par9-c", ""); !errors.Is(err, state.ErrNotFound) || !strings.Contains(err.Error(), "par1-c, par2-c, par3-c") {
			t.Errorf("got %v, want %v that names those there are", err, state.ErrNotFound)
		}
	})
}

func TestOrchestrator_Transfer(t *testing.T) {
	for _, c := range []struct {
		to, leads string
		want      error
	}{
		{"par2-c", "par2-c", nil}, {"", "par2-c", nil}, {"par1-c", "par1-c", nil}, {"par3-c", "", ErrRefused}, {"par9-c", "", state.ErrNotFound}, {"par3-d", "", ErrRefused},
	} {
		council, o := newCouncil(t, three())
		council.members = append(council.members, Member{Name: "par3-d", Role: RoleNonVoter, LastContact: council.at})
		leads, err := o.Transfer(t.Context(), "operator/claire", c.to)
		if !errors.Is(err, c.want) || leads != c.leads {
			t.Errorf("transfer to %q: got %q, %v; want %q, %v", c.to, leads, err, c.leads, c.want)
		}
	}
}

// While a member is too old for entries about it, and while a disk is full, the leadership can still be handed on: both are
// reasons to do so.
func TestOrchestrator_Transfer_withoutRecord(t *testing.T) {
	t.Run("old level", func(t *testing.T) {
		c, o := newCouncil(t, three())
		c.state = state.New()
		c.apply(state.ClusterInit, state.ClusterInitData{UUID: "c", Incarnation: 1})
		if _, err := o.Transfer(t.Context(), "operator/claire", "par2-c"); err != nil {
			t.Fatal(err)
		}
		if got, want := c.did, []string{"transfer"}; !slices.Equal(got, want) {
			t.Errorf("did %v, want %v", got, want)
		}
	})
	t.Run("full disk", func(t *testing.T) {
		c, o := newCouncil(t, three())
		c.fails["audit.note"] = ErrReadOnly
		if _, err := o.Transfer(t.Context(), "operator/claire", "par2-c"); err != nil {
			t.Error(err)
		}
		find(c.members, "par1-c").Role = RoleVoter
		c.leader = "par1-c"
		if err := o.SnapshotLog(t.Context(), "operator/claire"); !errors.Is(err, ErrReadOnly) {
			t.Errorf("snapshot: got %v, want %v", err, ErrReadOnly)
		}
	})
}

func TestOrchestrator_VerifyMembers(t *testing.T) {
	_, o := newCouncil(t, three())
	v, err := o.VerifyMembers(t.Context(), "operator/claire")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range v.Nodes {
		if got, want := n.Problem == "", n.Name == "par1-c"; got != want {
			t.Errorf("%s: compared %t, want %t", n.Name, got, want)
		}
	}
	if got, want := len(v.Nodes), 3; got != want {
		t.Errorf("got %d nodes, want %d: whoever was not compared is named", got, want)
	}
}

func TestOrchestrator_Alarms(t *testing.T) {
	c, o := newCouncil(t, three())
	c.alarms = []Alarm{{Kind: "clock", Member: "par2-c", Message: "its clock stepped", Since: c.at.Add(-time.Minute)}}
	report, err := o.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, a := range report.Alarms {
		kinds = append(kinds, a.Kind+" "+a.Member)
	}
	if want := []string{"quorum ", "silent par3-c", "clock par2-c"}; !slices.Equal(kinds, want) {
		t.Errorf("got alarms %q, want %q", kinds, want)
	}
	roles := map[string]string{}
	for _, m := range report.Coordinators {
		roles[m.Name] = m.Role
	}
	if roles["par1-c"] != "leader" || roles["par2-c"] != "follower" {
		t.Errorf("got roles %v", roles)
	}
}

func TestOrchestrator_StaleStatus(t *testing.T) {
	c, o := newCouncil(t, three())
	o.setSince(time.Time{})
	c.leader = ""
	stale, err := o.ReadStale()
	if err != nil {
		t.Fatal(err)
	}
	report, err := o.StaleStatus(stale)
	if err != nil {
		t.Fatal(err)
	}
	if report.Stale == nil || *report.Stale != (StaleMark{From: "par1-c", Age: time.Minute}) {
		t.Errorf("got mark %+v", report.Stale)
	}
	if got, want := len(report.Servers), 4; got != want {
		t.Errorf("got %d servers, want %d", got, want)
	}
}

func TestOrchestrator_Acquainted(t *testing.T) {
	c, o := newCouncil(t, three())
	find(c.members, "par3-c").LastContact = time.Time{}
	for name, want := range map[string]Acquaintance{
		"par2-c": {From: "par1-c", Leader: "par1-c", Member: true, Heard: true},
		"par3-c": {From: "par1-c", Leader: "par1-c", Member: true},
		"par9-c": {From: "par1-c", Leader: "par1-c"},
	} {
		if got := o.Acquainted(name); got != want {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
	c.apply(state.MemberSet, state.MemberSetData{Member: state.Member{Name: "par3-c", Raft: "par3-c.test:7400", API: "https://par3-c.test:7443"}})
	if got := o.Acquainted("par3-c"); !got.Heard {
		t.Error("one of which there is a record has taken part")
	}
}
