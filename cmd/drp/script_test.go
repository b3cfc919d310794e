package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"drp/orchestrator"
	"drp/orchestrator/api"
	"drp/orchestrator/api/apitest"
	"drp/orchestrator/certificates/certificatestest"
	"drp/raftstore/identity"
	"drp/raftstore/state"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"drp": main})
}

// Each script talks to a platform of its own: two coordinators with one brain, at a.sock and b.sock.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			p, err := startPlatform(env.WorkDir)
			if err != nil {
				return err
			}
			env.Defer(p.stop)
			env.Values[platformKey{}] = p
			env.Setenv("DRP_SOCKET", p.sockets[0]+","+p.sockets[1])
			env.Setenv("TZ", "UTC")
			env.Setenv("URL", p.url)
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits": exits, "asked": asked, "brain": changeBrain, "interrupts": interrupts, "runstatus": runStatus, "trail": trail,
			"enrol": enrol, "recipient": recipient,
		},
	})
}

type platformKey struct{}

type platform struct {
	brain   *apitest.Brain
	sockets [2]string
	url     string // of the first one
	crash   [2]func()
	errs    chan error
}

func startPlatform(dir string) (*platform, error) {
	a, err := identity.NewAuthority("cluster-a")
	if err != nil {
		return nil, err
	}
	issuing, err := certificatestest.Under(a, "a")
	if err != nil {
		return nil, err
	}
	p := &platform{brain: exampleBrain(), errs: make(chan error, 2)}
	for i, name := range []string{"a", "b"} {
		credentials, err := issue(a, dir, identity.Coordinator, name)
		if err != nil {
			return nil, err
		}
		credentials.SetRevoked(orchestrator.NewRevoked(issuing.Store.View).Check)
		server, err := api.New(api.Config{
			API: p.brain, Name: name, Credentials: credentials, Certificates: issuing.Registrar(name, credentials), LeaderWait: 100 * time.Millisecond,
			Leader: func() (string, bool) { return name, true },
			Tokens: func() []*state.APIToken { return nil },
		})
		if err != nil {
			return nil, err
		}
		p.sockets[i] = filepath.Join(dir, name+".sock")
		socket, err := api.ListenSocket(p.sockets[i])
		if err != nil {
			return nil, err
		}
		tcp, err := net.Listen("tcp", "[::1]:0")
		if err != nil {
			return nil, err
		}
		if i == 0 {
			p.url = "https://" + tcp.Addr().String()
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			if err := server.Serve(ctx, tcp, socket); err != nil {
				p.errs <- err
			}
		}()
		p.crash[i] = sync.OnceFunc(func() {
			cancel()
			<-done
		})
	}
	for _, role := range []identity.Role{identity.Operator, identity.Support} {
		if _, err := issue(a, dir, role, string(role)); err != nil {
			return nil, err
		}
	}
	return p, errors.Join(a.Save(dir), saveServerConfigs(dir, p.url))
}

// saveServerConfigs leaves configurations of coordinators that are made ready: server.yaml of a new cluster's par1-c, and
// others that name the one that answers.
func saveServerConfigs(dir, url string) error {
	const text = `name: %s
data: data/%s
age_identity: age.key
certificates: {certificate: coordinator.pem, key: coordinator.key, authority: ca.pem}
peers:
- {name: par2-c, site: par2, raft: "[::1]:7400", api: "%s"}
- {name: %s, site: par3, raft: "[2001:db8::9]:7400", api: "https://[2001:db8::9]:7443"}
`
	var err error
	for _, name := range []string{"par3-c", "par3-d", "par9-c"} {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, name+".yaml"), []byte(fmt.Sprintf(text, name, name, url, name)), 0o600))
	}
	return err
}

// issue makes a certificate, and leaves it where scripts find it: ROLE.pem, ROLE.key.
func issue(a *identity.Authority, dir string, role identity.Role, name string) (*identity.Credentials, error) {
	cert, key, err := a.Issue(role, name, []string{"::1"}, time.Hour)
	if err != nil {
		return nil, err
	}
	err = errors.Join(os.WriteFile(filepath.Join(dir, string(role)+".pem"), cert, 0o600), os.WriteFile(filepath.Join(dir, string(role)+".key"), key, 0o600))
	if err != nil {
		return nil, err
	}
	return identity.New(cert, key, a.CertificatePEM())
}

func (p *platform) stop() {
	p.crash[0]()
	p.crash[1]()
}

func platformOf(ts *testscript.TestScript) *platform {
	return ts.Value(platformKey{}).(*platform)
}

// exits CODE COMMAND…: the command ends with that code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("got exit code %d, want %d", got, want)
	}
}

// interrupts METHOD COMMAND…: the command gets a SIGINT while it follows a run, after the brain was asked for METHOD, and ends with 130.
func interrupts(ts *testscript.TestScript, _ bool, args []string) {
	p, begun := platformOf(ts), make(chan struct{})
	// The run moves on with each look at it; after four it is in its second step.
	p.brain.Set(func(b *apitest.Brain) {
		seen, looks := false, 0
		b.Hook = func(_ *apitest.Brain, method string) {
			if seen = seen || method == args[0]; seen && method == "Run" {
				if looks++; looks == 4 {
					close(begun)
				}
			}
		}
	})
	cmd := exec.Command(filepath.Join(filepath.SplitList(ts.Getenv("PATH"))[0], args[1]), args[2:]...)
	cmd.Env = []string{"DRP_SOCKET=" + ts.Getenv("DRP_SOCKET"), "TZ=UTC"}
	cmd.Stdout, cmd.Stderr = ts.Stdout(), ts.Stderr()
	ts.Check(cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-begun:
	case err := <-ended:
		ts.Fatalf("it ended before it was interrupted: %v", err)
	}
	ts.Check(cmd.Process.Signal(os.Interrupt))
	<-ended
	if got := cmd.ProcessState.ExitCode(); got != codeInterrupted {
		ts.Fatalf("got exit code %d, want %d", got, codeInterrupted)
	}
}

// runstatus shows the newest run with `drp run status ID`.
func runStatus(ts *testscript.TestScript, _ bool, _ []string) {
	runs, err := platformOf(ts).brain.Runs(context.Background())
	ts.Check(err)
	ts.Check(ts.Exec("drp", "run", "status", string(runs[0].ID)))
}

// asked PATTERN: the brain was asked something that matches.
func asked(ts *testscript.TestScript, neg bool, args []string) {
	calls := platformOf(ts).brain.Calls()
	found := false
	for _, c := range calls {
		found = found || regexp.MustCompile(args[0]).MatchString(c)
	}
	if found == neg {
		ts.Fatalf("asked %q: got %t in:\n%s", args[0], found, strings.Join(calls, "\n"))
	}
}

// brain WHAT: the platform changes.
func changeBrain(ts *testscript.TestScript, _ bool, args []string) {
	p := platformOf(ts)
	kinds := map[string]error{
		"refused": orchestrator.ErrRefused, "not-found": state.ErrNotFound, "invalid": state.ErrInvalid,
		"unknown": orchestrator.ErrUnknownOutcome, "not-leader": orchestrator.ErrNotLeader, "internal": errors.New("disk on fire"),
	}
	p.brain.Set(func(b *apitest.Brain) {
		switch args[0] {
		case "fail": // METHOD KIND
			b.Fail[args[1]] = fmt.Errorf("what was asked: %w", kinds[args[2]])
		case "heal": // METHOD
			delete(b.Fail, args[1])
		case "plan-changes": // once, between its showing and the start
			b.Hook = func(b *apitest.Brain, method string) {
				if method == "StartRun" && b.Plan.Hash == "hash-1" {
					next := *b.Plan
					next.Hash, next.Accounts = "hash-2", next.Accounts[:1]
					b.Plan = &next
				}
			}
		case "one-fails": // the run brings back one account of two
			b.Finish = func(r *state.Run) {
				r.Status, r.Error = state.RunFailed, "1 of 2 accounts did not come back"
				item := &r.Steps[2].Items[1]
				item.Status, item.Message, item.RPO, item.RTO = state.StepFailed, "no good answer within 10m: service web: \x1b[31mrefused", 0, 0
			}
		case "stuck": // its runs do not end
			b.Stuck = true
		case "all-recovering": // another run has all accounts
			next := *b.Plan
			for _, a := range next.Accounts {
				next.NotFit = append(next.NotFit, orchestrator.PlanRefusal{Account: a.Account, Tier: a.Tier, From: a.From,
					Reason: "run site-loss-1 already recovers it: drp run watch site-loss-1"})
			}
			next.Accounts = nil
			b.Plan = &next
		case "one-erased": // an account of the plan is only fenced
			next := *b.Plan
			next.Accounts = slices.Clone(next.Accounts)
			a := next.Accounts[0]
			next.Accounts[0] = orchestrator.PlanAccount{Account: a.Account, Tier: a.Tier, From: a.From, To: a.From, Addresses: a.Addresses, Erased: true}
			b.Plan = &next
		case "crash-during-run": // the first coordinator dies while the run is followed
			b.Hook = func(b *apitest.Brain, method string) {
				if method == "Run" && b.Confirmed() {
					go p.crash[0]()
				}
			}
		case "heard": // NAME: this coordinator has taken part
			b.Cluster.Heard = append(b.Cluster.Heard, args[1])
		case "leaderless":
			for i := range b.Cluster.Members {
				if m := &b.Cluster.Members[i]; m.Role == orchestrator.RoleLeader {
					m.Role = orchestrator.RoleVoter
				}
			}
		case "answers": // NAME: it is back
			for i := range b.Cluster.Members {
				if m := &b.Cluster.Members[i]; m.Name == args[1] {
					*m = apitest.Member(m.Name, m.Site, m.Role, true)
				}
			}
		case "fifth": // there are five coordinators
			b.Cluster.Members = append(b.Cluster.Members, apitest.Member("par4-c", "par2", orchestrator.RoleVoter, true), apitest.Member("par5-c", "par3", orchestrator.RoleVoter, true))
		case "becomes-voter": // NAME, at the third look at the members
			looks := 0
			b.Hook = func(b *apitest.Brain, method string) {
				if method != "Members" {
					return
				}
				if looks++; looks < 3 {
					return
				}
				for i := range b.Cluster.Members {
					if m := &b.Cluster.Members[i]; m.Name == args[1] {
						m.Role, m.Behind = orchestrator.RoleVoter, 0
					}
				}
			}
		case "differs": // NAME: its state is not that of the others
			for i := range b.Cluster.Verified.Nodes {
				if n := &b.Cluster.Verified.Nodes[i]; n.Name == args[1] {
					n.Same, n.Digest = false, strings.Repeat("cd", 32)
				}
			}
		case "compared": // all were
			b.Cluster.Verified.Nodes[0] = b.Cluster.Verified.Nodes[1]
			b.Cluster.Verified.Nodes[0].Name = "par1-c"
		case "alarm": // KIND MEMBER MESSAGE
			b.Report.Alarms = append(b.Report.Alarms, orchestrator.Alarm{Kind: args[1], Member: args[2], Message: args[3], Since: apitest.Start.Add(-20 * time.Minute)})
		case "bad-look": // the last look at a copy has found something
			for _, c := range b.Protected.Account.Copies {
				for kind, f := range c.Errors {
					f.At = b.Protected.Account.At.Add(time.Second)
					c.Errors[kind] = f
				}
			}
		case "all-good": // drp protection has nothing to say
			b.Protected.Report = &orchestrator.ProtectionReport{At: apitest.Start, Accounts: 3, Protected: 3, Unprotected: []orchestrator.AccountProtection{},
				Tiers: []orchestrator.TierProtection{{Tier: state.Gold, Accounts: 3, Protected: 3, Oldest: 12 * time.Minute}}}
		case "compromised": // what is said of par1-s1
			b.Protected.Compromised = &orchestrator.CompromisedReport{Server: "par1-s1", Certificate: "revoked", Todo: []string{"set the machine up from scratch"},
				Accounts: []orchestrator.CompromisedAccount{
					{Account: "guestbook", Runs: true, Retired: "guestbook", Present: "guestbook~2"},
					{Account: "shop", Present: "shop~2", Renewed: apitest.Start}}}
		case "erasures": // three, each at another stage
			at := apitest.Start
			order := state.Erasure{By: "operator/olga", Reason: "left\x1b[2J", Ordered: at.Add(-80 * time.Hour), NotBefore: at.Add(-8 * time.Hour)}
			done, begun, waiting := order, order, order
			done.Account, begun.Account, waiting.Account = "blog", "forum", "shop"
			waiting.NotBefore = at.Add(time.Hour)
			for _, e := range []*state.Erasure{&done, &begun} {
				e.Begun, e.Repositories, e.Servers = at.Add(-7*time.Hour), []string{string(e.Account), string(e.Account) + "~2"}, []state.ServerName{"par1-s1"}
				e.Sites = []state.SiteErasure{{Site: "par1", Heard: at, Until: at.Add(-time.Hour), Objects: 1200, Bytes: 3 << 30, Empty: at.Add(-time.Minute)}, {Site: "par2", Heard: at, Until: at.Add(7 * 24 * time.Hour)}}
			}
			done.Sites[1], done.Done = done.Sites[0], at
			done.Sites[1].Site = "par2"
			b.Erased = []*orchestrator.ErasureStatus{{Erasure: &done, Stage: "done"},
				{Erasure: &begun, Stage: "site par2: its grace is over at 2026-03-08T03:00:00Z"}, {Erasure: &waiting, Stage: "ordered; nothing changes before 2026-03-01T04:00:00Z"}}
			b.Sign = signer(ts, "coordinator")
		case "recovered": // [ACCOUNT…]: it waits for a person's word; these were to be erased
			b.Recovering = &orchestrator.RecoveryReport{Incarnation: 2, Heard: []state.ServerName{"par1-s1"}, Cluster: &state.Cluster{UUID: "cluster-a",
				Held: &state.Hold{Since: apitest.Start, How: state.RecoveredExport, Source: "export i000001-1"}}}
			for _, account := range args[1:] {
				b.Recovering.Erasures = append(b.Recovering.Erasures, state.AccountName(account))
			}
		case "breakglass": // keys are made, and were tried
			old := state.BreakGlassTest{At: apitest.Start.Add(-48 * time.Hour), By: "operator/olga", Store: "s3", Count: 20}
			last := old
			last.At, last.Failed, last.Error = apitest.Start.Add(-time.Hour), []string{"shop"}, "no key"
			b.Protected.BreakGlass = orchestrator.BreakGlassReport{At: apitest.Start, Offline: []string{"age1offline"}, Repositories: 3, Made: 3, Everywhere: 2,
				Tests: &state.BreakGlassTests{Last: last, Passed: old}, TestWithin: 90 * 24 * time.Hour}
		case "protected": // all accounts are
			for i := range b.Report.Accounts {
				b.Report.Accounts[i].Protected = true
			}
		default:
			ts.Fatalf("brain %q?", args[0])
		}
	})
}

// exampleBrain is a platform whose site par1 is lost.
func exampleBrain() *apitest.Brain {
	b := apitest.NewBrain()
	room := state.Resources{Memory: 16 << 30, Processes: 1000, CPU: 8, Disk: 1 << 40}
	var accounts []state.Account
	for i, name := range []state.AccountName{"guestbook", "shop"} {
		accounts = append(accounts, state.Account{
			Name: name, Tier: state.Gold, Policy: "hourly", Plan: state.Resources{Memory: 256 << 20, Processes: 100, CPU: 0.5, Disk: 1 << 30},
			Addresses: []netip.Addr{netip.MustParseAddr(fmt.Sprintf("2001:db8:a::10%d", i))},
			Services: []state.Service{{
				Program: state.Program{Name: "web", Command: []string{"php", "-S", "[::]:80"}, Environment: map[string]string{"KEY": "hunter2"}},
				Check:   &state.Check{HTTP: "http://[::1]:80/health"},
			}},
			CronJobs: []state.CronJob{{Program: state.Program{Name: "clean", Command: []string{"php", "clean.php"}, Environment: map[string]string{"KEY": "hunter2"}},
				Schedule: "30 2 * * *", TimeZone: "Europe/Paris", Timeout: time.Hour}},
		})
	}
	b.Command(state.InventoryApply, state.InventoryData{
		Provider: &state.Provider{Name: "example", Prefixes: []netip.Prefix{netip.MustParsePrefix("2001:db8:a::/48")}},
		Sites: []state.Site{
			{Name: "par1", Gateways: []string{"https://[2001:db8:f001::30]:7460"}, Store: &state.Store{Endpoint: "http://[2001:db8:f001::40]:7480", Bucket: "drp-par1"}},
			{Name: "par2", Gateways: []string{"https://[2001:db8:f002::30]:7460"}, Store: &state.Store{Endpoint: "http://[2001:db8:f002::40]:7480", Bucket: "drp-par2"}},
			{Name: "par3", Witness: true},
		},
		Servers:  []state.Server{{Name: "par1-s1", Site: "par1", Rack: "r1", Capacity: room}, {Name: "par2-s1", Site: "par2", Capacity: room}},
		Policies: []state.Policy{{Name: "hourly", Schedule: "0 * * * *", Replicas: []state.SiteName{"par1", "par2"}, RPO: 90 * time.Minute, Retention: 720 * time.Hour, Keep: &state.Keep{Weekly: 8, Monthly: 12}, ProveWithin: 14 * 24 * time.Hour}},
		Accounts: accounts,
	})
	b.Plan = &orchestrator.Plan{
		Scope: orchestrator.Scope{Site: "par1"}, At: apitest.Start, Hash: "hash-1",
		Silent: []orchestrator.PlanServer{{Server: "par1-s1", Status: state.Down, LastContact: apitest.Start.Add(-40 * time.Second), Accounts: 2}},
		Accounts: []orchestrator.PlanAccount{
			{Account: "guestbook", Tier: state.Gold, From: "par1-s1", To: "par2-s1", Snapshot: "0123456789abcdef", ReadAt: "par2", Loss: 12 * time.Second, Addresses: accounts[0].Addresses},
			{Account: "shop", Tier: state.Gold, From: "par1-s1", To: "par2-s1", Snapshot: "fedcba9876543210", ReadAt: "par2", Loss: 95 * time.Minute, Addresses: accounts[1].Addresses,
				Start: apitest.Start, Older: []orchestrator.PlanPart{{Part: "mails/example.org/info"}, {Part: "mysql/blog", Snapshot: "aaaabbbbccccdddd", Start: apitest.Start.Add(-time.Hour)}}},
		},
	}
	digest := strings.Repeat("ab", 32)
	b.Cluster = apitest.Cluster{
		Name: "par2-c", StaleAge: 75 * time.Second,
		Members: []orchestrator.Member{
			apitest.Member("par1-c", "par1", orchestrator.RoleVoter, false),
			apitest.Member("par2-c", "par2", orchestrator.RoleLeader, true),
			apitest.Member("par3-c", "par3", orchestrator.RoleVoter, true),
		},
		Verified: orchestrator.Verification{Recomputed: true, Index: 4608, At: apitest.Start, Nodes: []orchestrator.NodeDigest{
			{Name: "par1-c", Problem: "not compared: silent for 20m0s"}, {Name: "par2-c", Digest: digest, Same: true}, {Name: "par3-c", Digest: digest, Same: true},
		}},
	}
	b.Report = &orchestrator.StatusReport{
		At: apitest.Start, Cluster: &state.Cluster{UUID: "cluster-a", Incarnation: 1}, Leader: "par2-c",
		Coordinators: []orchestrator.CoordinatorStatus{{Name: "par1-c", Site: "par1", Role: "follower"}, {Name: "par2-c", Site: "par2", Role: "leader", LastContact: apitest.Start}},
		Sites:        []orchestrator.SiteStatus{{Site: "par1", Export: &orchestrator.SiteExport{Error: "no gateway answers"}}, {Site: "par2", Export: &orchestrator.SiteExport{At: apitest.Start.Add(-20 * time.Minute)}, Store: exampleFill(), GatewaySeen: apitest.Start.Add(-2 * time.Second), WorkerSeen: apitest.Start.Add(-3 * time.Second)}, {Site: "par3", Witness: true}},
		Servers: []orchestrator.ServerReport{
			{Server: "par1-s1", Site: "par1", Status: state.Down, LastContact: apitest.Start.Add(-40 * time.Second), Accounts: 2, Used: state.Resources{Memory: 512 << 20, Disk: 2 << 30}, Capacity: room},
			{Server: "par2-s1", Site: "par2", Status: state.Up, LastContact: apitest.Start.Add(-time.Second), Capacity: room},
		},
		Accounts: []orchestrator.AccountStatus{
			{Account: "guestbook", Tier: state.Gold, Server: "par1-s1", Site: "par1", Phase: "running", Snapshot: "0123456789abcdef", Age: 52 * time.Second, CopiedTo: []state.SiteName{"par1", "par2"}, Protected: true},
			{Account: "shop", Tier: state.Gold, Server: "par1-s1", Site: "par1", Phase: "failed", Message: "cannot start: \x1b[2Jno such file", Snapshot: "fedcba9876543210", Age: 95 * time.Minute, CopiedTo: []state.SiteName{"par1", "par2"},
				Why: "the newest snapshot that every site holds is 1h35m0s old, the objective is 1h30m0s; the last backup failed: repository is locked"},
		},
	}
	since := apitest.Start.Add(-26 * time.Hour)
	b.Report.Pauses = []*state.Pause{
		{Kind: state.PauseAccount, Name: "shop", By: "support/ida", Since: since},
		{Kind: state.PauseSite, Name: "par2", By: "operator/olga", Since: since, Reason: "new \x1b[2Jdisks"},
	}
	b.Protected = exampleProtection()
	return b
}

// exampleFill is that of a store that fills.
func exampleFill() *orchestrator.StoreFill {
	perDay, fullIn := int64(102<<30), 150*24*time.Hour
	return &orchestrator.StoreFill{At: apitest.Start.Add(-2 * time.Hour), Used: 5 << 40, Capacity: 20 << 40, PerDay: &perDay, FullIn: &fullIn}
}

// exampleProtection is that of four accounts, one of which is well.
func exampleProtection() apitest.Protected {
	ago := func(d time.Duration) time.Time { return apitest.Start.Add(-d) }
	const hour, day = time.Hour, 24 * time.Hour
	pauses := []*state.Pause{{Kind: state.PauseServer, Name: "par1-s1", Reason: "a disk is exchanged\x1b[2J", By: "operator/olga", Since: ago(3 * hour)}}
	shop := orchestrator.AccountProtection{Account: "shop", Tier: state.Gold, Site: "par1", Snapshot: "fedcba9876543210", Age: 95 * time.Minute,
		Why: "the newest snapshot that every site holds is 1h35m0s old, the objective is 1h30m0s"}
	return apitest.Protected{
		Pauses: pauses,
		Report: &orchestrator.ProtectionReport{
			At: apitest.Start, Accounts: 4, Protected: 1, Pauses: pauses,
			Unprotected: []orchestrator.AccountProtection{
				{Account: "blog", Tier: state.Bronze, Why: "it has no snapshot yet"}, shop,
				{Account: "forum", Tier: state.Bronze, Site: "par2", Snapshot: "0123", Age: 20 * time.Minute, Why: "its copy at par1 could not be proven: index.html differs"},
			},
			Tiers: []orchestrator.TierProtection{
				{Tier: state.Gold, Accounts: 2, Protected: 1, Oldest: 95 * time.Minute}, {Tier: state.Bronze, Accounts: 2, Nothing: 1, Oldest: 20 * time.Minute}},
			Stores: []orchestrator.SiteStore{{Site: "par2", Fill: exampleFill()}},
			First:  orchestrator.FirstBackups{Waiting: 30, LastHour: 12, Done: apitest.Start.Add(150 * time.Minute)},
		},
		Account: &orchestrator.AccountVerification{
			At: apitest.Start, Protection: shop, CheckWithin: 7 * day, ReadWithin: 30 * day, ProveWithin: 30 * day,
			Copies: []orchestrator.CopyProtection{
				{Site: "par1", Home: true, Snapshot: "fedcba9876543210", Start: ago(95 * time.Minute), Scrubbed: ago(9 * day), Checked: ago(2 * day), ReadSince: ago(20 * day), Part: 3, Parts: 4,
					Proven: ago(5 * hour), Restored: "0123456789abcdef"},
				{Site: "par2", Failure: "the store is full", Errors: map[state.VerificationKind]state.Failure{state.Checked: {Error: "pack 12 is broken", At: ago(hour), Count: 2}}},
			},
			Maintenance: &state.Maintenance{Account: "shop", Home: state.Home{Site: "par1", Epoch: 1}, At: ago(hour), Done: ago(3 * day), Objects: 40, Bytes: 600 << 20,
				Unknown: 1, Example: "abcdef0123456789", Error: "no room", Failures: 2},
		},
	}
}
