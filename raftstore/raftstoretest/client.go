package raftstoretest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"drp/raftstore/state"
)

// Platform are the accounts and servers that clients work on.
var (
	accounts = []state.AccountName{"guestbook", "shop", "static"}
	servers  = []state.ServerName{"par1-s1", "par1-s2", "par1-s3"}
)

const site state.SiteName = "par1"

// snapshotOf is the id of the snapshot that an account's assignments restore.
func snapshotOf(a state.AccountName) state.SnapshotID {
	return state.SnapshotID(strings.Repeat(fmt.Sprintf("%02x", len(a)), 32))
}

// Furnish makes the platform: a site, servers, and accounts that were assigned once and backed up. The history begins there.
func (c *Cluster) Furnish(h *History) {
	c.t.Helper()
	must := func(name state.Name, id string, payload any) state.Result {
		c.t.Helper()
		r := c.Do(state.NewCommand(name, id, time.Now(), "operator/ada", payload))
		if r.Err != nil {
			c.t.Fatalf("%s %s: refused: %v", name, id, r.Err)
		}
		return r
	}
	must(state.ClusterInit, "init", state.ClusterInitData{UUID: "7d1f", Incarnation: 1})
	d := state.InventoryData{Sites: []state.Site{{Name: site}}, Policies: []state.Policy{{Name: "hourly", Schedule: "@hourly", Retention: 24 * time.Hour}}}
	plan := state.Resources{Memory: 1 << 20, Processes: 1, CPU: 0.1, Disk: 1 << 20}
	for _, s := range servers {
		d.Servers = append(d.Servers, state.Server{Name: s, Site: site, Capacity: plan})
	}
	for _, a := range accounts {
		d.Accounts = append(d.Accounts, state.Account{Name: a, Plan: plan, Policy: "hourly", Site: site})
	}
	must(state.InventoryApply, "inventory", d)
	for _, a := range accounts {
		end := h.Begin(0, Operation{Kind: Assign, Account: a, Server: servers[0]})
		r := must(state.Assign, "assign-"+string(a), state.AssignData{Account: a, Server: servers[0]})
		end(Answer{Changed: true, Account: Account{Generation: r.Token.Generation}})
		task := state.TaskID("backup-" + a)
		must(state.TaskCreate, "create-"+string(task), state.TaskCreateData{Task: state.Task{ID: task, Kind: state.TaskBackup, Account: a, Token: r.Token, Due: time.Now()}})
		must(state.TaskFinish, "finish-"+string(task), state.TaskFinishData{Task: task, Snapshot: &state.Snapshot{ID: snapshotOf(a), Start: time.Now(), View: "btrfs"}})
	}
}

// Client asks for one thing after the other, and each again under its id until it knows the outcome or has had enough.
type Client struct {
	Number  int
	Cluster *Cluster
	History *History
	// Faults of the client itself, to see that the checker finds what they break.
	FreshIDs    bool // a retry gets an id of its own
	StaleRead   bool // reads are answered by any node's View
	LoseAnswers bool // the first answer to each operation does not arrive

	random *rand.Rand
	known  map[state.AccountName]Account // what it was told last
	asked  int
	near   int // the node that answered last
}

// Run asks until ctx ends.
func (c *Client) Run(ctx context.Context) {
	c.random = rand.New(rand.NewPCG(uint64(c.Cluster.Seed), 100+uint64(c.Number)))
	c.known = map[state.AccountName]Account{}
	for ctx.Err() == nil {
		c.Ask(c.operation())
		select {
		case <-time.After(time.Duration(c.random.IntN(300)) * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

func (c *Client) operation() Operation {
	a := accounts[c.random.IntN(len(accounts))]
	known := c.known[a]
	o := Operation{Kind: Read, Account: a, Generation: known.Generation}
	switch p := c.random.IntN(10); {
	case p < 4 || known.Generation == 0:
	case p < 5:
		o.Kind = Stop
	case p < 6 && !known.Fenced || p == 9:
		o.Kind = Fence
	default:
		o.Kind, o.Server = Assign, servers[c.random.IntN(len(servers))]
	}
	if o.Kind == Read {
		o.Generation = 0
	}
	return o
}

const (
	patience   = 20 * time.Second // with one operation
	perAttempt = 3 * time.Second
)

// Ask carries one operation out, as far as the cluster lets it.
func (c *Client) Ask(o Operation) Answer {
	c.asked++
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	end := c.History.Begin(c.Number, o)
	a := c.ask(ctx, o)
	end(a)
	known := c.known[o.Account]
	switch {
	case a.Unknown || a.Refused:
	case o.Kind == Read:
		known = a.Account
	case o.Kind == Assign:
		known = Account{Server: o.Server, Generation: a.Account.Generation}
	case o.Kind == Fence:
		known.Fenced = true
	case o.Kind == Stop:
		known.Stopped = true
	}
	if c.known != nil {
		c.known[o.Account] = known
	}
	return a
}

func (c *Client) ask(ctx context.Context, o Operation) Answer {
	lost := false
	for attempt := 0; ; attempt++ {
		nodes := c.Cluster.nodes
		n := nodes[c.near%len(nodes)]
		id := fmt.Sprintf("client%d-%d", c.Number, c.asked)
		if c.FreshIDs {
			id += fmt.Sprintf("-%d", attempt)
		}
		one, cancel := context.WithTimeout(ctx, perAttempt)
		a, err := c.on(one, n, id, o)
		cancel()
		if err == nil && (!c.LoseAnswers || lost) {
			return a
		}
		lost = err == nil
		if err != nil {
			c.near++
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return Answer{Unknown: true}
		}
	}
}

// on asks one node.
func (c *Client) on(ctx context.Context, n *Node, id string, o Operation) (Answer, error) {
	if o.Kind == Read {
		v, err := c.read(ctx, n)
		if err != nil {
			return Answer{}, err
		}
		return Answer{Account: seen(v, o.Account)}, nil
	}
	r, err := n.Propose(ctx, o.command(id))
	if err != nil {
		return Answer{}, err
	}
	if r.Err != nil {
		return Answer{Refused: true}, nil
	}
	return Answer{Changed: r.Changed, Account: Account{Generation: r.Token.Generation}}, nil
}

func (c *Client) read(ctx context.Context, n *Node) (*state.View, error) {
	if !c.StaleRead {
		return n.Read(ctx)
	}
	if s := n.Store(); s != nil {
		return s.View(), nil
	}
	return nil, ErrDown
}

// seen is an account as a view shows it.
func seen(v *state.View, name state.AccountName) Account {
	a := v.Assignment(name)
	if a == nil {
		return Account{}
	}
	return Account{Server: a.Server, Generation: a.Token.Generation, Stopped: a.Stop, Fenced: a.Fenced != nil}
}

func (o Operation) command(id string) state.Command {
	token := state.Token{Incarnation: 1, Generation: o.Generation}
	if o.Generation == 0 {
		token = state.Token{}
	}
	name, payload := state.Assign, any(state.AssignData{
		Account: o.Account, Server: o.Server, Previous: token, Restore: &state.RestorePoint{Snapshot: snapshotOf(o.Account), Site: site},
	})
	switch o.Kind {
	case Stop:
		name, payload = state.AssignmentStop, state.AssignmentStopData{Account: o.Account, Token: token}
	case Fence:
		name, payload = state.AssignmentFenced, state.AssignmentFencedData{Account: o.Account, Token: token, Method: state.ConfirmedDown, By: "ada"}
	}
	return state.NewCommand(name, id, time.Now(), "operator/ada", payload)
}

// Load runs a number of clients until the function that it returns is called, which waits for them.
func (c *Cluster) Load(h *History, clients int, edit func(*Client)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{}, clients)
	for i := range clients {
		client := &Client{Number: i + 1, Cluster: c, History: h, near: i}
		if edit != nil {
			edit(client)
		}
		go func() {
			client.Run(ctx)
			done <- struct{}{}
		}()
	}
	return func() {
		cancel()
		for range clients {
			<-done
		}
	}
}
