package orchestrator

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/uuid"

	"drp/orchestrator/sealing"
	"drp/raftstore/state"
)

// memory is a Store that is the state alone. Commands fail once left has run down, every other one of them after it was
// applied: as when a leader dies.
type memory struct {
	mu      sync.Mutex
	state   *state.State
	index   uint64
	changed chan struct{}
	left    int
	asked   func(state.Command) // before each; nil: nobody wants to know
}

func newMemory() *memory {
	return &memory{state: state.New(), changed: make(chan struct{}), left: 1 << 30}
}

func (m *memory) Propose(_ context.Context, c state.Command) (state.Result, error) {
	if m.asked != nil {
		m.asked(c)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.left--; m.left < 0 && m.left%2 != 0 {
		return state.Result{}, ErrUnknownOutcome
	}
	m.index++
	r, err := m.state.Apply(m.index, c)
	if err != nil {
		return r, err
	}
	close(m.changed)
	m.changed = make(chan struct{})
	if m.left < 0 {
		return state.Result{}, ErrUnknownOutcome
	}
	return r, nil
}

func (m *memory) View() *state.View {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.View()
}

func (m *memory) Read(context.Context) (*state.View, error)                     { return m.View(), nil }
func (m *memory) Leader() (string, bool)                                        { return "a", true }
func (m *memory) Lead(ctx context.Context, f func(context.Context) error) error { return f(ctx) }

func (m *memory) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

// rolls is a Membership that only knows who belongs to it.
type rolls struct {
	Membership
	names func() []string
}

func (r rolls) Members() []Member {
	var all []Member
	for _, name := range r.names() {
		all = append(all, Member{Name: name})
	}
	return all
}

// college is coordinators round one state, any of which can lead.
type college struct {
	*memory
	t       testing.TB
	at      time.Time
	offline *age.X25519Identity
	members map[string]*fellow

	belong  sync.Mutex
	cluster []string // as Raft has it
}

// present may be asked while coordinators come and go.
func (c *college) present() []string {
	c.belong.Lock()
	defer c.belong.Unlock()
	return slices.Clone(c.cluster)
}

type fellow struct {
	*Orchestrator
	identity *age.X25519Identity
}

// newCollege has a platform in its state, and these coordinators in the cluster.
func newCollege(t testing.TB, names ...string) *college {
	t.Helper()
	c := &college{memory: newMemory(), t: t, at: time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC), offline: newIdentity(t), members: map[string]*fellow{}}
	p := newPlatform(t)
	c.memory.state, c.memory.index = p.state, p.index
	c.must(state.ClusterLevel, state.ClusterLevelData{Level: state.Level})
	for _, name := range names {
		c.members[name] = &fellow{identity: newIdentity(t)}
		c.cluster = append(c.cluster, name)
	}
	for _, name := range names {
		c.employ(name, true)
	}
	return c
}

// employ gives a coordinator its configuration, of the present cluster. With recipients its peers have theirs in it.
func (c *college) employ(name string, recipients bool) {
	f := c.members[name]
	config := Config{
		Name: name, Cluster: "c", Site: "par1", Store: c.memory, Sealer: sealing.New(f.identity), Peers: noPeers{},
		Clock: func() time.Time { return c.at }, Logger: slog.New(slog.DiscardHandler),
		Membership: rolls{names: c.present},
		Recipients: []string{c.offline.Recipient().String()},
	}
	for _, n := range c.cluster {
		m := state.Member{Name: n, Site: "par1", Raft: n + ":7400", API: "https://" + n + ":7443"}
		recipient := c.members[n].identity.Recipient().String()
		config.Recipients = append(config.Recipients, recipient)
		if recipients {
			m.Recipient = recipient
		}
		config.Coordinators = append(config.Coordinators, m)
	}
	f.Orchestrator = New(config)
}

func (c *college) must(name state.Name, payload any) {
	c.t.Helper()
	r, err := c.Propose(c.t.Context(), state.NewCommand(name, uuid.NewString(), c.at, "test", payload))
	if err != nil || r.Err != nil {
		c.t.Fatalf("%s: %v, %v", name, err, r.Err)
	}
}

// lead makes one of them look after the keyring, as a new leader, until it has nothing to do.
func (c *college) lead(name string) *fellow {
	c.t.Helper()
	f := c.members[name]
	f.setSince(c.at)
	f.observed.reset()
	for _, other := range c.cluster {
		if other != name {
			f.observed.coordinator(other, c.members[other].introduce(), c.at)
		}
	}
	k := &keeper{Orchestrator: f.Orchestrator}
	for range 30 {
		before := c.index
		_ = k.look(c.t.Context()) // the state shows what came of it
		if c.index == before {
			return f
		}
	}
	c.t.Fatal("the keyring does not come to rest")
	return nil
}

func newIdentity(t testing.TB) *age.X25519Identity {
	t.Helper()
	i, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return i
}
