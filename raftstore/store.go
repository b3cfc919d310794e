// Package raftstore keeps the state the same on all coordinators. It is the only importer of hashicorp/raft, and knows
// what the users of that library learned the hard way; each such setting has its reason beside it.
//
// A coordinator keeps its promises on its disk: for whom it voted, and what it has acknowledged. One that starts with an
// empty disk has forgotten them; with its vote, a coordinator that lags could win an election and what the platform was
// promised would be lost. So only a coordinator that is new begins with nothing: Prepare marks its directory, and the
// mark is removed as soon as there is a state. Without state and mark Open refuses with ErrEmpty. A crash between
// the two leaves both, which is harmless: where there is a state the mark means nothing, and the next start removes it.
package raftstore

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"drp/raftstore/state"
)

var (
	// ErrNotLeader: nothing was done here; ask the leader.
	ErrNotLeader = errors.New("not the leader")
	// ErrUnknownOutcome: the command may or may not have been applied. Propose it again under the same ID.
	ErrUnknownOutcome = errors.New("outcome unknown")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("raft store is closed")
)

// Sizes of an encoded command. A large one holds up heartbeats; only an inventory may be somewhat large, and who
// applies a larger one splits it.
const (
	maxCommand   = 64 << 10
	maxInventory = 512 << 10
)

const (
	proposeTimeout = 10 * time.Second // where the caller has set no deadline
	verifyTimeout  = 5 * time.Second
	drainTimeout   = 2 * time.Second
)

// Store is one coordinator's part of the replicated state.
type Store struct {
	cfg   Config
	raft  *raft.Raft
	fsm   *fsm
	parts *parts
	queue queue // of commands that wait for the log
	surroundings

	shutdown func() raft.Future // once
	calls    sync.WaitGroup     // of raft under way; none begins after err is set
	opened   chan struct{}      // closed when raft is set, or will never be
	watched  chan struct{}      // closed when the watch over leadership has ended

	mu        sync.Mutex
	leading   *leadership   // nil while this node is not the leader
	ledChange chan struct{} // closed at the next change of leading
	err       error         // why the store has ended
	done      chan struct{} // closed when err is set
}

// Open starts this node where it stood. One without any state begins with the peers of the configuration if Prepare has
// marked its directory, and is refused with ErrEmpty if not.
func Open(cfg Config) (*Store, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, fmt.Errorf("open raft store: %w", err)
	}
	s := &Store{
		cfg:          cfg,
		surroundings: newSurroundings(&cfg),
		opened:       make(chan struct{}),
		watched:      make(chan struct{}),
		ledChange:    make(chan struct{}),
		done:         make(chan struct{}),
	}
	s.space.done = s.done
	s.fsm = newFSM(cfg.Name, s.alarms, s.fail)
	s.fsm.known = s.learn
	if err := s.start(); err != nil {
		close(s.opened)
		return nil, fmt.Errorf("open raft store: %w", err)
	}
	close(s.opened)
	go s.watchLeadership(s.raft.LeaderCh())
	s.parts.courier.answer(s.answer)
	s.background.Go(s.exchange)
	s.background.Go(s.recompute)
	s.background.Go(func() { _ = s.Lead(context.Background(), s.govern) }) // ends with the store, and tells its own errors
	return s, nil
}

// surroundings are what a node knows of the others and of its machine.
type surroundings struct {
	roster     *roster
	peers      *peers
	alarms     *alarms
	space      *space
	steps      stepWatch
	started    time.Time
	word       string          // of this process: see starts
	background *sync.WaitGroup // what runs beside raft
}

func newSurroundings(cfg *Config) surroundings {
	s := surroundings{roster: newRoster(cfg), peers: newPeers(), alarms: newAlarms(cfg.Logger), space: &space{}, started: time.Now(), word: rand.Text(), background: &sync.WaitGroup{}}
	if cfg.parts == nil && cfg.Disk == nil {
		s.space.dir = cfg.Dir
	}
	return s
}

// learn is told of the cluster's row by the state. What it refuses, this node must not serve.
func (s *Store) learn(c *state.Cluster) {
	if s.cfg.Cluster != "" && c.UUID != s.cfg.Cluster {
		s.fail(fmt.Errorf("the state is that of cluster %s, and the certificate is of cluster %s: this is the wrong data directory, or the wrong certificate", c.UUID, s.cfg.Cluster))
		return
	}
	if err := s.parts.history.learn(c.Incarnation); err != nil {
		s.fail(err)
	}
}

func (s *Store) start() (err error) {
	p, err := openParts(&s.cfg, s.roster, s.space, s.fail)
	if err != nil {
		return err
	}
	s.parts = p
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	raftConfig := s.cfg.raft()
	exists, err := raft.HasExistingState(p.logs, p.stable, p.snapshots)
	if err != nil {
		return fmt.Errorf("look for existing state: %w", err)
	}
	if err := refuseQuarantined(p.papers); err != nil {
		return err
	}
	if err := s.begin(raftConfig, exists); err != nil {
		return err
	}
	p.transport.abstains = s.abstains
	r, err := raft.NewRaft(raftConfig, s.fsm, p.logs, p.stable, p.snapshots, p.transport)
	if err != nil {
		return err
	}
	s.raft = r
	s.roster.follow(r)
	s.shutdown = sync.OnceValue(r.Shutdown)
	if err := s.Err(); err != nil { // the state of a snapshot was refused
		return errors.Join(err, s.shutdown().Error())
	}
	return nil
}

func (c *Config) raft() *raft.Config {
	r := raft.DefaultConfig()
	r.ProtocolVersion = 3
	r.LocalID = raft.ServerID(c.Name)
	r.HeartbeatTimeout = c.Timers.Heartbeat
	r.ElectionTimeout = c.Timers.Election
	r.LeaderLeaseTimeout = c.Timers.LeaderLease
	r.BatchApplyCh = false     // with it, a command that timed out may still be waiting to be applied
	r.ShutdownOnRemove = false // whether the process ends is not for a peer to say
	r.SnapshotInterval = c.Snapshots.Interval
	r.SnapshotThreshold = c.Snapshots.Threshold
	r.TrailingLogs = c.Snapshots.Trailing
	r.NoLegacyTelemetry = true
	r.Logger = newHCLog(c.Logger)
	return r
}

func (c *Config) voters() raft.Configuration {
	var list raft.Configuration
	for _, p := range c.Peers {
		list.Servers = append(list.Servers, raft.Server{
			Suffrage: raft.Voter, ID: raft.ServerID(p.Name), Address: raft.ServerAddress(p.Address),
		})
	}
	return list
}

// Close stops this node. The others go on.
func (s *Store) Close() error {
	s.end(ErrClosed)
	s.drain()
	err := s.shutdown().Error()
	<-s.watched
	s.background.Wait()
	return errors.Join(err, s.parts.disks.Close())
}

// end records why the store has ended, once, and reports whether this call did.
func (s *Store) end(err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return false
	}
	s.err = err
	close(s.done)
	return true
}

// fail stops this node because it cannot go on. It may be called from any goroutine of raft's, and waits for none.
func (s *Store) fail(err error) { s.failAfter(err, func() {}) }

// failAfter has something done, once this node serves no more, before Fatal is called. It reports whether this call ended
// the store.
func (s *Store) failAfter(err error, last func()) bool {
	if !s.end(err) {
		return false
	}
	go func() {
		last()
		s.cfg.Fatal(err)
	}()
	go func() {
		<-s.opened
		if s.shutdown != nil {
			s.drain()
			s.shutdown()
		}
	}()
	return true
}

// drain waits for calls under way: raft forgets to answer those that it has committed and not applied at its shutdown.
func (s *Store) drain() {
	drained := make(chan struct{})
	go func() {
		s.calls.Wait()
		close(drained)
	}()
	select {
	case <-drained:
	case <-time.After(drainTimeout):
	}
}

// Done is closed when the store was closed, or cannot go on; Err tells which.
func (s *Store) Done() <-chan struct{} { return s.done }

// Err is nil while the store works.
func (s *Store) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Propose puts a command into the log and waits until it is applied here. Result.Err is the refusal. The error is
// ErrNotLeader, ErrUnknownOutcome, or why the command was never proposed: ErrTooNew and ErrDiskFull are among those.
func (s *Store) Propose(ctx context.Context, c state.Command) (state.Result, error) {
	if err := cmp.Or(s.Err(), s.checkLevel(c), s.checkRoom()); err != nil {
		return state.Result{}, fmt.Errorf("propose %s: %w", c.Name, err)
	}
	return s.propose(ctx, c)
}

func (s *Store) propose(ctx context.Context, c state.Command) (state.Result, error) {
	fail := func(err error) (state.Result, error) {
		return state.Result{}, fmt.Errorf("propose %s: %w", c.Name, err)
	}
	data, err := encode(c)
	if err != nil {
		return fail(err)
	}
	ctx, cancel := withTimeout(ctx, proposeTimeout)
	defer cancel()
	if err := errors.Join(s.Err(), ctx.Err()); err != nil {
		return fail(err)
	}
	result, err := s.commit(ctx, data)
	if err != nil {
		return fail(err)
	}
	return result, nil
}

func encode(c state.Command) ([]byte, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", state.ErrInvalid, err)
	}
	data, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", state.ErrInvalid, err)
	}
	limit := maxCommand
	if c.Name == state.InventoryApply {
		limit = maxInventory
	}
	if len(data) > limit {
		return nil, fmt.Errorf("%w: it has %d bytes, and %d are allowed: split it", state.ErrInvalid, len(data), limit)
	}
	return data, nil
}

// await runs a call of raft's that may block for as long as a disk hangs, and gives up waiting when ctx ends.
func (s *Store) await(ctx context.Context, call func() error) error {
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return s.err
	}
	s.calls.Add(1)
	s.mu.Unlock()
	done := make(chan error, 1)
	go func() {
		defer s.calls.Done()
		done <- call()
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// withTimeout sets a deadline where there is none.
func withTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, d)
}

// View is the state that this node knows. It may be behind the leader's.
func (s *Store) View() *state.View { return s.fsm.view() }

// Changed returns a channel that is closed when the next entry was applied here. Take it before the View.
func (s *Store) Changed() <-chan struct{} { return s.fsm.changed() }

// Leader returns the name of the leader that this node knows of.
func (s *Store) Leader() (name string, ok bool) {
	_, id := s.raft.LeaderWithID()
	return string(id), id != ""
}
