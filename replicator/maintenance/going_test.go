package maintenance_test

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"drp/replicator/keyfiles"
	"drp/replicator/storetest"
)

// keyFile puts the file of a key into a repository as restic names it.
func (s *worldSite) keyFile(repository, content string) (id string) {
	sum := sha256.Sum256([]byte(content))
	id = hex.EncodeToString(sum[:])
	s.double.Store(repository+"/keys/"+id, []byte(content))
	return id
}

const glass = `{"username":"drp-breakglass","hostname":"par1","data":"x"}`

// removing has a break-glass key removed from a site's copy, as its leader says, and returns where it lies then.
func removing(t *testing.T, s *worldSite) (see func(), at string) {
	t.Helper()
	stays := s.keyFile("shop", `{"username":"drp","data":"stays"}`)
	goes := s.keyFile("shop", glass)
	see = func() {
		t.Helper()
		if err := keyfiles.SeeTo(t.Context(), nil, s.store, keyfiles.Task{Name: "shop", Have: []string{stays}, Remove: []string{goes}}); err != nil {
			t.Fatal(err)
		}
	}
	see()
	return see, ".going-keys/shop/" + goes
}

func (s *worldSite) tendKeys(t *testing.T) {
	t.Helper()
	names, err := s.keeper.GoingKeys(t.Context())
	for _, name := range names {
		if err == nil {
			err = s.keeper.TendKeys(t.Context(), name)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestGoingKeys: a leader that lies can have the break-glass keys removed everywhere, and they can be brought back for as long as
// each site's own grace lasts. Old passwords stop working at once.
func TestGoingKeys(t *testing.T) {
	w, s, _ := lone(t)
	old := s.keyFile("shop", `{"username":"drp","data":"old"}`)
	see, at := removing(t, s)
	is := func(want bool, when string) {
		t.Helper()
		content, ok := s.under(".going-keys/")[at]
		if ok != want || ok && content != glass {
			t.Fatalf("%s: it is there: %v, want %v", when, ok, want)
		}
	}
	is(true, "at once")
	stays := s.keyFile("shop", `{"username":"drp","data":"stays"}`)
	if err := keyfiles.SeeTo(t.Context(), nil, s.store, keyfiles.Task{Name: "shop", Have: []string{stays}, Remove: []string{old}}); err != nil {
		t.Fatal(err)
	}
	for key := range s.double.Objects() {
		if strings.Contains(key, old) && !strings.HasPrefix(key, ".removed-keys/") {
			t.Errorf("the key of an old password lies at %s", key)
		}
	}
	w.pass(100 * 24 * time.Hour) // no worker looked
	s.tendKeys(t)
	is(true, "at the first look")
	w.pass(29 * time.Hour)
	see() // the sites are asked again now and then
	s.tendKeys(t)
	is(true, "within the grace")
	w.pass(2 * time.Hour)
	s.tendKeys(t)
	is(false, "at the end")
	if left := s.under(".going-keys/"); len(left) != 0 {
		t.Errorf("left: %v", slices.Collect(maps.Keys(left)))
	}

	// Somebody brought it back, and it is removed once more: what was noted before does not count.
	s.keyFile("shop", glass)
	see()
	s.tendKeys(t)
	w.pass(20 * time.Hour)
	s.keyFile("shop", glass)
	s.double.Forget(at)
	see()
	w.pass(20 * time.Hour)
	s.tendKeys(t)
	is(true, "20 hours after it was removed again")
	w.pass(31 * time.Hour)
	s.tendKeys(t)
	is(false, "at the end of that")

	// What is back in its place leaves no mark behind.
	s.keyFile("shop", glass)
	see()
	s.tendKeys(t)
	s.double.Forget(at)
	s.tendKeys(t)
	if left := s.under(".going-keys/"); len(left) != 0 {
		t.Errorf("left: %v", slices.Collect(maps.Keys(left)))
	}
}

// A sealed password that another one takes the place of is kept as its key is: sealed to the liar alone, the new one is of no use.
func TestGoingKeys_Sealed(t *testing.T) {
	w, s, _ := lone(t)
	home := w.sites[1]
	home.double.Store(".breakglass/shop.age", []byte("sealed to the liar"))
	key := s.keyFile("shop", `{"username":"drp"}`)
	replaced := func() string {
		t.Helper()
		s.double.Store(".breakglass/shop.age", []byte("sealed to us"))
		task := keyfiles.Task{Name: "shop", Have: []string{key}, File: sha256.Sum256([]byte("sealed to the liar"))}
		for range 2 {
			if err := keyfiles.SeeTo(t.Context(), home.store, s.store, task); err != nil {
				t.Fatal(err)
			}
		}
		if got := s.under(".breakglass/")[".breakglass/shop.age"]; got != "sealed to the liar" {
			t.Fatalf("it holds %q", got)
		}
		sum := sha256.Sum256([]byte("sealed to us"))
		return ".going-keys/shop/" + hex.EncodeToString(sum[:]) + ".age"
	}
	at := replaced()
	s.tendKeys(t)
	w.pass(20 * time.Hour)
	replaced() // once more: its time begins anew
	s.tendKeys(t)
	w.pass(20 * time.Hour)
	s.tendKeys(t)
	if got := s.under(".going-keys/"); got[at] != "sealed to us" || len(got) != 2 {
		t.Fatalf("on their way out: %v, want %s and its mark", got, at)
	}
	w.pass(11 * time.Hour)
	s.tendKeys(t)
	if got := s.under(".going-keys/"); len(got) != 0 {
		t.Errorf("at the end: %v", got)
	}
}

// Neither of the two clocks deletes a break-glass key early when it jumps.
func TestGoingKeys_Clocks(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for name, jump := range map[string]func(s *worldSite){
		"the worker's is ahead":                  func(s *worldSite) { s.off(year, 0) },
		"the store's is ahead":                   func(s *worldSite) { s.off(0, year) },
		"the worker's was behind at the marking": func(s *worldSite) { s.off(-year, 0) },
		"the store's was behind at the marking":  func(s *worldSite) { s.off(0, -year) },
	} {
		t.Run(name, func(t *testing.T) {
			w, s, _ := lone(t)
			before := strings.Contains(name, "at the marking")
			if before {
				jump(s)
			}
			_, at := removing(t, s)
			s.tendKeys(t)
			if before {
				s.off(0, 0)
			} else {
				jump(s)
			}
			w.pass(29 * time.Hour)
			s.tendKeys(t)
			if _, ok := s.under(".going-keys/")[at]; !ok {
				t.Fatal("it is gone after 29 hours")
			}
		})
	}
	t.Run("a mark from the future", func(t *testing.T) {
		w, s, _ := lone(t)
		s.off(year, year)
		_, at := removing(t, s)
		s.tendKeys(t)
		s.off(0, 0)
		s.tendKeys(t) // it is seen, and begins anew
		w.pass(31 * time.Hour)
		s.tendKeys(t)
		if _, ok := s.under(".going-keys/")[at]; !ok {
			return
		}
		// The object itself is dated by the store alone: it goes when the store's time has come there.
		w.pass(year + 31*time.Hour)
		s.tendKeys(t)
		s.tendKeys(t)
		w.pass(31 * time.Hour)
		s.tendKeys(t)
		if _, ok := s.under(".going-keys/")[at]; ok {
			t.Error("it never goes")
		}
	})
}

// TestGoingKeys_AfterDeath: wherever the worker dies when it removes such a key, the key is in one of the two places, and the next
// one goes on.
func TestGoingKeys_AfterDeath(t *testing.T) {
	died := 0
	for requests := 0; ; requests++ {
		_, s, _ := lone(t)
		stays := s.keyFile("shop", `{"username":"drp","data":"stays"}`)
		goes := s.keyFile("shop", glass)
		task := keyfiles.Task{Name: "shop", Have: []string{stays}, Remove: []string{goes}}
		done := requests
		s.double.Fault = func(storetest.Call) *storetest.Fault {
			if done--; done >= 0 {
				return nil
			}
			return &storetest.Fault{Status: http.StatusForbidden, Code: "AccessDenied"}
		}
		err := keyfiles.SeeTo(t.Context(), nil, s.store, task)
		s.double.Fault = nil
		held := s.double.Objects()
		if string(held["shop/keys/"+goes]) != glass && string(held[".going-keys/shop/"+goes]) != glass {
			t.Fatalf("after %d requests it is nowhere", requests)
		}
		if err == nil {
			break
		}
		died++
		s.tendKeys(t)
		if err := keyfiles.SeeTo(t.Context(), nil, s.store, task); err != nil {
			t.Fatalf("after %d requests: %v", requests, err)
		}
		held = s.double.Objects()
		if _, ok := held["shop/keys/"+goes]; ok || string(held[".going-keys/shop/"+goes]) != glass {
			t.Fatalf("after %d requests: it is not on its way out", requests)
		}
	}
	if died < 5 {
		t.Errorf("it died %d times only", died)
	}
}

// A home that lies could name break-glass keys in its lists: they stay in the trash for the grace, though all data was read since.
func TestFollow_BreakGlassStays(t *testing.T) {
	w, s, job := lone(t)
	if _, err := s.keeper.Run(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	key := ""
	for name := range s.under(".trash/shop/") {
		if folder, ok := strings.CutSuffix(name, "complete.json"); ok {
			key = folder + "keys/" + s.keyFile("elsewhere", glass)
			s.double.Store(key, []byte(glass))
			s.double.Store(folder+"keys/"+s.keyFile("elsewhere", `{"username":"drp"}`), []byte(`{"username":"drp"}`))
		}
	}
	w.pass(time.Hour)
	if err := s.keeper.HasRead(t.Context(), "shop", 1, 1, w.now()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.keeper.Tend(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	keys := 0
	for name := range s.under(".trash/shop/") {
		if strings.Contains(name, "/keys/") {
			keys++
		}
	}
	if held := s.double.Objects(); string(held[key]) != glass || keys != 1 {
		t.Errorf("%d keys are in the trash, that of break-glass among them: %v; want it alone", keys, string(held[key]) == glass)
	}
}
