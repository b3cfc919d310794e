package orchestrator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"filippo.io/age"
	"pgregory.net/rapid"

	"drp/orchestrator/inventory"
	"drp/orchestrator/sealing"
	"drp/raftstore/state"
)

const accountYAML = `kind: account
name: %s
plan: {memory: 256MiB, processes: 100, cpu: 1, disk: 1GiB}
policy: hourly
site: par1
services:
  - name: web
    command: [x]
    user: 1000
    environment: {SECRET: %q, TZ: UTC}
`

// give applies an account with an environment, by whoever leads.
func (f *fellow) give(t testing.TB, account, secret string) ([]string, error) {
	t.Helper()
	return f.Apply(t.Context(), "operator/olga", "", []inventory.File{{Name: "a.yaml", Data: fmt.Appendf(nil, accountYAML, account, secret)}}, false)
}

func (f *fellow) dryRun(t testing.TB, account, secret string) ([]string, error) {
	t.Helper()
	return f.Apply(t.Context(), "operator/olga", "", []inventory.File{{Name: "a.yaml", Data: fmt.Appendf(nil, accountYAML, account, secret)}}, true)
}

// secretsOpen checks that an identity opens every secret of the state as a snapshot has it, and what is in them.
func (c *college) secretsOpen(who string, identity age.Identity, want map[string]string) {
	c.t.Helper()
	c.secretsOpenIn(c.snapshot(), who, identity, want)
}

func (c *college) secretsOpenIn(v *state.View, who string, identity age.Identity, want map[string]string) {
	c.t.Helper()
	o, err := sealing.OpenKeyring(identity, v.Keys())
	if err != nil {
		c.t.Errorf("%s: %v", who, err)
		return
	}
	got := map[string]string{}
	for s := range sealing.Secrets(v) {
		plain, err := o.Open(s.Sealed)
		if err != nil {
			c.t.Errorf("%s does not open %s: %v", who, s, err)
			continue
		}
		got[s.String()] = string(plain)
	}
	for what, plain := range want {
		if got[what] != plain {
			c.t.Errorf("%s: %s is %q, want %q", who, what, got[what], plain)
		}
	}
}

// nothingOpens checks that an identity opens nothing of a snapshot, by whatever way.
func (c *college) nothingOpens(who string, identity age.Identity) {
	c.t.Helper()
	v := c.snapshot()
	for _, k := range v.Keys() {
		if _, err := age.Decrypt(bytes.NewReader(k.Sealed), identity); err == nil {
			c.t.Errorf("%s still opens key %s", who, k.ID)
		}
	}
	for s := range sealing.Secrets(v) {
		body := s.Sealed
		if state.SealedTo(body) != "" {
			_, body, _ = bytes.Cut(body, []byte("\n"))
		}
		if _, err := age.Decrypt(bytes.NewReader(body), identity); err == nil {
			c.t.Errorf("%s still opens %s", who, s)
		}
	}
}

// snapshot is the state as another node would read it from disk.
func (c *college) snapshot() *state.View {
	c.t.Helper()
	var b bytes.Buffer
	if err := c.View().Persist(&b); err != nil {
		c.t.Fatal(err)
	}
	s, err := state.Restore(&b)
	if err != nil {
		c.t.Fatal(err)
	}
	return s.View()
}

func (c *college) remove(name string) {
	c.belong.Lock()
	defer c.belong.Unlock()
	c.cluster = without(c.cluster, []string{name})
}

func TestKeeper_removedCoordinatorOpensNothing(t *testing.T) {
	c := newCollege(t, "a", "b", "c")
	a := c.lead("a")
	if _, err := a.give(t, "shop", "hunter2"); err != nil {
		t.Fatal(err)
	}
	a.createRepository(t.Context(), createRepository{"shop", "par1"})
	want := map[string]string{"the environment of service web of account shop": `{"SECRET":"hunter2","TZ":"UTC"}`}
	for _, name := range c.cluster {
		c.secretsOpen(name, c.members[name].identity, want)
	}
	c.secretsOpen("the offline identity", c.offline, want)

	gone := c.members["c"].identity
	c.remove("c")
	c.lead("a")
	c.nothingOpens("c", gone)
	c.secretsOpen("a", a.identity, want)
	c.secretsOpen("b", c.members["b"].identity, want)
	c.secretsOpen("the offline identity", c.offline, want)
	if n := len(c.View().Keys()); n != 1 {
		t.Errorf("got %d keys, want the present one alone", n)
	}
	if slices.Contains(c.View().Keys()[0].Recipients, gone.Recipient().String()) {
		t.Error("the key is still sealed to the coordinator that is gone")
	}
	// Its configuration files still name it, and its record is still there: neither lets it in again.
	if c.View().Member("c") == nil {
		t.Error("its record is gone; the test does not show what it should")
	}
	c.lead("b")
	c.nothingOpens("c", gone)
}

func TestKeeper_newCoordinatorOpensEverything(t *testing.T) {
	c := newCollege(t, "a", "b", "c")
	if _, err := c.lead("a").give(t, "shop", "hunter2"); err != nil {
		t.Fatal(err)
	}
	c.join("d")
	c.lead("b")
	c.secretsOpen("d", c.members["d"].identity, map[string]string{"the environment of service web of account shop": `{"SECRET":"hunter2","TZ":"UTC"}`})
}

// join adds a coordinator as an operator does: its record comes first.
func (c *college) join(name string) {
	c.members[name] = &fellow{identity: newIdentity(c.t)}
	c.belong.Lock()
	c.cluster = append(c.cluster, name)
	c.belong.Unlock()
	c.employ(name, false)
	c.must(state.MemberSet, state.MemberSetData{Member: state.Member{
		Name: name, Site: "par1", Raft: name + ":7400", API: "https://" + name + ":7443", Recipient: c.members[name].identity.Recipient().String()}})
}

// What versions before the keyring left is sealed to it: passwords sealed to the coordinators themselves, and
// environments in clear.
func TestKeeper_takesOverWhatEarlierVersionsLeft(t *testing.T) {
	c := newCollege(t, "a", "b")
	c.must(state.InventoryApply, state.InventoryData{Accounts: []state.Account{{
		Name: "old", Policy: "hourly", Addresses: []netip.Addr{netip.MustParseAddr("2001:db8:a::500")},
		Services: []state.Service{{Program: state.Program{Name: "web", Command: []string{"x"}, Environment: map[string]string{"SECRET": "hunter2"}}}},
	}}})
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, c.members["a"].identity.Recipient(), c.members["b"].identity.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("password")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	c.must(state.RepositoryCreate, state.RepositoryCreateData{Account: "old", Site: "par1", SealedPassword: sealed.Bytes()})
	f := c.lead("a")
	want := map[string]string{
		"the environment of service web of account old": `{"SECRET":"hunter2"}`,
		"the repository's password of account old":      "password",
	}
	c.secretsOpen("the offline identity", c.offline, want)
	var b bytes.Buffer
	if err := c.View().Persist(&b); err != nil || strings.Contains(b.String(), "hunter2") {
		t.Errorf("the environment is still in clear (%v)", err)
	}
	if f.SecretsTrouble() != "" {
		t.Errorf("got trouble %q", f.SecretsTrouble())
	}
}

// Without peers' recipients in the configuration nobody is taken for an offline recipient before all coordinators are known.
func TestKeeper_firstKeyWaitsForUnknownCoordinators(t *testing.T) {
	c := newCollege(t, "a", "b", "c")
	for _, name := range c.cluster {
		c.employ(name, false)
	}
	a := c.members["a"]
	k := &keeper{Orchestrator: a.Orchestrator}
	for range 5 {
		if err := k.look(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(c.View().Keys()) != 0 || !strings.Contains(a.SecretsTrouble(), "b and c") {
		t.Fatalf("got %d keys and trouble %q, want it to wait for b and c", len(c.View().Keys()), a.SecretsTrouble())
	}
	if _, err := a.giveAsLeader(t, "shop"); !errors.Is(err, ErrNotSealed) || !strings.Contains(err.Error(), "b and c") {
		t.Errorf("apply: got %v, want %v and for whom it waits", err, ErrNotSealed)
	}
	c.lead("a") // they have introduced themselves
	key := c.View().Keys()[0]
	if want := []string{c.offline.Recipient().String()}; !slices.Equal(key.Offline, want) || len(key.Recipients) != 4 {
		t.Errorf("got %d recipients, offline %v; want four, and %v", len(key.Recipients), key.Offline, want)
	}
	if a.SecretsTrouble() != "" {
		t.Errorf("got trouble %q", a.SecretsTrouble())
	}
}

func (f *fellow) giveAsLeader(t testing.TB, account string) ([]string, error) {
	f.setSince(time.Now())
	return f.give(t, account, "hunter2")
}

// Configuration files are changed one after the other: the offline recipients change once, when most of them agree.
func TestKeeper_offlineRecipientsChangeByMajority(t *testing.T) {
	c := newCollege(t, "a", "b", "c")
	c.lead("a")
	first := c.View().Keys()[0].ID
	before := c.offline
	c.offline = newIdentity(t)
	c.employ("a", true)
	c.lead("a")
	c.lead("b")
	if got := c.View().Keys()[0].ID; got != first {
		t.Fatal("one file of three was enough to exchange the key")
	}
	c.employ("b", true)
	c.lead("c") // whose own file is the old one still
	if got := c.View().Keys()[0].ID; got != first {
		t.Fatal("a leader went by files that are not its own")
	}
	c.lead("b")
	second := c.View().Keys()[0]
	if second.ID == first || !slices.Equal(second.Offline, []string{c.offline.Recipient().String()}) {
		t.Fatalf("got offline %v, want the new one", second.Offline)
	}
	c.nothingOpens("the former offline identity", before)
	c.lead("c")
	c.lead("a")
	if got := c.View().Keys()[0].ID; got != second.ID {
		t.Error("the key was exchanged again without a reason")
	}
}

func TestKeeper_leaderThatCannotOpenTheKey(t *testing.T) {
	c := newCollege(t, "a", "b", "c")
	if _, err := c.lead("a").give(t, "shop", "hunter2"); err != nil {
		t.Fatal(err)
	}
	before := c.View().Keys()[0].ID
	c.members["b"].identity = newIdentity(t) // its file was lost, and replaced
	c.employ("b", true)
	b := c.lead("b")
	if !strings.Contains(b.SecretsTrouble(), "cannot open the keyring") {
		t.Errorf("got trouble %q, want it to say that it cannot open the keyring", b.SecretsTrouble())
	}
	if got := c.View().Keys(); len(got) != 1 || got[0].ID != before {
		t.Error("it exchanged a key that it cannot open: what is sealed to it would be lost")
	}
	if _, err := b.give(t, "blog", "x"); !errors.Is(err, ErrNotSealed) {
		t.Errorf("apply: got %v, want %v", err, ErrNotSealed)
	}
	a := c.lead("a") // who has heard b's new recipient
	c.secretsOpen("b", c.members["b"].identity, map[string]string{"the environment of service web of account shop": `{"SECRET":"hunter2","TZ":"UTC"}`})
	if a.SecretsTrouble() != "" {
		t.Errorf("got trouble %q", a.SecretsTrouble())
	}
}

func TestKeeper_waitsForEveryCoordinatorsUpgrade(t *testing.T) {
	c := newCollege(t, "a")
	c.memory.state = state.New()
	c.must(state.ClusterInit, state.ClusterInitData{UUID: "c", Incarnation: 1})
	a := c.lead("a")
	if len(c.View().Keys())+len(c.View().Members()) != 0 || !strings.Contains(a.SecretsTrouble(), "upgrade") {
		t.Errorf("got %d keys, trouble %q; want commands of level 2 to wait", len(c.View().Keys()), a.SecretsTrouble())
	}
}

// Coordinators come and go, leaders die between any two commands, secrets come and change. In the end every secret is
// what was put in, every coordinator and the offline identity open it, and who was removed opens nothing.
func TestKeeper_property(t *testing.T) {
	exchanged := 0
	rapid.Check(t, func(rt *rapid.T) {
		c := newCollege(t, "a", "b", "c")
		want := map[string]string{}
		gone := map[string]age.Identity{}
		c.lead("a")
		for i := range rapid.IntRange(5, 15).Draw(rt, "length") {
			leader := rapid.SampledFrom(c.cluster).Draw(rt, "leader")
			switch rapid.IntRange(0, 5).Draw(rt, "event") {
			case 0:
				if len(c.cluster) < 5 {
					c.join(fmt.Sprintf("j%d", i))
				}
			case 1:
				victim := rapid.SampledFrom(c.cluster).Draw(rt, "victim")
				if removalLoses(c.View(), without(c.cluster, []string{victim})) == "" {
					gone[victim] = c.members[victim].identity
					c.remove(victim)
					continue
				}
			case 2: // dies somewhere on its way
				c.left = rapid.IntRange(0, 4).Draw(rt, "dies after")
				c.lead(leader)
				c.left = 1 << 30
			case 3:
				f := c.members[leader]
				f.setSince(c.at)
				account, secret := rapid.SampledFrom([]string{"shop", "blog", "mail"}).Draw(rt, "account"), fmt.Sprint("secret-", i)
				if _, err := f.give(t, account, secret); err == nil {
					want["the environment of service web of account "+account] = fmt.Sprintf(`{"SECRET":%q,"TZ":"UTC"}`, secret)
				} else if !errors.Is(err, ErrNotSealed) && !errors.Is(err, state.ErrConflict) {
					rt.Fatal(err)
				}
			case 4:
				for _, a := range c.View().Accounts() {
					c.members[leader].createRepository(t.Context(), createRepository{a.Name, "par1"})
				}
			default:
				c.lead(leader)
			}
			c.secretsOpenIn(c.View(), "the offline identity", c.offline, want) // at every moment
		}
		for _, name := range c.cluster { // one that joined while keys were exchanged cannot finish that; others can
			c.lead(name)
		}
		c.lead(c.cluster[0])
		exchanged += int(c.index)
		if n := len(c.View().Keys()); n != 1 {
			rt.Errorf("got %d keys in the end, want one", n)
		}
		for _, name := range c.cluster {
			c.secretsOpen(name, c.members[name].identity, want)
		}
		for name, identity := range gone {
			c.nothingOpens(name, identity)
		}
		if t.Failed() {
			rt.Fatal("see above")
		}
	})
	t.Logf("%d commands", exchanged)
}

// While keys are exchanged over and over, whoever seals something never loses it: nothing is sealed to a key that is gone.
func TestKeeper_exchangesWhileOthersSeal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCollege(t, "a", "b", "c")
		a := c.members["a"]
		a.setSince(c.at)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go a.keepSecrets(ctx)
		synctest.Wait()
		var work sync.WaitGroup
		want := [3]string{}
		for i := range want { // one after the other, so that each gets an address of its own
			if _, err := a.give(t, fmt.Sprint("a", i), "first"); err != nil {
				t.Fatal(err)
			}
		}
		for i := range want {
			account := fmt.Sprint("a", i)
			work.Go(func() {
				for n := range 8 {
					secret := fmt.Sprint("secret-", n)
					if _, err := a.give(t, account, secret); err != nil {
						t.Errorf("%s: %v", account, err)
						return
					}
					want[i] = fmt.Sprintf(`{"SECRET":%q,"TZ":"UTC"}`, secret)
					a.createRepository(t.Context(), createRepository{state.AccountName(account), "par1"})
				}
			})
		}
		work.Go(func() {
			for i := range 4 {
				name := fmt.Sprint("j", i)
				c.join(name)
				time.Sleep(keyringTick)
				c.remove(name)
			}
		})
		work.Wait()
		time.Sleep(3 * keyringTick)
		synctest.Wait()
		if n := len(c.View().Keys()); n != 1 {
			t.Errorf("got %d keys, want one", n)
		}
		opens := map[string]string{}
		for i, plain := range want {
			opens[fmt.Sprintf("the environment of service web of account a%d", i)] = plain
		}
		for _, who := range []string{"a", "b", "c"} {
			c.secretsOpen(who, c.members[who].identity, opens)
		}
	})
}
