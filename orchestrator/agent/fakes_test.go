package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"drp/orchestrator/agent/container"
	"drp/orchestrator/agent/guard"
	"drp/orchestrator/agent/home"
	"drp/orchestrator/agent/home/hometest"
	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

// world is all that an agent sees, and survives it.
type world struct {
	t    *testing.T
	dir  string
	boot string
	log  bytes.Buffer

	mu     sync.Mutex
	events []string // what was done, in order

	// The leader.
	desired wire.AgentDesired
	gone    bool
	news    chan struct{}
	reports []wire.AgentReport

	// Containers.
	containers map[state.AccountName]*fakeContainer
	nextPid    int

	routes     map[netip.Addr]guard.Route
	trouble    map[state.AccountName]string
	diesAtOnce bool              // whatever is started
	startFails bool              // a container cannot be made
	cronFails  bool              // the init cannot be told of its cron jobs
	databases  map[string]string // what the engines hold
	broken     map[string]error  // databases that cannot be dumped or loaded
	dumps      map[state.SnapshotID]map[string]string
	document   string                 // account.json of the last backup
	spoil      func(dir string) error // does something to what is restored of the files
	fails      error                  // every backup, with it; nil: none
	guardGone  bool
	restores   map[state.SnapshotID]chan struct{} // a restore of it waits for the channel
	backups    chan struct{}                      // backups wait for it; nil: they do not
	concurrent int
	most       int // backups at once
}

type fakeContainer struct {
	container.State
	spec container.Spec
	died chan struct{}
}

// bubble runs a test of the loop on fake time. Its homes are real ones, in memory.
func bubble(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	dir := hometest.Memory(t)
	synctest.Test(t, func(t *testing.T) {
		test(t, &world{t: t, dir: dir, boot: "boot1", news: make(chan struct{}),
			containers: map[state.AccountName]*fakeContainer{}, routes: map[netip.Addr]guard.Route{},
			restores: map[state.SnapshotID]chan struct{}{}})
	})
}

// agent starts one; stop ends it as a kill would: nothing is told to anybody.
func (w *world) agent() (stop func()) {
	w.t.Helper()
	j, err := openJournal(filepath.Join(w.dir, "journal.db"))
	if err != nil {
		w.t.Fatal(err)
	}
	homes, err := home.Open(filepath.Join(w.dir, "homes"))
	if err != nil {
		w.t.Fatal(err)
	}
	a := &Agent{Server: "par1-s1", Boot: w.boot, Leader: w, Containers: w, Network: w, Router: w, Backups: w, Homes: homes, Databases: w, Engines: []state.Engine{state.PostgreSQL},
		Identities: Identities{First: 1_000_000_000, Size: 65536, Count: 10}, Parallel: 2,
		Log: slog.New(slog.NewTextHandler(&locked{w: &w.log}, nil)), journal: j}
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.run(ctx) }()
	return func() {
		w.t.Helper()
		cancel()
		if err := errors.Join(<-ended, j.close()); err != nil {
			w.t.Error(err)
		}
		if w.t.Failed() {
			w.t.Logf("agent's log:\n%s", w.log.String())
		}
	}
}

type locked struct {
	mu sync.Mutex
	w  *bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// do notes an event. mu is held.
func (w *world) do(format string, args ...any) {
	w.events = append(w.events, fmt.Sprintf(format, args...))
}

// happened returns the events since the last call.
func (w *world) happened() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.events
	w.events = nil
	return e
}

// settle lets everything happen that happens without a new word.
func (w *world) settle() {
	time.Sleep(time.Second)
	synctest.Wait()
}

// want gives the leader's word.
func (w *world) want(accounts []wire.DesiredAccount, tasks ...wire.DesiredTask) {
	w.mu.Lock()
	w.desired = wire.AgentDesired{Revision: w.desired.Revision + 1, Accounts: accounts, Tasks: tasks}
	close(w.news)
	w.news = make(chan struct{})
	w.mu.Unlock()
	w.settle()
}

func (w *world) leaderGone(gone bool) {
	w.mu.Lock()
	w.gone = gone
	close(w.news)
	w.news = make(chan struct{})
	w.mu.Unlock()
	w.settle()
}

func (w *world) last() wire.AgentReport {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.reports) == 0 {
		return wire.AgentReport{}
	}
	return w.reports[len(w.reports)-1]
}

// told is the phase that was reported last for an account: "1.2 running".
func (w *world) told(account state.AccountName) string {
	for _, a := range w.last().Accounts {
		if a.Account == account {
			return a.Token.String() + " " + string(a.Phase)
		}
	}
	return "nothing"
}

func (w *world) Sync(ctx context.Context, r wire.AgentReport) (wire.AgentDesired, error) {
	t := time.NewTimer(r.Wait)
	defer t.Stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.gone {
		w.reports = append(w.reports, r)
	}
	for {
		news := w.news
		switch {
		case w.gone:
			return wire.AgentDesired{}, errors.New("nobody leads")
		case w.desired.Revision != r.Revision:
			return w.desired, nil
		}
		w.mu.Unlock()
		var err error
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case <-news:
		case <-t.C:
			w.mu.Lock()
			return w.desired, nil
		}
		w.mu.Lock()
		if err != nil {
			return wire.AgentDesired{}, err
		}
	}
}

func (w *world) List(context.Context) ([]container.State, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []container.State
	for _, name := range slices.Sorted(maps.Keys(w.containers)) {
		list = append(list, w.containers[name].State)
	}
	return list, nil
}

func (w *world) State(_ context.Context, account state.AccountName) (container.State, bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c, ok := w.containers[account]
	if !ok {
		return container.State{}, false, nil
	}
	return c.State, true, nil
}

func (w *world) Create(_ context.Context, s container.Spec) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, err := os.Stat(s.Home); err != nil {
		return 0, err
	}
	if _, there := w.containers[s.Account.Name]; there {
		return 0, errors.New("there is one already")
	}
	if w.startFails {
		return 0, errors.New("no memory for a container")
	}
	w.nextPid++
	w.containers[s.Account.Name] = &fakeContainer{spec: s, died: make(chan struct{}), State: container.State{Account: s.Account.Name,
		Status: container.Created, Pid: w.nextPid, Token: s.Token, Fingerprint: s.Fingerprint(), Addresses: s.Account.Addresses}}
	w.do("create %s %s", s.Account.Name, s.Token)
	return w.nextPid, nil
}

func (w *world) Start(_ context.Context, account state.AccountName) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.containers[account].Status = container.Running
	w.do("start %s", account)
	if w.diesAtOnce {
		w.containers[account].Status = container.Stopped
		close(w.containers[account].died)
	}
	return nil
}

func (w *world) Stop(_ context.Context, account state.AccountName) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c, ok := w.containers[account]; ok {
		if c.Status != container.Stopped {
			close(c.died)
		}
		delete(w.containers, account)
		w.do("stop %s", account)
	}
	return nil
}

func (w *world) Pause(_ context.Context, account state.AccountName) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.containers[account].Status = container.Paused
	w.do("pause %s", account)
	return nil
}

func (w *world) Resume(_ context.Context, account state.AccountName) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.containers[account].Status = container.Running
	w.do("resume %s", account)
	return nil
}

func (w *world) SetCronJobs(_ context.Context, s container.Spec) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.containers[s.Account.Name]
	if reflect.DeepEqual(c.spec.Account.CronJobs, s.Account.CronJobs) {
		return nil
	}
	if w.cronFails {
		return errors.New("no cron")
	}
	c.spec.Account.CronJobs = s.Account.CronJobs
	w.do("cron jobs of %s: %d", s.Account.Name, len(s.Account.CronJobs))
	return nil
}

func (w *world) Trouble(s container.State) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.trouble[s.Account]
}

func (w *world) Wait(ctx context.Context, s container.State) error {
	w.mu.Lock()
	c := w.containers[s.Account]
	w.mu.Unlock()
	if c == nil || c.Pid != s.Pid {
		return nil
	}
	select {
	case <-c.died:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// die is the end of a container that nobody ordered.
func (w *world) die(account state.AccountName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.containers[account].Status = container.Stopped
	close(w.containers[account].died)
	w.do("die %s", account)
}

func (w *world) Attach(_ context.Context, account state.AccountName, pid int, addresses []netip.Addr) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := w.containers[account]; c.Status != container.Created || c.Pid != pid {
		return fmt.Errorf("attached when %s", c.Status)
	}
	w.do("attach %s", account)
	return nil
}

func (w *world) Detach(_ context.Context, account state.AccountName) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.do("detach %s", account)
	return nil
}

func (w *world) Announce(_ context.Context, ip netip.Addr, account state.AccountName, token state.Token) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.guardGone {
		return errors.New("no guard")
	}
	if r := (guard.Route{Address: ip, Account: account, Token: token}); w.routes[ip] != r {
		w.routes[ip] = r
		w.do("announce %s %s", ip, token)
	}
	return nil
}

func (w *world) Withdraw(_ context.Context, ip netip.Addr, _ state.AccountName, token state.Token) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.guardGone {
		return errors.New("no guard")
	}
	if _, ok := w.routes[ip]; ok {
		delete(w.routes, ip)
		w.do("withdraw %s %s", ip, token)
	}
	return nil
}

func (w *world) RoutesOf(_ context.Context, account state.AccountName) (list []netip.Addr, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.guardGone {
		return nil, errors.New("no guard")
	}
	for ip, r := range w.routes {
		if r.Account == account {
			list = append(list, ip)
		}
	}
	return list, nil
}

func (w *world) Tokens(context.Context) (map[state.AccountName]state.Token, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.guardGone {
		return nil, errors.New("no guard")
	}
	seen := map[state.AccountName]state.Token{}
	for _, r := range w.routes {
		seen[r.Account] = r.Token
	}
	return seen, nil
}

func (w *world) Backup(ctx context.Context, account state.AccountName, _ home.IDs, _ wire.RepositoryAccess, view *os.File, others []string, _ time.Time) (Saved, error) {
	w.mu.Lock()
	w.concurrent++
	w.most = max(w.most, w.concurrent)
	w.do("backup %s", account)
	for _, dir := range others {
		dumped, _ := filepath.Glob(filepath.Join(view.Name(), dir, "*"))
		for i, name := range dumped {
			dumped[i] = filepath.Base(name)
		}
		w.do("with %s %s", dir, dumped)
	}
	hold := w.backups
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		w.concurrent--
		w.mu.Unlock()
	}()
	for _, part := range []string{"files", "account.json"} {
		if _, err := os.Stat(filepath.Join(view.Name(), part)); err != nil {
			return Saved{}, err
		}
	}
	raw, err := os.ReadFile(filepath.Join(view.Name(), "account.json"))
	if err != nil {
		return Saved{}, err
	}
	w.mu.Lock()
	w.document = string(raw)
	w.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return Saved{}, ctx.Err()
		}
	}
	return Saved{ID: state.SnapshotID(fmt.Sprintf("%064x", len(account))), Files: 1, Bytes: 2}, w.fails
}

func (w *world) Restore(ctx context.Context, _ home.IDs, _ wire.RepositoryAccess, from state.SnapshotID, path string, into home.Within) (Restored, error) {
	w.mu.Lock()
	w.do("restore %s %q", from, path)
	hold := w.restores[from]
	w.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return Restored{}, ctx.Err()
		}
	}
	if w.spoil != nil {
		if err := w.spoil(into.Path()); err != nil {
			return Restored{}, err
		}
	}
	return Restored{Files: 1}, os.WriteFile(filepath.Join(into.Path(), "restored"), []byte(from), 0o644)
}
