package worker

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"filippo.io/age"

	"drp/replicator/keyfiles"
	"drp/replicator/restic"
	"drp/replicator/storetest"
)

func TestKeyBoard(t *testing.T) {
	now := time.Now()
	b, turns := newKeyBoard(), &turns{}
	see := KeyJob{Account: "shop", Version: 3, Have: []string{"a"}}
	b.want([]KeyJob{see, {Account: "blog", Version: 1}, {Account: "wiki", Version: 1}})
	if got := len(b.due(now, turns)); got != keysAtOnce {
		t.Errorf("%d begin, want %d at once", got, keysAtOnce)
	}

	b = newKeyBoard()
	b.want([]KeyJob{see})
	begun := b.due(now, turns)
	if len(begun) != 1 {
		t.Fatalf("%d begin", len(begun))
	}
	turns.end("shop", copying)
	k, wanted := b.ended(begun[0], see, keyfiles.Made{}, &keyfiles.MissingError{Names: []string{"a"}, First: errors.New("it is missing")}, now)
	if !wanted || !slices.Equal(k.Missing, []string{"a"}) || k.Error != "keys of shop: it is missing" || k.Version != 3 {
		t.Errorf("told %+v", k)
	}
	b.want([]KeyJob{see})
	if len(b.due(now, turns)) != 0 {
		t.Error("the same job is done again at once")
	}

	// The restic of a job that another one has taken the place of is not dead yet: the next one waits for it.
	other := see
	other.Version = 4
	b.want([]KeyJob{see})
	b.jobs["shop"].next = time.Time{}
	first := b.due(now, turns)
	if len(first) != 1 {
		t.Fatalf("%d begin", len(first))
	}
	_, first[0].cancel = context.WithCancel(t.Context())
	b.want([]KeyJob{other})
	if len(b.due(now, turns)) != 0 {
		t.Error("two jobs about the keys of one repository at once")
	}
	turns.end("shop", copying)
	if _, wanted := b.ended(first[0], see, keyfiles.Made{}, context.Canceled, now); wanted {
		t.Error("the end of a job that nobody wants is told")
	}
	if second := b.due(now, turns); len(second) != 1 || second[0].want.Version != 4 {
		t.Error("the next one does not begin when the first has ended")
	}
	turns.end("shop", copying)
	b.busy = make(map[string]bool)

	// One that takes keys away has the repository for itself.
	remove := see
	remove.Remove = []string{"b"}
	b.want([]KeyJob{remove})
	turns = newTurns(t, "shop", copying)
	if len(b.due(now, turns)) != 0 {
		t.Error("keys are taken away beside a pass")
	}
	turns.end("shop", copying)
	if len(b.due(now, turns)) != 1 || turns.begin("shop", copying) {
		t.Error("a pass begins while keys are taken away")
	}
}

func newTurns(t *testing.T, account string, what turn) *turns {
	t.Helper()
	turns := &turns{}
	if !turns.begin(account, what) {
		t.Fatal("it is nobody's turn")
	}
	return turns
}

// TestWorker_KeyToldWhenUnwanted: a key that was made is told of, though the leader has something else to do by then: else its
// file would lie in the repository and nobody would know what for.
func TestWorker_KeyToldWhenUnwanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite()
		working, finish := make(chan struct{}), make(chan struct{})
		s.worker.key = func(context.Context, KeyJob) (keyfiles.Made, error) {
			close(working)
			<-finish
			return keyfiles.Made{Key: "k1"}, nil
		}
		s.leader.want(Desired{Keys: []KeyJob{{Account: "shop", Make: MakeRotation, Password: "p", Next: "n"}}})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.worker.Run(ctx) }()
		<-working
		s.leader.want(Desired{})
		time.Sleep(time.Minute)
		close(finish)
		time.Sleep(time.Minute)
		if got := s.leader.keysTold(); len(got) != 1 || got[0].Key != "k1" || got[0].Error != "" {
			t.Errorf("told %+v", got)
		}
		cancel()
		<-ended
	})
}

func TestKeyJob_String(t *testing.T) {
	j := KeyJob{Account: "shop", Make: MakeRotation, Password: "correct horse", Next: "battery staple"}
	if s := j.String(); strings.Contains(s, "horse") || strings.Contains(s, "staple") {
		t.Errorf("it shows %q", s)
	}
}

// TestWorker_KeysReal: two workers, two stores: a break-glass key is made and carried along, the password is changed, and in between
// each copy opens by the password that is in use.
func TestWorker_KeysReal(t *testing.T) {
	const first, next = "correct horse", "battery staple"
	par1, leader1, store1 := realWorker(t, "par1")
	par2, leader2, store2 := realWorker(t, "par2")
	store1.Bucket("drp-par1")
	store2.Bucket("drp-par2")
	par2.Sources = map[string]Key{"par1": {store1.Reader.Access, store1.Reader.Secret}}
	tool := &restic.Runner{Binary: storetest.Binary(t, "restic")}
	for _, w := range []*Worker{par1, par2} {
		keeping(t, w)
		w.Smith = &keyfiles.Smith{Site: w.Site, Store: w.Store, Tool: tool}
		work(t, w)
	}
	offline := newIdentity(t)
	home := Home{Site: "par1", Epoch: 1}
	at1 := StoreAddress{Endpoint: store1.Endpoint, Bucket: "drp-par1"}
	repository := store1.Repository("drp-par1", "shop", first)
	repository.Init(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	id := repository.Backup(t, dir)
	opens := func(bucket string, server *storetest.Server, password string) bool {
		_, code := server.Repository(bucket, "shop", password).Run(t, "", "cat", "config")
		return code == 0
	}
	ask := func(l *leader, j KeyJob) Keyed {
		t.Helper()
		before := len(l.keysTold())
		l.want(Desired{Keys: []KeyJob{j}})
		eventually(t, j.String(), func() bool { return len(l.keysTold()) > before })
		k := l.keysTold()[before]
		if k.Error != "" {
			t.Fatalf("%s: %s", j, k.Error)
		}
		return k
	}

	glass := ask(leader1, KeyJob{Account: "shop", Home: home, Make: MakeBreakGlass, Password: first, Recipients: []string{offline.Recipient().String()}})
	leader2.want(Desired{Copy: []CopyJob{{Account: "shop", From: "par1", Store: at1, Home: home, Snapshots: []string{id}}}})
	eventually(t, "the snapshot is copied", func() bool {
		told := leader2.told()
		return len(told) > 0 && told[0].Error == "" && len(told[0].Snapshots) == 1
	})
	s := store2
	c := par2.Store.Config()
	if _, key, err := keyfiles.Open(t.Context(), par2.Store, tool, restic.Repository{
		URL: "s3:" + s.Endpoint + "/drp-par2/shop", AccessKey: c.AccessKey, SecretKey: c.SecretKey}, "shop", offline); err != nil || key.ID != glass.Key {
		t.Errorf("the replica does not open with the offline key after the first pass: %v", err)
	}

	made := ask(leader1, KeyJob{Account: "shop", Home: home, Make: MakeRotation, Password: first, Next: next})
	see := KeyJob{Account: "shop", Home: home, Version: 2, Store: at1, Have: []string{glass.Key, made.Key}, File: glass.File}
	ask(leader2, see)
	for _, password := range []string{first, next} {
		if !opens("drp-par1", store1, password) || !opens("drp-par2", store2, password) {
			t.Errorf("before the switch %q does not open both", password)
		}
	}
	see.Version, see.Remove = 3, made.Old
	ask(leader2, see)
	ask(leader1, see)
	for bucket, server := range map[string]*storetest.Server{"drp-par1": store1, "drp-par2": store2} {
		if opens(bucket, server, first) || !opens(bucket, server, next) {
			t.Errorf("at the end the new password alone is to open %s", bucket)
		}
	}
	store1.Repository("drp-par1", "shop", next).Check(t)
	store2.Repository("drp-par2", "shop", next).Check(t)
}

func (l *leader) keysTold() []Keyed {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.keyed)
}

func newIdentity(t *testing.T) *age.X25519Identity {
	t.Helper()
	i, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// A worker that has no leader makes one key, and not one after the other until restic tries none of them any more.
func TestKeyBoard_OneKeyWithoutALeader(t *testing.T) {
	now := time.Now()
	b, turns := newKeyBoard(), &turns{}
	work := KeyJob{Account: "shop", Make: MakeBreakGlass}
	b.want([]KeyJob{work})
	made := 0
	for range 48 {
		for _, j := range b.due(now, turns) {
			made++
			turns.end("shop", copying)
			b.ended(j, work, keyfiles.Made{Key: "k"}, nil, now)
		}
		now = now.Add(time.Hour)
	}
	if made != 1 {
		t.Errorf("%d keys were made in two days, want 1", made)
	}
	var r Report
	b.report(&r)
	b.told(r)
	if len(b.due(now, turns)) != 1 {
		t.Error("told, and asked for still, it is not begun")
	}
}

func TestMends_Due(t *testing.T) {
	var m mends
	now := time.Now()
	check, scrub := VerifyJob{Account: "shop", Kind: "checked"}, VerifyJob{Account: "shop", Kind: "scrubbed"}
	for _, look := range []struct {
		job   VerifyJob
		after time.Duration
		want  bool
	}{
		{check, 0, true}, {check, time.Hour, false}, {VerifyJob{Account: "blog", Kind: "checked"}, time.Hour, true},
		{scrub, time.Hour, true}, {scrub, 2 * time.Hour, true}, {check, mendAgain, true}, {check, mendAgain + time.Hour, false},
	} {
		if got := m.due(look.job, now.Add(look.after)); got != look.want {
			t.Errorf("%s after %s: %v, want %v", look.job, look.after, got, look.want)
		}
	}
}
