package agent

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"drp/orchestrator/agent/container"
	"drp/orchestrator/agent/home"
	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

func token(generation uint64) state.Token { return state.Token{Incarnation: 1, Generation: generation} }

func sample(name state.AccountName) state.Account {
	last := byte(1)
	for _, c := range []byte(name) {
		last += c
	}
	address := netip.MustParseAddr("2001:db8:a::").As16()
	address[15] = last
	return state.Account{Name: name, Addresses: []netip.Addr{netip.AddrFrom16(address)}}
}

// run is the order to run a new account; the others are variations of it.
func run(name state.AccountName, generation uint64) wire.DesiredAccount {
	return wire.DesiredAccount{Account: sample(name), Token: token(generation), Run: true, New: true}
}

func from(d wire.DesiredAccount, snapshot state.SnapshotID) wire.DesiredAccount {
	d.Restore, d.Repository = &snapshot, &wire.RepositoryAccess{URLs: []string{"/repository"}}
	return d
}

func stop(name state.AccountName, generation uint64) wire.DesiredAccount {
	return wire.DesiredAccount{Account: sample(name), Token: token(generation)}
}

func setAside(name state.AccountName, generation uint64) wire.DesiredAccount {
	d := stop(name, generation)
	d.SetAside = true
	return d
}

func these(d ...wire.DesiredAccount) []wire.DesiredAccount { return d }

func (w *world) expect(what string, want ...string) {
	w.t.Helper()
	if diff := cmp.Diff(want, w.happened()); diff != "" {
		w.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func (w *world) expectTold(account state.AccountName, want string) {
	w.t.Helper()
	if got := w.told(account); got != want {
		w.t.Errorf("told of %s: %s, want %s", account, got, want)
	}
}

// file is the content of a file in an account's live home.
func (w *world) file(account, name string) string {
	raw, err := os.ReadFile(filepath.Join(w.dir, "homes", account, "home", name))
	if err != nil {
		return err.Error()
	}
	return string(raw)
}

const shopIP = "2001:db8:a::bb" // of account "shop"

func TestAgent_assign(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.agent()()
		w.want(these(run("shop", 1)))
		w.expect("new account", "create shop 1.1", "attach shop", "start shop", "announce "+shopIP+" 1.1")
		w.expectTold("shop", "1.1 running")
		w.want(these(run("shop", 1)))
		w.expect("the same word again")
		if got, want := w.containers["shop"].spec.IDs, (home.IDs{First: 1_000_000_000, Size: 65536}); got != want {
			t.Errorf("ids = %v, want %v", got, want)
		}
	})
}

func TestAgent_higherToken(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.agent()()
		w.want(these(run("shop", 1)))
		if err := os.WriteFile(filepath.Join(w.dir, "homes/shop/home/mine"), []byte("1"), 0o600); err != nil {
			t.Fatal(err)
		}
		w.happened()
		w.want(these(from(run("shop", 3), "snap")))
		w.expect("given anew", "withdraw "+shopIP+" 1.3", "stop shop", "detach shop",
			`restore snap ""`, "others of snap", "create shop 1.3", "attach shop", "start shop", "announce "+shopIP+" 1.3")
		w.expectTold("shop", "1.3 running")
		if got := w.file("shop", "restored"); got != "snap" {
			t.Errorf("restored file = %q", got)
		}
		kept, err := os.ReadFile(filepath.Join(w.dir, "homes/aside/shop@1.1/home/mine"))
		if string(kept) != "1" {
			t.Errorf("set aside: %q, %v; want the old home untouched", kept, err)
		}
		w.want(these(run("shop", 2)))
		w.want(these(stop("shop", 2)))
		w.want(these(setAside("shop", 2)))
		w.expect("lower tokens")
		w.expectTold("shop", "1.3 running")
	})
}

func TestAgent_stop(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		end := w.agent()
		w.want(these(run("shop", 1)))
		w.happened()
		w.want(these(stop("shop", 1)))
		w.expect("stop", "withdraw "+shopIP+" 1.1", "stop shop", "detach shop")
		w.expectTold("shop", "1.1 stopped")
		// A deposed leader may still say the old word.
		w.want(these(run("shop", 1)))
		w.expect("run under a stopped token")
		w.expectTold("shop", "1.1 stopped")
		end()
		defer w.agent()()
		w.settle()
		w.expect("after a restart")
		w.expectTold("shop", "1.1 stopped")
		w.want(these(run("shop", 1)))
		w.expect("run under a stopped token after a restart")
		w.expectTold("shop", "1.1 stopped")
	})
}

func TestAgent_setAside(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.agent()()
		w.want(these(run("shop", 1)))
		w.happened()
		w.want(these(setAside("shop", 2)))
		w.expect("set aside", "withdraw "+shopIP+" 1.2", "stop shop", "detach shop")
		w.expectTold("shop", "1.2 set-aside")
		if _, err := os.Stat(filepath.Join(w.dir, "homes/aside/shop@1.1/home")); err != nil {
			t.Error(err)
		}
		w.want(nil)
		w.expectTold("shop", "nothing")
		w.want(these(run("shop", 1)))
		w.expect("the old word")
		w.want(these(from(run("shop", 5), "snap"))) // failed back
		w.expectTold("shop", "1.5 running")
	})
}

// A server comes back after a boot: its homes are reported under their old tokens, so that the leader names them.
func TestAgent_boot(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		end := w.agent()
		w.want(these(run("blog", 1), run("shop", 1)))
		end()
		clear(w.containers)
		clear(w.routes)
		w.boot, w.gone = "boot2", true
		w.happened()
		defer w.agent()()
		time.Sleep(10 * time.Minute)
		w.expect("before the leader's word")
		w.want(nil)
		w.leaderGone(false)
		w.expectTold("shop", "1.1 starting")
		w.expectTold("blog", "1.1 starting")
		w.expect("not named")
		old := run("blog", 1)
		old.New = false
		w.want(these(setAside("shop", 2), old))
		w.settle()
		w.expectTold("shop", "1.2 set-aside")
		w.expectTold("blog", "1.1 running")
		w.settle()
	})
}

func TestAgent_failStatic(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.agent()()
		w.want(these(run("blog", 1), run("shop", 1)))
		w.happened()
		w.want(these(run("blog", 1)))
		w.expect("no longer named")
		w.leaderGone(true)
		time.Sleep(time.Hour)
		w.expect("nobody leads")
		w.die("shop")
		time.Sleep(firstWait - time.Millisecond)
		synctest.Wait()
		w.expect("died", "die shop")
		w.settle()
		w.expect("started again", "stop shop", "detach shop", "create shop 1.1", "attach shop", "start shop")
		for range 7 { // it dies as soon as it runs
			w.die("shop")
			time.Sleep(lastWait + time.Second)
			synctest.Wait()
		}
		w.happened()
		w.die("shop")
		time.Sleep(lastWait - time.Second)
		w.expect("died often", "die shop")
		time.Sleep(2 * time.Second)
		w.expect("started again, later", "stop shop", "detach shop", "create shop 1.1", "attach shop", "start shop")
		w.leaderGone(false)
		time.Sleep(heartbeat)
		w.expectTold("shop", "1.1 running")
	})
}

// What cannot run is told with its reason, and tried again slower and slower.
func TestAgent_cannotRun(t *testing.T) {
	for name, c := range map[string]struct {
		spoil   func(w *world)
		message string
	}{
		"no container can be made": {func(w *world) { w.startFails = true }, "no memory for a container"},
		"it dies at once":          {func(w *world) { w.diesAtOnce = true }, "its container ended as soon as it was started"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				defer w.agent()()
				c.spoil(w)
				w.want(these(run("shop", 1)))
				w.expectTold("shop", "1.1 failed")
				if got := w.last().Accounts[0].Message; got != c.message {
					t.Errorf("message = %q, want %q", got, c.message)
				}
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				w.expectTold("shop", "1.1 failed")
				tries := 0
				for _, e := range w.happened() {
					if e == "detach shop" { // after each try
						tries++
					}
				}
				if tries < 10 || tries > 30 {
					t.Errorf("%d tries in ten minutes", tries)
				}
				w.mu.Lock()
				w.startFails, w.diesAtOnce = false, false
				w.mu.Unlock()
				time.Sleep(lastWait + time.Second)
				w.expectTold("shop", "1.1 running")
			})
		})
	}
}

// A service that fails is told of soon, as long as it fails; the account runs.
func TestAgent_troubledService(t *testing.T) {
	const trouble = "service web: cannot start: no such file"
	set := func(w *world, text string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.trouble = map[state.AccountName]string{"shop": text}
	}
	bubble(t, func(t *testing.T, w *world) {
		defer w.agent()()
		w.want(these(run("shop", 1)))
		set(w, trouble)
		time.Sleep(firstLook + time.Second)
		w.expectTold("shop", "1.1 running")
		if got := w.last().Accounts[0].Message; got != trouble {
			t.Errorf("message = %q, want %q", got, trouble)
		}
		set(w, "")
		time.Sleep(lastWait + time.Second)
		w.expectTold("shop", "1.1 running")
		if got := w.last().Accounts[0].Message; got != "" {
			t.Errorf("message = %q, want none any more", got)
		}
		w.expect("all the while", "create shop 1.1", "attach shop", "start shop", "announce "+shopIP+" 1.1")
	})
}

func TestAgent_adopts(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		end := w.agent()
		w.want(these(run("blog", 1), run("shop", 1)))
		end()
		w.containers["shop"].Status = container.Paused // killed in the middle of a backup
		clear(w.routes)
		w.happened()
		w.gone = true
		end = w.agent()
		w.settle()
		w.expect("start", "resume shop")
		w.leaderGone(false)
		time.Sleep(heartbeat)
		got := w.happened()
		slices.Sort(got)
		if want := []string{"announce 2001:db8:a::a5 1.1", "announce " + shopIP + " 1.1"}; !cmp.Equal(got, want) {
			t.Errorf("adopted: %v, want %v", got, want)
		}
		w.expectTold("shop", "1.1 running")
		w.die("blog")
		time.Sleep(2 * time.Second)
		w.expect("an adopted one died", "die blog", "stop blog", "detach blog", "create blog 1.1", "attach blog", "start blog")
		end()
		// Killed between create and start: nothing of the account has run, so it is made again.
		w.containers["shop"].Status = container.Created
		w.happened()
		defer w.agent()()
		w.settle()
		w.expect("half started", "stop shop", "detach shop", "create shop 1.1", "attach shop", "start shop")
	})
}

func TestAgent_changedAccount(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.agent()()
		w.want(these(run("shop", 1)))
		w.happened()
		d := run("shop", 1)
		d.Account.Tier, d.Account.Policy = state.Gold, "daily"
		w.want(these(d))
		w.expect("only its protection changed")
		d.Account.Addresses = []netip.Addr{netip.MustParseAddr("2001:db8:a::2")}
		d.Account.Plan.Memory = 1 << 30
		w.want(these(d))
		w.expect("new address and plan", "withdraw "+shopIP+" 1.1", "stop shop", "detach shop",
			"create shop 1.1", "attach shop", "start shop", "announce 2001:db8:a::2 1.1")
	})
}

// The container that had the old address is gone when the new one comes up: only the guard knows the old route.
func TestAgent_changedAddressAfterFailedStart(t *testing.T) {
	old, fresh := netip.MustParseAddr(shopIP), netip.MustParseAddr("2001:db8:a::2")
	fail := func(w *world, fails bool) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.startFails = fails
	}
	bubble(t, func(t *testing.T, w *world) {
		defer w.agent()()
		w.want(these(run("shop", 1)))
		fail(w, true)
		d := run("shop", 1)
		d.Account.Plan.Memory = 1 << 30
		w.want(these(d))
		w.expectTold("shop", "1.1 failed")
		d.Account.Addresses = []netip.Addr{fresh}
		w.want(these(d))
		fail(w, false)
		time.Sleep(lastWait + time.Second)
		synctest.Wait()
		w.expectTold("shop", "1.1 running")
		if _, there := w.routes[old]; there || len(w.routes) != 1 {
			t.Errorf("routes = %v, want that to %s alone", w.routes, fresh)
		}
	})
	t.Run("and then stopped", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			defer w.agent()()
			w.want(these(run("shop", 1)))
			fail(w, true)
			d := run("shop", 1)
			d.Account.Plan.Memory = 1 << 30
			w.want(these(d))
			d.Run, d.Account.Addresses = false, []netip.Addr{fresh}
			w.want(these(d))
			w.expectTold("shop", "1.1 stopped")
			if len(w.routes) != 0 {
				t.Errorf("routes = %v, want none", w.routes)
			}
		})
	})
}

func TestAgent_slowRestore(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.agent()()
		w.restores["slow"] = make(chan struct{})
		w.want(these(from(run("shop", 1), "slow"), run("blog", 1)))
		w.expectTold("blog", "1.1 running")
		w.expectTold("shop", "1.1 restoring")
		w.happened()
		w.want(these(stop("shop", 1), run("blog", 1)))
		w.expect("stopped while it is restored", "detach shop")
		w.expectTold("shop", "1.1 stopped")
		w.want(these(from(run("shop", 2), "slow"), run("blog", 1)))
		close(w.restores["slow"])
		w.settle()
		w.expectTold("shop", "1.2 running")
	})
}

func TestAgent_crashInRestore(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		end := w.agent()
		w.restores["snap"] = make(chan struct{})
		w.want(these(from(run("shop", 1), "snap")))
		end()
		close(w.restores["snap"])
		w.happened()
		defer w.agent()()
		w.settle()
		w.expect("begun again", `restore snap ""`, "others of snap", "create shop 1.1", "attach shop", "start shop", "announce "+shopIP+" 1.1")
	})
}

// A home that is gone is told, and nothing takes its place: neither when the leader knows that it ran, nor when the
// leader was not told yet and this server's journal alone knows, nor when what is here is of an older token.
func TestAgent_lostHome(t *testing.T) {
	for name, lose := range map[string]func(t *testing.T, w *world, d *wire.DesiredAccount){
		"the leader knows":  func(_ *testing.T, _ *world, d *wire.DesiredAccount) { d.New = false },
		"the journal knows": func(*testing.T, *world, *wire.DesiredAccount) {},
		"and so is the journal": func(t *testing.T, w *world, d *wire.DesiredAccount) {
			d.New = false
			if err := os.Remove(filepath.Join(w.dir, "journal.db")); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				end := w.agent()
				w.want(these(run("shop", 1)))
				end()
				clear(w.containers)
				if err := os.RemoveAll(filepath.Join(w.dir, "homes", "shop")); err != nil {
					t.Fatal(err)
				}
				w.happened()
				d := run("shop", 1)
				lose(t, w, &d)
				w.desired.Accounts = these(d)
				defer w.agent()()
				time.Sleep(10 * time.Minute)
				w.expect("a lost home")
				w.expectTold("shop", "1.1 failed")
				if _, err := os.Stat(filepath.Join(w.dir, "homes", "shop")); err == nil {
					t.Error("an empty home was made")
				}
				w.want(these(from(run("shop", 2), "snap"))) // the way out
				w.expectTold("shop", "1.2 running")
			})
		})
	}
	t.Run("an older one is here", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			defer w.agent()()
			w.want(these(run("shop", 1)))
			d := run("shop", 2)
			d.New = false
			w.want(these(d))
			w.expectTold("shop", "1.2 failed")
			if _, err := os.Stat(filepath.Join(w.dir, "homes", "shop", "home")); err != nil {
				t.Errorf("the older home was touched: %v", err)
			}
		})
	})
}

// The guard does not answer: programs stop, but the stop is not told before the route is gone.
func TestAgent_stopWithoutGuard(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.agent()()
		w.want(these(run("shop", 1)))
		w.happened()
		w.mu.Lock()
		w.guardGone = true
		w.mu.Unlock()
		w.want(these(stop("shop", 1)))
		if got := w.happened(); !cmp.Equal(got[:2], []string{"stop shop", "detach shop"}) {
			t.Errorf("without a guard: %v", got)
		}
		w.expectTold("shop", "1.1 failed")
		w.mu.Lock()
		w.guardGone = false
		w.mu.Unlock()
		time.Sleep(lastWait + time.Second)
		w.expectTold("shop", "1.1 stopped")
		if got := w.happened(); got[0] == "" || !strings.HasPrefix(strings.Join(got, ";"), "detach shop") && !strings.Contains(strings.Join(got, ";"), "withdraw "+shopIP) {
			t.Errorf("with the guard back: %v", got)
		}
		if len(w.routes) != 0 {
			t.Errorf("routes left: %v", w.routes)
		}
	})
}

// An order that cannot be written down has no effect.
func TestAgent_journalFirst(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		end := w.agent()
		w.want(these(run("shop", 1)))
		end()
		w.happened()
		j, err := openJournal(filepath.Join(w.dir, "journal.db"))
		if err != nil {
			t.Fatal(err)
		}
		a := &Agent{Containers: w, Network: w, Router: w, journal: j, Log: testLog(t)}
		if err := j.close(); err != nil {
			t.Fatal(err)
		}
		if err := newAccount(a, "shop").reconcile(t.Context(), stop("shop", 2)); err == nil {
			t.Error("an order was carried out without a journal")
		}
		w.expect("without a journal")
	})
}
