package raftstoretest

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"drp/raftstore"
	"drp/raftstore/identity"
)

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
	ip, _, err := net.SplitHostPort(n.Address)
	if err != nil {
		return err
	}
	p := &process{host: c.Network.host(n.Name, ip), dead: make(chan struct{}), led: make(chan struct{})}
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
