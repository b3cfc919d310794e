package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"drp/e2e/coordinators"
	"drp/orchestrator/api"
	"drp/orchestrator/inventory"
	"drp/raftstore/state"
)

const (
	accounts   = 24
	clients    = 6
	firstValue = 16
	patience   = 3 * time.Second // of a client; then the outcome is unknown to it
	rotation   = 40              // operations under one token
)

func accountName(i int) string { return fmt.Sprintf("a%d", i) }

// accountText is an account whose plan has so many MiB of memory.
func accountText(name string, value int64) string {
	return fmt.Sprintf("kind: account\nname: %s\nplan: {memory: %dMiB, processes: 10, cpu: 1, disk: 1GiB}\ntier: silver\npolicy: p\n", name, value)
}

const platformText = `kind: provider
name: chaos
as: 64512
prefixes: ["2001:db8:a::/48"]
---
kind: site
name: par1
gateways: ["https://[2001:db8:f001::30]:7460"]
store: {endpoint: "https://s3.par1.example", bucket: drp-par1}
---
kind: policy
name: p
schedule: "@hourly"
replicas: [par1]
`

// crowd is the clients: people with certificates, and programs with tokens, which they change now and then.
type crowd struct {
	cluster *coordinators.Cluster
	history *history
	nodes   int
	value   atomic.Int64 // the last one that was given out

	mu      sync.Mutex
	tokens  map[string]*tokenRecord
	errors  map[string]int // by kind, for a person
	running sync.WaitGroup
	stop    context.CancelFunc
}

// tokenRecord is what is known of one token.
type tokenRecord struct {
	secret  string
	created bool // acknowledged
	asked   bool // somebody wanted it revoked
	revoked bool // acknowledged
}

func newCrowd(c *coordinators.Cluster, h *history) *crowd {
	w := &crowd{cluster: c, history: h, nodes: len(c.Nodes), tokens: map[string]*tokenRecord{}, errors: map[string]int{}}
	w.value.Store(firstValue)
	return w
}

// prepare makes the accounts.
func (w *crowd) prepare(ctx context.Context) error {
	client, err := w.cluster.Operator("setup", 30*time.Second, w.order(rand.New(rand.NewPCG(1, 1)))...)
	if err != nil {
		return err
	}
	defer client.Close()
	text := platformText
	for i := range accounts {
		text += "---\n" + accountText(accountName(i), firstValue)
	}
	_, err = client.Apply(ctx, uuid.NewString(), []inventory.File{{Name: "chaos.yaml", Data: []byte(text)}}, false)
	return err
}

// start lets the clients work until halt.
func (w *crowd) start(ctx context.Context, seed uint64) {
	ctx, w.stop = context.WithCancel(ctx)
	for i := range clients {
		w.running.Go(func() { w.work(ctx, i, rand.New(rand.NewPCG(seed, uint64(i)+1000))) })
	}
	for i := range w.nodes {
		w.running.Go(func() { w.look(ctx, i, rand.New(rand.NewPCG(seed, uint64(i)+2000))) })
	}
}

const (
	lookEvery    = 100 * time.Millisecond
	lookPatience = 8 * time.Second
	looksAtOnce  = 60
)

// look reads from one coordinator again and again, without waiting for the last answer: one that was stopped finds
// questions that were asked after others went on without it.
func (w *crowd) look(ctx context.Context, node int, r *rand.Rand) {
	client, err := w.cluster.Operator(fmt.Sprintf("looker%d", node), lookPatience, node)
	if err != nil {
		w.note(err)
		return
	}
	defer client.Close()
	var looks sync.WaitGroup
	defer looks.Wait()
	slots := make(chan struct{}, looksAtOnce)
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(lookEvery):
		}
		account := accountName(r.IntN(accounts))
		select {
		case slots <- struct{}{}:
		default:
			continue
		}
		looks.Go(func() {
			defer func() { <-slots }()
			w.read(ctx, client, clients+1+node, account)
		})
	}
}

// halt ends the clients; what they had under way has an unknown outcome.
func (w *crowd) halt() {
	w.stop()
	w.running.Wait()
}

func (w *crowd) order(r *rand.Rand) []int { return r.Perm(w.nodes) }

// work is one client's day.
func (w *crowd) work(ctx context.Context, id int, r *rand.Rand) {
	person, err := w.cluster.Operator(fmt.Sprintf("person%d", id), patience, w.order(r)...)
	if err != nil {
		w.note(err)
		return
	}
	defer person.Close()
	client, token := person, ""
	for n := 0; ctx.Err() == nil; n++ {
		if n%rotation == rotation/4 {
			next, name := w.token(ctx, person, id, n, r)
			if next != nil {
				if token != "" {
					w.revoke(ctx, person, token)
					client.Close()
				}
				client, token = next, name
			}
		}
		account, act := accountName(r.IntN(accounts)), w.write
		if r.IntN(3) == 0 {
			act = w.read
		}
		if act(ctx, client, id, account) {
			continue
		}
		select { // not as fast as it can, while nobody has an answer
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// write reports whether there was an answer.
func (w *crowd) write(ctx context.Context, c *api.Client, id int, account string) bool {
	o := operation{client: id, write: true, value: w.value.Add(1), call: w.history.now()}
	changes, err := c.Apply(ctx, uuid.NewString(), []inventory.File{{Name: "a.yaml", Data: []byte(accountText(account, o.value))}}, false)
	o.back, o.known = w.history.now(), err == nil
	if err == nil {
		o.found, o.foundSomething = replaced(changes)
		if !o.foundSomething {
			w.note(fmt.Errorf("a write answered %q", changes))
		}
	}
	w.note(err)
	w.history.add(account, o)
	return o.known
}

// replaced reads what a write replaced from its answer: plan.memory 16777216 → 17825792.
func replaced(changes []string) (int64, bool) {
	for _, line := range changes {
		_, rest, ok := strings.Cut(line, "plan.memory ")
		if !ok {
			continue
		}
		var before, after int64
		if _, err := fmt.Sscanf(rest, "%d → %d", &before, &after); err == nil {
			return before >> 20, true
		}
	}
	return 0, false
}

func (w *crowd) read(ctx context.Context, c *api.Client, id int, account string) bool {
	o := operation{client: id, call: w.history.now()}
	d, err := c.Account(ctx, state.AccountName(account))
	o.back, o.known = w.history.now(), err == nil
	if err == nil {
		o.found, o.foundSomething = d.Account.Plan.Memory>>20, true
	}
	w.note(err)
	w.history.add(account, o)
	return o.known
}

// token makes a token and a client that shows it.
func (w *crowd) token(ctx context.Context, c *api.Client, id, n int, r *rand.Rand) (*api.Client, string) {
	name := fmt.Sprintf("t%d-%d", id, n)
	secret, err := c.CreateToken(ctx, name, "operator", time.Hour)
	w.note(err)
	w.mu.Lock()
	w.tokens[name] = &tokenRecord{secret: secret, created: err == nil}
	w.mu.Unlock()
	if err != nil {
		return nil, ""
	}
	client, err := w.cluster.Bearer(secret, patience, w.order(r)...)
	if err != nil {
		w.note(err)
		return nil, ""
	}
	return client, name
}

func (w *crowd) revoke(ctx context.Context, c *api.Client, name string) {
	w.mu.Lock()
	record := w.tokens[name]
	record.asked = true
	w.mu.Unlock()
	err := c.RevokeToken(ctx, name)
	w.note(err)
	w.mu.Lock()
	defer w.mu.Unlock()
	// Not found: a try before this one was carried out, and its answer was lost.
	record.revoked = err == nil || errors.Is(err, state.ErrNotFound)
}

// note counts what went wrong, in a form that is short enough for a person.
func (w *crowd) note(err error) {
	if err == nil || errors.Is(err, context.Canceled) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	text := err.Error()
	w.errors[text[:min(len(text), 160)]]++
}
