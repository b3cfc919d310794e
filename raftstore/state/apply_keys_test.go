package state

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

func keyName(of string) string { return Sum([]byte(of)).String() }

// withKey is a platform whose guestbook has a snapshot at par1 and par2, and whose password is being changed: the key is made.
func withKey(t *testing.T) (n *node, made KeysMadeData) {
	t.Helper()
	n, home := threeSnapshots(t)
	rotate := KeysRotateData{Account: "guestbook", Sealed: []byte("next")}
	n.must(KeysRotate, rotate)
	n.refused(ErrConflict, "being changed already", KeysRotate, rotate)
	made = KeysMadeData{
		Account: "guestbook", Repository: "guestbook", Home: home, Purpose: KeyRotation, Key: keyName("new"), Old: []string{keyName("old")}}
	n.must(KeysMade, made)
	return n, made
}

func (n *node) keys() *RepositoryKeys { return n.view().RepositoryKeys("guestbook") }

func (n *node) see(site SiteName, failure string) {
	n.tb.Helper()
	n.must(KeysSeen, KeysSeenData{Account: "guestbook", Repository: "guestbook", Site: site, Version: n.keys().Version, Error: failure})
}

func TestKeysSwitch(t *testing.T) {
	n, _ := withKey(t)
	move := KeysSwitchData{Account: "guestbook", Repository: "guestbook", Version: n.keys().Version}
	retire := KeysRetireData{Account: "guestbook", Repository: "guestbook"}
	n.refused(ErrConflict, "site par1 was not seen", KeysSwitch, move)
	n.see("par1", "")
	n.refused(ErrConflict, "site par2 was not seen", KeysSwitch, move)
	n.see("par2", "the store is full")
	n.refused(ErrConflict, "site par2 was not seen", KeysSwitch, move)
	n.see("par2", "")
	n.same(KeysSeen, KeysSeenData{Account: "guestbook", Repository: "guestbook", Site: "par2", Version: 99, Error: "of another version"})
	stale := move
	stale.Version--
	n.refused(ErrConflict, "not about to be changed", KeysSwitch, stale)
	n.refused(ErrConflict, "has not been changed", KeysRetire, retire)
	if got := string(n.view().Repository("guestbook").SealedPassword); got == "next" {
		t.Error("the next password is in use already")
	}

	token := n.view().Assignment("guestbook").Token
	n.must(TaskCreate, TaskCreateData{Task: Task{ID: "before", Kind: TaskBackup, Account: "guestbook", Token: token}})
	n.must(KeysSwitch, move)
	if got := string(n.view().Repository("guestbook").SealedPassword); got != "next" {
		t.Errorf("in use is %q", got)
	}
	n.refused(ErrConflict, "task before of account guestbook began before", KeysRetire, retire)
	n.must(TaskFinish, TaskFinishData{Task: "before", Error: "x"})
	n.must(TaskCreate, TaskCreateData{Task: Task{ID: "after", Kind: TaskBackup, Account: "guestbook", Token: token, Created: n.keys().Rotation.Switched.Add(1)}})
	n.must(KeysRetire, retire)
	k := n.keys()
	if k.Rotation != nil || k.Password != keyName("new") || k.Since.IsZero() || !slices.Equal(k.Remove, []string{keyName("old")}) {
		t.Errorf("at the end %+v", k)
	}
	// A second one takes the first one's key away, whatever the worker says.
	n.must(KeysRotate, KeysRotateData{Account: "guestbook", Sealed: []byte("third")})
	n.refused(ErrConflict, "that of the present password", KeysMade, KeysMadeData{ // said once more, and late
		Account: "guestbook", Repository: "guestbook", Home: n.view().Repository("guestbook").Home, Purpose: KeyRotation, Key: keyName("new")})
	n.must(KeysMade, KeysMadeData{Account: "guestbook", Repository: "guestbook", Home: n.view().Repository("guestbook").Home, Purpose: KeyRotation, Key: keyName("third")})
	if got := n.keys().Rotation.Old; !slices.Equal(got, []string{keyName("new")}) {
		t.Errorf("to go: %v", got)
	}
}

func TestKeysMade(t *testing.T) {
	n, made := withKey(t)
	for words, change := range map[string]func(d *KeysMadeData){
		"and not \"guestbook~2\"": func(d *KeysMadeData) { d.Repository = "guestbook~2" },
		"has no repository":       func(d *KeysMadeData) { d.Account = "nobody" },
		"has its home at":         func(d *KeysMadeData) { d.Home.Epoch++ },
		"64 hexadecimal digits":   func(d *KeysMadeData) { d.Key = "../config" },
		"those that have to go":   func(d *KeysMadeData) { d.Old = []string{d.Key} },
		"not made for \"fun\"":    func(d *KeysMadeData) { d.Purpose = "fun" },
		"sealed to nobody":        func(d *KeysMadeData) { d.Purpose = KeyBreakGlass },
	} {
		d := made
		change(&d)
		kind := ErrInvalid
		switch {
		case strings.Contains(words, "no repository"):
			kind = ErrNotFound
		case strings.Contains(words, "and not") || strings.Contains(words, "home"):
			kind = ErrConflict
		}
		n.refused(kind, words, KeysMade, d)
	}
	failed := made
	failed.Error = "the store is full"
	n.must(KeysMade, failed)
	n.must(KeysMade, failed)
	if f := n.keys().Failure; f == nil || f.Count != 2 {
		t.Errorf("failure %+v", f)
	}
	glass := KeysMadeData{Account: "guestbook", Repository: "guestbook", Home: made.Home, Purpose: KeyBreakGlass, Key: keyName("glass"),
		Old: []string{keyName("lost"), keyName("new")}, Asked: []string{"age1o"}, Sealed: []string{"age1o"}, File: Sum([]byte("sealed"))}
	n.must(KeysMade, glass)
	k := n.keys()
	if k.Failure != nil || k.BreakGlass.Key != keyName("glass") || !slices.Equal(k.Remove, []string{keyName("lost")}) {
		t.Errorf("with a break-glass key: %+v; want that of the rotation to stay", k)
	}
}

// TestKeys_Reseal: the next password of a rotation is a secret like the present one.
func TestKeys_Reseal(t *testing.T) {
	n, _ := withKey(t)
	item := ResealItem{Kind: SecretRotation, Account: "guestbook", Old: Sum([]byte("next")), Sealed: []byte("sealed anew")}
	other := item
	other.Old = Sum([]byte("another"))
	n.same(SecretsReseal, SecretsResealData{Items: []ResealItem{other}})
	n.must(SecretsReseal, SecretsResealData{Items: []ResealItem{item}})
	if got := string(n.keys().Rotation.Sealed); got != "sealed anew" {
		t.Errorf("it is %q", got)
	}
	for _, id := range []string{"k1", "k2"} {
		n.must(KeyringSet, KeyringSetData{Key: Key{ID: id, Recipient: "age1x", Sealed: []byte("x"), Recipients: []string{"age1y"}}})
		if id == "k1" {
			sealed := SealedWith("k1", []byte("y"))
			n.must(SecretsReseal, SecretsResealData{Items: []ResealItem{{Kind: SecretRotation, Account: "guestbook", Old: Sum([]byte("sealed anew")), Sealed: sealed}}})
		}
	}
	n.refused(ErrConflict, "the next password of account guestbook is sealed to it", KeyringRetire, KeyringRetireData{ID: "k1"})
}

func TestBreakGlassRecord(t *testing.T) {
	n, _ := running(t)
	n.refused(ErrInvalid, "at least one", BreakGlassRecord, BreakGlassRecordData{Store: "s3"})
	n.must(BreakGlassRecord, BreakGlassRecordData{Store: "s3", Count: 30, Tested: slices.Repeat([]string{"guestbook"}, 30)})
	n.must(BreakGlassRecord, BreakGlassRecordData{Store: "s3", Count: 1, Tested: []string{"guestbook"}, Failed: []string{"guestbook"}, Error: "no"})
	got := n.view().BreakGlassTests()
	if got.Passed.Count != 30 || len(got.Passed.Tested) != mostTested || got.Last.Error != "no" || got.Last.By == "" {
		t.Errorf("got %+v", got)
	}
}

// TestReplicationRecord_Keys: a pass may have begun before there was the key of the password in use. A site's first one does not count
// before the site was seen to have the keys; another one of a site that holds a copy does, since nothing is switched without it.
func TestReplicationRecord_Keys(t *testing.T) {
	n, _ := withKey(t)
	n.must(InventoryApply, InventoryData{Policies: []Policy{{Name: "hourly", Schedule: "@every 1h", Replicas: []SiteName{"par1"}}}})
	n.must(InventoryApply, InventoryData{Sites: []Site{{Name: "par4", Gateways: []string{"https://g"}, Store: &Store{Endpoint: "http://s", Bucket: "drp-par4"}}}})
	record := ReplicationRecordData{Account: "guestbook", From: "par1", To: "par4", Snapshots: []SnapshotID{snapshotID("c")}}
	there := func(site SiteName) bool {
		_, ok := n.view().Snapshot("guestbook", snapshotID("c")).At(site)
		return ok
	}
	n.must(ReplicationRecord, record)
	if there("par4") {
		t.Error("it counts as a copy before anybody has seen the keys there")
	}
	n.see("par4", "")
	n.must(ReplicationRecord, record)
	record.To = "par2"
	n.must(ReplicationRecord, record)
	if !there("par4") || !there("par2") {
		t.Error("it does not count as a copy with the keys, or at a site that holds one")
	}
}

// A new home that lacks the break-glass key names none to remove: the one that is on record goes all the same. Of more keys than
// a word can name the newest count, and the word is not refused.
func TestKeysMade_breakGlass(t *testing.T) {
	n, home := threeSnapshots(t)
	made := func(key string, old ...string) {
		t.Helper()
		n.must(KeysMade, KeysMadeData{Account: "guestbook", Repository: "guestbook", Home: home, Purpose: KeyBreakGlass, Key: keyName(key), Old: old,
			Asked: []string{"age1"}, Sealed: []string{"age1"}, File: Sum([]byte(key))})
	}
	made("one")
	made("two")
	if got := n.keys(); !slices.Equal(got.Remove, []string{keyName("one")}) || got.BreakGlass.Key != keyName("two") {
		t.Errorf("got %+v, want the first one to be removed", got)
	}
	var many []string
	for i := range 2 * mostKeys {
		many = append(many, keyName(strings.Repeat("x", i+1)))
	}
	made("three", many...)
	if got := n.keys(); got.BreakGlass.Key != keyName("three") || slices.Contains(got.Remove, keyName("three")) || len(got.Remove) > mostKeys {
		t.Errorf("got %+v", got)
	}
	n.must(RepositoryRenew, RepositoryRenewData{Account: "guestbook", SealedPassword: []byte("new"), Server: "par1-s1", Reason: "stolen"})
	if got := n.keys(); got != nil {
		t.Errorf("after a renewal there is still %+v", got)
	}
}

// A platform has one list of recipients and a row for each account: the row names the list. One that nothing is sealed to any more
// goes when a new one comes.
func TestKeysMade_Recipients(t *testing.T) {
	n, home := threeSnapshots(t)
	make := func(asked, sealed []string) *BreakGlass {
		t.Helper()
		n.must(KeysMade, KeysMadeData{Account: "guestbook", Repository: "guestbook", Home: home, Purpose: KeyBreakGlass,
			Key: keyName(strings.Join(asked, "") + strconv.Itoa(int(n.index))), Asked: asked, Sealed: sealed, File: Sum([]byte("file"))})
		return n.keys().BreakGlass
	}
	lists := func() int { return len(recipientsTable.list(n.view().txn)) }
	first := []string{"age1" + strings.Repeat("a", 58), "age1" + strings.Repeat("b", 58), "age1" + strings.Repeat("c", 58)}
	b := make(first, first)
	if !slices.Equal(n.view().Recipients(b.Asked), first) || b.To() != b.Asked || b.Asked != RecipientsID(first) {
		t.Errorf("asked %v, sealed to %v", n.view().Recipients(b.Asked), n.view().Recipients(b.To()))
	}
	row, err := appendRow(nil, n.keys())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(row), "age1") || strings.Contains(string(row), "sealed") || len(row) > 450 {
		t.Errorf("a row of %d bytes: %s", len(row), row)
	}
	own := []string{"age1own"}
	if b = make(first, own); !slices.Equal(n.view().Recipients(b.To()), own) || !slices.Equal(n.view().Recipients(b.Asked), first) || lists() != 2 {
		t.Errorf("asked %v, sealed to %v, %d lists", n.view().Recipients(b.Asked), n.view().Recipients(b.To()), lists())
	}
	restored, err := Restore(strings.NewReader(string(persisted(t, n.view()))))
	if err != nil {
		t.Fatal(err)
	}
	if got := restored.View().Recipients(b.To()); !slices.Equal(got, own) {
		t.Errorf("after a restore: %v", got)
	}
	make([]string{"age1x"}, []string{"age1x"})
	make([]string{"age1y"}, []string{"age1y"})
	if lists() > 2 {
		t.Errorf("%d lists stay, and one is in use", lists())
	}
	if b := n.keys().BreakGlass; !slices.Equal(n.view().Recipients(b.To()), []string{"age1y"}) {
		t.Error("the list in use is gone")
	}
}
