package raftstoretest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"drp/raftstore"
	"drp/raftstore/identity"
	"drp/raftstore/state"
)

// Cluster is a number of coordinators with disks and a network of their own. Use it in a synctest bubble.
type Cluster struct {
	Seed    int64
	Random  *rand.Rand // for the test's goroutine alone
	Network *Network

	t         testing.TB
	options   Options
	dir       string
	authority *identity.Authority
	peers     []raftstore.Peer
	reaping   sync.WaitGroup // of processes that were killed

	mu    sync.Mutex
	nodes []*Node
	led   []Led
	news  chan struct{} // closed at the next change of led, and of what ended
}

// Options of a cluster. The zero value is three nodes with the settings of production.
type Options struct {
	Nodes int
	Seed  int64                                  // 0: of DRP_TEST_SEED, or a new one
	Edit  func(node string, c *raftstore.Config) // before each start
	Spare int                                    // nodes that are peers of nobody yet, and not started
}

// Led is one time that a node began to lead: all that was committed before is in its state.
type Led struct {
	Node string
	At   time.Time
}

// Seed returns the seed of a test: DRP_TEST_SEED, or a new one. The test says it when it fails.
func Seed(t testing.TB) int64 {
	seed := rand.Int64N(1 << 40)
	if s, err := strconv.ParseInt(os.Getenv("DRP_TEST_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("again with: DRP_TEST_SEED=%d", seed)
		}
	})
	return seed
}

// New starts a cluster, which ends with the test. The first command of all is in: the cluster has its identity.
func New(t testing.TB, o Options) *Cluster {
	t.Helper()
	if o.Nodes == 0 {
		o.Nodes = 3
	}
	if o.Seed == 0 {
		o.Seed = Seed(t)
	}
	random := rand.New(rand.NewPCG(uint64(o.Seed), 0))
	c := &Cluster{
		Seed: o.Seed, Random: random, Network: newNetwork(rand.New(rand.NewPCG(uint64(o.Seed), 1))),
		t: t, options: o, dir: t.TempDir(), news: make(chan struct{}),
	}
	var err error
	if c.authority, err = identity.NewAuthority("7d1f"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	for i := range o.Nodes + o.Spare {
		name := string(rune('a' + i))
		address := fmt.Sprintf("[2001:db8::%x]:7400", i+1) // no names: nothing is looked up from a bubble
		c.nodes = append(c.nodes, &Node{Name: name, Address: address, Disk: newDisk(), Clock: &Clock{start: time.Now()}, cluster: c})
	}
	for _, n := range c.nodes[:o.Nodes] {
		c.peers = append(c.peers, raftstore.Peer{Name: n.Name, Address: n.Address})
	}
	for _, n := range c.nodes[:o.Nodes] {
		if err := raftstore.Prepare(n.dir()); err != nil {
			t.Fatal(err)
		}
		n.Start()
	}
	return c
}

// close ends what still runs. What hangs is let go, else it would never end.
func (c *Cluster) close() {
	for _, n := range c.nodes {
		n.Disk.set(func(f *diskFaults) { *f = diskFaults{} })
		n.Freeze(false)
		n.Crash()
	}
	ended := make(chan struct{})
	go func() {
		c.reaping.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		c.t.Error("a store does not end within a minute after it was told to")
	}
}

// Nodes are those that there are, in order of their names.
func (c *Cluster) Nodes() []*Node { return slices.Clone(c.nodes) }

// Node by its name.
func (c *Cluster) Node(name string) *Node {
	for _, n := range c.nodes {
		if n.Name == name {
			return n
		}
	}
	c.t.Fatalf("there is no node %s", name)
	return nil
}

// Others are the nodes of the first configuration but those given.
func (c *Cluster) Others(but ...*Node) []*Node {
	var list []*Node
	for _, n := range c.nodes[:c.options.Nodes] {
		if !slices.Contains(but, n) {
			list = append(list, n)
		}
	}
	return list
}

func (c *Cluster) announce(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	close(c.news)
	c.news = make(chan struct{})
}

// AwaitLed waits until a node begins to lead that is not one of those given, after the time given.
func (c *Cluster) AwaitLed(after time.Time, within time.Duration, but ...*Node) Led {
	c.t.Helper()
	timeout := time.After(within)
	for {
		c.mu.Lock()
		news := c.news
		for _, l := range c.led {
			if !l.At.Before(after) && !slices.Contains(but, c.Node(l.Node)) {
				c.mu.Unlock()
				return l
			}
		}
		c.mu.Unlock()
		select {
		case <-news:
		case <-timeout:
			c.t.Fatalf("nobody leads after %s; %s", within, c.describe())
		}
	}
}

// Leader waits until some node answers a linearizable read.
func (c *Cluster) Leader(but ...*Node) *Node {
	c.t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for time.Now().Before(deadline) {
		for _, n := range c.nodes {
			if slices.Contains(but, n) {
				continue
			}
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			_, err := n.Read(ctx)
			cancel()
			if err == nil {
				return n
			}
		}
		time.Sleep(50 * time.Millisecond) // of the bubble's time
	}
	c.t.Fatalf("nobody leads after 2 minutes; %s", c.describe())
	return nil
}

func (c *Cluster) describe() string {
	s := fmt.Sprintf("seed %d;", c.Seed)
	for _, n := range c.nodes {
		if st := n.Store(); st != nil {
			v := st.Status()
			s += fmt.Sprintf(" %s: %s, leader %q, term %d, last %d, committed %d, applied %d, error %q;", n.Name, v.Role, v.Leader, v.Term, v.Last, v.Committed, v.Applied, v.Error)
		} else {
			s += fmt.Sprintf(" %s: down (%v);", n.Name, n.Ended())
		}
	}
	return s
}

// Do proposes a command until its outcome is known, under the same id, wherever a leader is.
func (c *Cluster) Do(cmd state.Command) state.Result {
	c.t.Helper()
	r, err := c.Try(2*time.Minute, cmd)
	if err != nil {
		c.t.Fatalf("%s %s: %v; %s", cmd.Name, cmd.ID, err, c.describe())
	}
	return r
}

// Try is Do, and gives up.
func (c *Cluster) Try(within time.Duration, cmd state.Command) (r state.Result, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	for ctx.Err() == nil {
		for _, n := range c.nodes {
			one, stop := context.WithTimeout(ctx, 5*time.Second)
			r, err = n.Propose(one, cmd)
			stop()
			if err == nil {
				return r, nil
			}
		}
		time.Sleep(50 * time.Millisecond) // of the bubble's time
	}
	return r, err
}

// Agree waits until all nodes that run have applied what the leader has, and holds that their states are the same.
func (c *Cluster) Agree() {
	c.t.Helper()
	leader := c.Leader()
	want := leader.Store().View()
	for _, n := range c.nodes {
		s := n.Store()
		if s == nil {
			continue
		}
		v := n.Await("the leader's state", func(v *state.View) bool { return v.Index() >= want.Index() })
		if v.Index() == want.Index() && Persisted(c.t, v) != Persisted(c.t, want) {
			c.t.Errorf("%s has another state than %s at %d", n.Name, leader.Name, want.Index())
		}
	}
}

// Node is one coordinator's machine.
type Node struct {
	Name    string
	Address string
	Disk    *Disk
	Clock   *Clock

	cluster *Cluster
	process *process // guarded by the cluster's lock, as all below; nil: down
	ended   error    // why the last process ended by itself
	frozen  chan struct{}
	joined  bool // it was no peer at the first start
}

// process is one run of a coordinator on a node.
type process struct {
	store *raftstore.Store
	host  *host
	dead  chan struct{} // closed when it was killed: nothing that it says then has reached anybody
	stop  context.CancelFunc
	led   chan struct{} // closed when Lead has returned
}

func (n *Node) dir() string { return filepath.Join(n.cluster.dir, n.Name) }

// Start starts the coordinator. It must be down.
func (n *Node) Start() {
	n.cluster.t.Helper()
	if err := n.start(nil); err != nil {
		n.cluster.t.Fatalf("start %s: %v", n.Name, err)
	}
}

// StartJoining starts a node that is spare: it waits to be added.
func (n *Node) StartJoining() {
	n.cluster.t.Helper()
	n.joined = true
	if err := raftstore.PrepareJoin(n.dir()); err != nil {
		n.cluster.t.Fatal(err)
	}
	n.Start()
}

// TryStart is Start for a node that may refuse to.
func (n *Node) TryStart() error { return n.start(nil) }

// start is Start, with a configuration changed.
func (n *Node) start(edit func(*raftstore.Config)) error {
	c := n.cluster
	cert, key, err := c.authority.Issue(identity.Coordinator, n.Name, nil, 24*time.Hour)
	if err != nil {
		return err
	}
	credentials, err := identity.New(cert, key, c.authority.CertificatePEM())
	if err != nil {
		return err
	}
	p := &process{host: c.Network.host(n.Name), dead: make(chan struct{}), led: make(chan struct{})}
	cfg := raftstore.Config{
		Name: n.Name, Dir: n.dir(), Peers: c.peers, Disk: n.Disk.mount(), Network: p.host,
		Server: credentials.Server(identity.Coordinator), Client: credentials.Client(identity.Coordinator),
		Logger: logger(c.t, n.Name), Clock: n.Clock,
		Fatal: func(err error) { n.end(p, err) },
	}
	cfg.Server.Time, cfg.Client.Time = n.Clock.Wall, n.Clock.Wall
	if n.joined {
		cfg.Peers = append(slices.Clone(cfg.Peers), raftstore.Peer{Name: n.Name, Address: n.Address})
	}
	if c.options.Edit != nil {
		c.options.Edit(n.Name, &cfg)
	}
	if edit != nil {
		edit(&cfg)
	}
	if p.store, err = raftstore.Open(cfg); err != nil {
		p.host.kill()
		return err
	}
	var ctx context.Context
	ctx, p.stop = context.WithCancel(context.Background())
	go func() {
		defer close(p.led)
		_ = p.store.Lead(ctx, func(ctx context.Context) error {
			c.announce(func() { c.led = append(c.led, Led{n.Name, time.Now()}) })
			<-ctx.Done()
			return nil
		})
	}()
	c.announce(func() { n.process, n.ended = p, nil })
	return nil
}

// logger is silent, unless somebody looks for a fault.
func logger(t testing.TB, name string) *slog.Logger {
	if os.Getenv("DRP_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", name)
}

// Crash ends the process as kill -9 or a loss of power does: what was not synced is lost, nobody is told anything.
// Of a node that is down it does nothing.
func (n *Node) Crash() { n.end(nil, nil) }

// end ends the present process; if only is set, that one alone.
func (n *Node) end(only *process, why error) {
	c := n.cluster
	c.mu.Lock()
	p := n.process
	if p == nil || only != nil && p != only {
		c.mu.Unlock()
		return
	}
	n.process, n.ended = nil, why
	close(p.dead)
	close(c.news)
	c.news = make(chan struct{})
	c.mu.Unlock()
	p.host.kill()
	n.Disk.crash()
	p.stop()
	c.reaping.Go(func() {
		_ = p.store.Close() // of a process that is dead nobody asks
		<-p.led
	})
}

// Ended is why the node's last process ended by itself.
func (n *Node) Ended() error {
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	return n.ended
}

// AwaitEnd waits until the process of this node ends by itself, and returns why.
func (n *Node) AwaitEnd(within time.Duration) error {
	n.cluster.t.Helper()
	timeout := time.After(within)
	for {
		n.cluster.mu.Lock()
		ended, news := n.ended, n.cluster.news
		n.cluster.mu.Unlock()
		if ended != nil {
			return ended
		}
		select {
		case <-news:
		case <-timeout:
			n.cluster.t.Fatalf("%s still runs after %s; %s", n.Name, within, n.cluster.describe())
		}
	}
}

// Restart is a crash and a start.
func (n *Node) Restart() {
	n.cluster.t.Helper()
	n.Crash()
	n.Start()
}

// Freeze is SIGSTOP and, with false, SIGCONT as far as others can tell: nothing is sent or received, no call answered. (The
// timers of raft inside go on; with real processes they do not.)
func (n *Node) Freeze(yes bool) {
	n.cluster.Network.freeze(n.Name, yes)
	n.Disk.Hang(yes)
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	switch {
	case yes && n.frozen == nil:
		n.frozen = make(chan struct{})
	case !yes && n.frozen != nil:
		close(n.frozen)
		n.frozen = nil
	}
}

// Store is nil while the node is down. Answers of its own methods do not know of crashes: Propose and Read of Node do.
func (n *Node) Store() *raftstore.Store {
	if p, _ := n.present(); p != nil {
		return p.store
	}
	return nil
}

func (n *Node) present() (*process, <-chan struct{}) {
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	return n.process, n.frozen
}

// ErrDown: nothing listens there, so nothing was done.
var ErrDown = errors.New("the node is down")

// Propose is Store.Propose as a client sees it: a process that was killed meanwhile has not answered.
func (n *Node) Propose(ctx context.Context, cmd state.Command) (state.Result, error) {
	p, err := n.reach(ctx)
	if err != nil {
		return state.Result{}, err
	}
	r, err := p.store.Propose(ctx, cmd)
	if lost := n.answered(ctx, p); lost != nil {
		return state.Result{}, lost
	}
	return r, err
}

// Read is Store.Read as a client sees it.
func (n *Node) Read(ctx context.Context) (*state.View, error) {
	p, err := n.reach(ctx)
	if err != nil {
		return nil, err
	}
	v, err := p.store.Read(ctx)
	if lost := n.answered(ctx, p); lost != nil {
		return nil, lost
	}
	return v, err
}

func (n *Node) reach(ctx context.Context) (*process, error) {
	p, frozen := n.present()
	if p == nil {
		return nil, ErrDown
	}
	if frozen != nil {
		select {
		case <-frozen:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: the node is frozen", raftstore.ErrUnknownOutcome)
		}
	}
	return p, nil
}

// answered tells whether an answer of a process has reached its client.
func (n *Node) answered(ctx context.Context, p *process) error {
	select {
	case <-p.dead:
		return fmt.Errorf("%w: the node was killed", raftstore.ErrUnknownOutcome)
	default:
	}
	if _, frozen := n.present(); frozen != nil {
		select {
		case <-frozen:
		case <-p.dead:
			return fmt.Errorf("%w: the node was killed", raftstore.ErrUnknownOutcome)
		case <-ctx.Done():
			return fmt.Errorf("%w: the node is frozen", raftstore.ErrUnknownOutcome)
		}
	}
	return nil
}

// Await waits until the node's state is as asked.
func (n *Node) Await(what string, holds func(*state.View) bool) *state.View {
	n.cluster.t.Helper()
	timeout := time.After(3 * time.Minute)
	for {
		s := n.Store()
		if s == nil {
			n.cluster.t.Fatalf("%s is down (%v), and was to have %s", n.Name, n.Ended(), what)
		}
		changed := s.Changed()
		if v := s.View(); holds(v) {
			return v
		}
		select {
		case <-changed:
		case <-s.Done():
			n.cluster.t.Fatalf("%s has ended (%v), and was to have %s", n.Name, s.Err(), what)
		case <-timeout:
			n.cluster.t.Fatalf("%s: %s never came; %s", n.Name, what, n.cluster.describe())
		}
	}
}
