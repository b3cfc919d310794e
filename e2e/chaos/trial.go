package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"drp/e2e/coordinators"
	"drp/orchestrator"
	"drp/orchestrator/api"
)

// trial is one run: a cluster, its clients, and what is done to it.
type trial struct {
	kind    kind
	seed    uint64
	random  *rand.Rand // what is done is the seed's; when the processes do something about it is not
	network *network
	cluster *coordinators.Cluster
	disks   []*disk
	history *history
	crowd   *crowd
	health  []*api.Client // one for each coordinator

	mu      sync.Mutex
	leaders []string      // one after the other, as far as most coordinators agreed
	worst   time.Duration // from the end of a fault to the next acknowledged write
}

const (
	startLimit   = 60 * time.Second
	recoverLimit = 90 * time.Second // after a fault has ended
)

// outcome is what a run's line says.
type outcome struct {
	ops, acked, leaders int
	worst               time.Duration
	verdict             verdict
}

// runTrial does one run of about this length. Its error means that the run could not be carried out, or that the
// cluster did not come back.
func runTrial(ctx context.Context, k kind, seed uint64, length time.Duration, program, dir string) (outcome, error) {
	t := &trial{kind: k, seed: seed, random: rand.New(rand.NewPCG(seed, 0))}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer t.close()
	if err := t.build(ctx, program, dir); err != nil {
		return outcome{}, err
	}
	if err := t.torment(ctx, length); err != nil {
		return outcome{}, errors.Join(err, fmt.Errorf("what the clients saw: %v", t.crowd.errors), t.cluster.Logs())
	}
	o := outcome{leaders: len(t.leaders), worst: t.worst, verdict: t.history.check()}
	o.ops, o.acked = t.history.counts()
	end, err := t.inspect(ctx)
	o.verdict.violations = append(o.verdict.violations, end...)
	if err != nil || len(o.verdict.violations) > 0 {
		err = errors.Join(err, t.cluster.Logs())
	}
	return o, err
}

func (t *trial) build(ctx context.Context, program, dir string) error {
	var err error
	if t.network, err = newNetwork(ctx, t.kind.nodes); err != nil {
		return err
	}
	var places []coordinators.Place
	for i := range t.kind.nodes {
		data := filepath.Join(dir, fmt.Sprintf("data%d", i))
		if t.kind.disks {
			d, err := newDisk(ctx, dir, fmt.Sprintf("disk%d", i))
			if err != nil {
				return err
			}
			t.disks, data = append(t.disks, d), d.data()
		}
		places = append(places, place(i, data))
	}
	t.cluster, err = coordinators.New(coordinators.Config{Program: program, Dir: dir, Places: places, Enter: t.network.enter})
	if err != nil {
		return err
	}
	if err := t.cluster.Init(ctx); err != nil {
		return err
	}
	for _, d := range t.disks {
		if err := d.sync(); err != nil {
			return err
		}
	}
	if err := t.cluster.Start(); err != nil {
		return err
	}
	for i := range t.cluster.Nodes {
		c, err := t.cluster.Operator("watch", 0, i)
		if err != nil {
			return err
		}
		t.health = append(t.health, c)
	}
	t.history = newHistory()
	t.crowd = newCrowd(t.cluster, t.history)
	ready, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := t.crowd.prepare(ready); err != nil {
		return fmt.Errorf("make accounts: %w: %w", err, t.cluster.Logs())
	}
	return nil
}

func (t *trial) close() {
	for _, d := range t.disks {
		_ = d.thaw() // a disk that hangs would outlive this program
	}
	if t.cluster != nil {
		t.cluster.Kill()
	}
	for _, c := range t.health {
		c.Close()
	}
	for _, d := range t.disks {
		d.close()
	}
}

// torment lets the clients work, and hurts the cluster until the time is over. After each fault it has to come back.
func (t *trial) torment(ctx context.Context, length time.Duration) error {
	t.crowd.start(ctx, t.seed)
	defer t.crowd.halt()
	watching, stop := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		for t.wait(watching, time.Second) {
			t.leader()
		}
	})
	defer func() { stop(); watch.Wait() }()
	until := time.Now().Add(length)
	if err := t.recovered(ctx); err != nil {
		return err
	}
	for n := 1; ctx.Err() == nil; n++ {
		t.wait(ctx, between(t.random, 300*time.Millisecond, 1500*time.Millisecond))
		if err := t.kind.hurt(ctx, t); err != nil {
			return fmt.Errorf("fault %d: %w", n, err)
		}
		began := time.Now()
		if err := t.recovered(ctx); err != nil {
			return fmt.Errorf("after fault %d: %w", n, err)
		}
		t.worst = max(t.worst, time.Since(began))
		if time.Now().After(until) {
			break
		}
	}
	return ctx.Err()
}

// recovered waits for a write that is acknowledged from now on.
func (t *trial) recovered(ctx context.Context) error {
	since := time.Now()
	for !t.history.acknowledged().After(since) {
		if time.Since(since) > recoverLimit {
			return fmt.Errorf("no write was acknowledged within %s", recoverLimit)
		}
		if !t.wait(ctx, 20*time.Millisecond) {
			return ctx.Err()
		}
	}
	return nil
}

// wait reports whether the time has passed; false: the run ends.
func (t *trial) wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// leader is whom most coordinators take for the leader.
func (t *trial) leader() (int, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	votes := map[string]int{}
	answers := make(chan string, len(t.health))
	for _, c := range t.health {
		go func() {
			h, err := c.Health(ctx)
			if err != nil {
				answers <- ""
				return
			}
			answers <- h.Leader
		}()
	}
	for range t.health {
		votes[<-answers]++
	}
	delete(votes, "")
	for i, n := range t.cluster.Nodes {
		if votes[n.Name()] > len(t.health)/2 {
			t.mu.Lock()
			defer t.mu.Unlock()
			if len(t.leaders) == 0 || t.leaders[len(t.leaders)-1] != n.Name() {
				t.leaders = append(t.leaders, n.Name())
			}
			return i, true
		}
	}
	return 0, false
}

// inspect looks at the end of the run whether everything acknowledged is there, on every coordinator.
func (t *trial) inspect(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	// The accounts: one more read of each, which belongs to the history.
	final := newCrowd(t.cluster, t.history)
	person, err := t.cluster.Operator("last", 30*time.Second, t.random.Perm(t.kind.nodes)...)
	if err != nil {
		return nil, err
	}
	defer person.Close()
	for i := range accounts {
		if !final.read(ctx, person, clients, accountName(i)) {
			return nil, fmt.Errorf("read account at the end: %v", final.errors)
		}
	}
	var wrong []string
	if v := t.history.check(); len(v.violations) > 0 {
		wrong = append(wrong, "at the end: "+strings.Join(v.violations, " "))
	}
	if err := t.compare(ctx, person, &wrong); err != nil {
		return wrong, err
	}
	return wrong, t.inspectNodes(ctx, &wrong)
}

// compare waits until all coordinators have been compared, and holds that their states are the same.
func (t *trial) compare(ctx context.Context, person *api.Client, wrong *[]string) error {
	for {
		v, err := person.VerifyMembers(ctx)
		compared := 0
		if err == nil {
			if !v.Recomputed {
				*wrong = append(*wrong, "a digest is not that of its rows")
			}
			for _, n := range v.Nodes {
				if n.Digest != "" {
					compared++
				}
				if n.Digest != "" && !n.Same {
					*wrong = append(*wrong, fmt.Sprintf("%s has another state at %d: %s", n.Name, v.Index, n.Problem))
				}
			}
			if compared == t.kind.nodes || len(*wrong) > 0 {
				return nil
			}
			err = fmt.Errorf("%d of %d coordinators compared: %+v", compared, t.kind.nodes, v.Nodes)
		}
		if !t.wait(ctx, 200*time.Millisecond) {
			return fmt.Errorf("compare states: %w", err)
		}
	}
}

// inspectNodes asks each coordinator for itself: what it knows of tokens is its own state.
func (t *trial) inspectNodes(ctx context.Context, wrong *[]string) error {
	person, err := t.cluster.Operator("marker", 30*time.Second, t.random.Perm(t.kind.nodes)...)
	if err != nil {
		return err
	}
	defer person.Close()
	secret, err := t.lastToken(ctx, person)
	if err != nil {
		return fmt.Errorf("make the last token: %w", err)
	}
	for i := range t.cluster.Nodes {
		if err := t.admits(ctx, i, secret); err != nil { // it has everything that came before this token, then
			return fmt.Errorf("coordinator %s is behind at the end: %w", t.cluster.Nodes[i].Name(), err)
		}
		for name, token := range t.crowd.tokens {
			if token.secret == "" {
				continue
			}
			admitted, err := t.admitsNow(ctx, i, token.secret)
			switch {
			case err != nil:
				return err
			case token.created && !token.asked && !admitted:
				*wrong = append(*wrong, fmt.Sprintf("token %s is lost on %s", name, t.cluster.Nodes[i].Name()))
			case token.revoked && admitted:
				*wrong = append(*wrong, fmt.Sprintf("token %s was revoked and is good on %s", name, t.cluster.Nodes[i].Name()))
			}
		}
	}
	return nil
}

// lastToken makes a token after everything else. The outcome may be unknown, when a connection broke that a fault has
// left behind: then another one is made.
func (t *trial) lastToken(ctx context.Context, person *api.Client) (string, error) {
	for {
		secret, err := person.CreateToken(ctx, "end-"+uuid.NewString()[:8], "operator", time.Hour)
		if err == nil || !errors.Is(err, orchestrator.ErrUnknownOutcome) || !t.wait(ctx, 200*time.Millisecond) {
			return secret, err
		}
	}
}

// admits waits until a coordinator knows a token.
func (t *trial) admits(ctx context.Context, i int, secret string) error {
	for {
		ok, err := t.admitsNow(ctx, i, secret)
		if ok {
			return nil
		}
		if !t.wait(ctx, 50*time.Millisecond) {
			return errors.Join(err, ctx.Err())
		}
	}
}

func (t *trial) admitsNow(ctx context.Context, i int, secret string) (bool, error) {
	c, err := t.cluster.Bearer(secret, 20*time.Second, i)
	if err != nil {
		return false, err
	}
	defer c.Close()
	_, err = c.Runbooks(ctx) // answered by whoever is asked
	if errors.Is(err, api.ErrUnauthenticated) {
		return false, nil
	}
	return err == nil, err
}

// line is what a run prints.
func (o outcome) line(run int, seed uint64, k kind, err error) string {
	word := "ok"
	switch {
	case err != nil && len(o.verdict.violations) == 0:
		word = "failed"
	case len(o.verdict.violations) > 0:
		word = "violated(" + strings.Join(slices.Sorted(slices.Values(o.verdict.violations)), ", ") + ")"
	case o.verdict.unknown > 0:
		word = "unknown"
	}
	return fmt.Sprintf("run=%d seed=%d kind=%s ops=%d acked=%d leaders=%d recover_max=%s verdict=%s",
		run, seed, k.name, o.ops, o.acked, o.leaders, o.worst.Round(10*time.Millisecond), word)
}

func removeAll(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	return nil
}
