package raftstoretest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"drp/raftstore"
	"drp/raftstore/identity"
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
