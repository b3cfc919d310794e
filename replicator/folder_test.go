package replicator_test

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"drp/replicator"
	"drp/replicator/storetest"
)

// folder copies everything below the buckets.
func (s *shelf) folder(t *testing.T) (map[string]replicator.Outcome, replicator.Survey, error) {
	t.Helper()
	outcomes := make(map[string]replicator.Outcome)
	survey, err := replicator.Folder(t.Context(), s.from, s.to, replicator.Options{}, func(o replicator.Outcome) {
		if _, twice := outcomes[o.Prefix]; twice {
			t.Errorf("%s was told of twice", o.Prefix)
		}
		outcomes[o.Prefix] = o
	})
	return outcomes, survey, err
}

// also puts a copy of the repository "shop/" under another prefix at the source.
func (s *shelf) also(prefixes ...string) {
	all := s.source.Objects()
	for _, prefix := range prefixes {
		for key, content := range all {
			if rest, ok := strings.CutPrefix(key, "shop/"); ok {
				s.source.Store(prefix+rest, content)
			}
		}
	}
}

// listsAgain reports whether a call is the second listing of everything.
func (s *shelf) listsAgain(call storetest.Call) bool {
	n := 0
	for _, c := range s.source.Calls() {
		if c == (storetest.Call{Operation: storetest.List, Page: 1}) {
			n++
		}
	}
	return call.Operation == storetest.List && call.Key == "" && n == 2
}

func TestFolder(t *testing.T) {
	s := newShelf(t, 3)
	s.also("a/", "customers/x/", "customers/y/", "shop-2/", "zoo/")
	want := []string{"a/", "customers/x/", "customers/y/", "shop-2/", "shop/", "zoo/"}
	outcomes, survey, err := s.folder(t)
	if err != nil || len(outcomes) != len(want) || survey != (replicator.Survey{}) {
		t.Fatalf("got %v, %+v and %v", outcomes, survey, err)
	}
	for _, prefix := range want {
		if o := outcomes[prefix]; o.Err != nil || o.Unchanged || !cmp.Equal(o.Report.Snapshots, s.snapshots) {
			t.Errorf("%s: %+v", prefix, o)
		}
	}
	s.whole(t)

	t.Run("unchanged", func(t *testing.T) {
		source, target := len(s.source.Calls()), len(s.target.Calls())
		outcomes, _, err := s.folder(t)
		if err != nil || len(outcomes) != len(want) {
			t.Fatalf("got %v and %v", outcomes, err)
		}
		for prefix, o := range outcomes {
			if !o.Unchanged {
				t.Errorf("%s: %+v", prefix, o)
			}
		}
		if s, d := len(s.source.Calls())-source, len(s.target.Calls())-target; s != 1 || d != 1 {
			t.Errorf("%d requests at the source and %d at the destination, want one listing each", s, d)
		}
	})
	t.Run("one has changed, and others lie about", func(t *testing.T) {
		s.source.Store(strings.Replace(nameOf("data", "new"), "shop/", "zoo/", 1), []byte("new"))
		s.source.Store("readme.txt", []byte("hello"))
		s.source.Store("shop/notes", []byte("hello"))
		s.source.Store("tool/config", []byte("another program's"))
		s.source.Store(strings.Replace(nameOf("keys", "key"), "shop/", "begun/", 1), []byte("key"))
		s.source.Store(strings.Replace(nameOf("data", "rest"), "shop/", "ruin/", 1), []byte("rest"))
		s.source.Store(strings.Replace(nameOf("data", "trash"), "shop/", ".trash/shop/run/", 1), []byte("trash"))
		s.target.Store("old/config", []byte("config"))
		s.target.Store(strings.Replace(nameOf("keys", "key"), "shop/", "old/", 1), []byte("key"))
		outcomes, survey, err := s.folder(t)
		if err != nil || len(outcomes) != len(want)+1 {
			t.Fatalf("got %v and %v", outcomes, err)
		}
		if !errors.Is(outcomes["ruin/"].Err, replicator.ErrHeadless) {
			t.Errorf("the ruin: %+v", outcomes["ruin/"])
		}
		if o := outcomes["zoo/"]; o.Err != nil || o.Report.Objects != 1 {
			t.Errorf("the changed one: %+v", o)
		}
		if want := (replicator.Survey{OnlyThere: 1, Strange: 4}); survey != want {
			t.Errorf("got %+v, want %+v", survey, want)
		}
	})
}

// TestFolder_ConfigMeanwhile: between the look at both sides and the pass of one repository lie hours, where there are many. A repository
// that was made there meanwhile keeps its config: without that nobody opens it any more.
func TestFolder_ConfigMeanwhile(t *testing.T) {
	for name, there := range map[string]string{"another": "tcfgno", "a longer one": "another config", "the same": "config"} {
		t.Run(name, func(t *testing.T) {
			s := newShelf(t, 3)
			s.source.Fault = func(c storetest.Call) *storetest.Fault {
				if s.listsAgain(c) || c.Operation == storetest.Get && c.Key == "shop/config" {
					s.target.Store("shop/config", []byte(there))
				}
				return nil
			}
			outcomes, _, err := s.folder(t)
			if err != nil {
				t.Fatal(err)
			}
			if got := outcomes["shop/"].Err; errors.Is(got, replicator.ErrConfigDiffers) != (name != "the same") || name == "the same" && got != nil {
				t.Errorf("got %v", got)
			}
			if got := string(s.target.Objects()["shop/config"]); got != there {
				t.Errorf("the config there is %q, and was %q", got, there)
			}
			if puts := s.target.Puts(); name != "the same" && len(puts) > 0 {
				t.Errorf("%v was written", puts)
			}
		})
	}
}

// TestFolder_Under: what lies below one folder comes to lie below another, also a repository that is the folder itself.
func TestFolder_Under(t *testing.T) {
	s := newShelf(t, 3)
	s.from, s.to = s.from.Under("shop/"), s.to.Under("copies/of/shop/")
	outcomes, _, err := s.folder(t)
	if o, ok := outcomes[""]; err != nil || !ok || o.Err != nil || len(outcomes) != 1 {
		t.Fatalf("got %v and %v", outcomes, err)
	}
	want := make(map[string][]byte)
	for key, content := range s.source.Objects() {
		want["copies/of/"+key] = content
	}
	if got := s.target.Objects(); !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
}

// TestFolder_Disordered: stores that do not list by name, and repositories within others.
func TestFolder_Disordered(t *testing.T) {
	t.Run("backwards", func(t *testing.T) {
		s := newShelf(t, 3)
		s.also("a/", "b/")
		s.source.Fault = func(c storetest.Call) *storetest.Fault {
			return &storetest.Fault{Listing: func(a *storetest.ListingAnswer) { slices.Reverse(a.Contents) }}
		}
		if outcomes, _, err := s.folder(t); err != nil || len(outcomes) != 3 {
			t.Errorf("got %v and %v", outcomes, err)
		}
		s.whole(t)
	})
	t.Run("one within another", func(t *testing.T) {
		s := newShelf(t, 3)
		s.also("shop/b/", "shop/e/", "shop/z/") // shop/e/ lies between its packs and its index
		if outcomes, _, err := s.folder(t); err != nil || len(outcomes) != 4 {
			t.Errorf("got %v and %v", outcomes, err)
		}
		s.whole(t)
	})
	t.Run("only when looked at closer", func(t *testing.T) {
		s := newShelf(t, 3)
		s.source.Fault = func(c storetest.Call) *storetest.Fault {
			if !s.listsAgain(c) {
				return nil
			}
			return &storetest.Fault{Listing: func(a *storetest.ListingAnswer) { slices.Reverse(a.Contents) }}
		}
		if outcomes, _, err := s.folder(t); err != nil || len(outcomes) != 1 {
			t.Errorf("got %v and %v", outcomes, err)
		}
		s.whole(t)
		if !slices.Contains(s.source.Calls(), storetest.Call{Operation: storetest.List, Key: "shop/index/", Page: 1}) {
			t.Error("a listing that may show the index ahead of the packs was believed")
		}
	})
}

// TestFolder_Meanwhile: the source changes between the listing of everything and the closer look.
func TestFolder_Meanwhile(t *testing.T) {
	between := func(s *shelf, change func()) {
		s.source.Fault = func(c storetest.Call) *storetest.Fault {
			if s.listsAgain(c) {
				change()
			}
			return nil
		}
	}
	t.Run("a backup", func(t *testing.T) {
		s := newShelf(t, 3)
		between(s, func() {
			s.add("data", "late pack")
			s.add("index", "late index")
			s.add("snapshots", "late snapshot")
		})
		outcomes, _, err := s.folder(t)
		if o := outcomes["shop/"]; err != nil || o.Err != nil || len(o.Report.Snapshots) != 2 {
			t.Errorf("got %+v and %v", o, err)
		}
		s.whole(t)
	})
	t.Run("a snapshot whose index was there", func(t *testing.T) {
		s := newShelf(t, 3)
		var late string
		between(s, func() { late = s.add("snapshots", "late snapshot") })
		if outcomes, _, err := s.folder(t); err != nil || outcomes["shop/"].Err != nil {
			t.Errorf("got %v and %v", outcomes, err)
		}
		if _, ok := s.target.Objects()[late]; ok {
			t.Error("a snapshot was copied that was not listed ahead of the packs")
		}
	})
	t.Run("a prune", func(t *testing.T) {
		s := newShelf(t, 3)
		between(s, func() {
			s.source.Forget(s.data[0])
			s.source.Forget(s.index[0])
			s.add("index", "another index")
		})
		if outcomes, _, err := s.folder(t); err != nil || outcomes["shop/"].Err != nil {
			t.Errorf("got %v and %v", outcomes, err)
		}
		s.whole(t)
	})
	t.Run("a prune while it is copied, once", func(t *testing.T) {
		s := newShelf(t, 3)
		s.source.Fault = func(c storetest.Call) *storetest.Fault {
			if c.Operation == storetest.Get && c.Key == s.data[0] {
				s.source.Forget(s.data[0])
			}
			return nil
		}
		outcomes, _, err := s.folder(t)
		if o := outcomes["shop/"]; err != nil || o.Err != nil || len(o.Report.Snapshots) != 1 {
			t.Errorf("got %+v and %v: it should have begun again", o, err)
		}
		s.whole(t)
	})
}

// TestFolder_OneFails: it keeps no other back.
func TestFolder_OneFails(t *testing.T) {
	s := newShelf(t, 3)
	s.also("a/", "z/")
	s.target.Fault = func(c storetest.Call) *storetest.Fault {
		if c.Operation == storetest.Put && strings.HasPrefix(c.Key, "shop/data/") {
			return &storetest.Fault{Status: http.StatusForbidden, Code: "AccessDenied"}
		}
		return nil
	}
	outcomes, _, err := s.folder(t)
	if err != nil || outcomes["shop/"].Err == nil || outcomes["a/"].Err != nil || outcomes["z/"].Err != nil || len(outcomes) != 3 {
		t.Errorf("got %v and %v", outcomes, err)
	}
	s.holdsNo(t, "index", "snapshots")
}

// TestFolder_Requests: beside two requests for each object it takes three listings, however many repositories there are;
// where one of many has changed, or there is a large one, that one is listed by itself.
func TestFolder_Requests(t *testing.T) {
	lists := func(d *storetest.Double) (prefixes []string) {
		for _, c := range d.Calls() {
			if c.Operation == storetest.List && c.Page == 1 {
				prefixes = append(prefixes, c.Key)
			}
		}
		return prefixes
	}
	s := newShelf(t, 3)
	s.also("a/", "b/", "c/", "d/")
	if outcomes, _, err := s.folder(t); err != nil || len(outcomes) != 5 {
		t.Fatalf("got %v and %v", outcomes, err)
	}
	s.whole(t)
	if here, there := lists(s.source), lists(s.target); !cmp.Equal(here, []string{"", ""}) || !cmp.Equal(there, []string{""}) {
		t.Errorf("listed %q at the source and %q at the destination", here, there)
	}
	for n := range 1000 {
		content := strconv.Itoa(n)
		s.target.Store(s.add("data", content), []byte(content))
	}
	s.add("data", "one more")
	before := len(lists(s.source))
	if outcomes, _, err := s.folder(t); err != nil || outcomes["shop/"].Err != nil {
		t.Fatalf("got %v and %v", outcomes, err)
	}
	s.whole(t)
	if got, want := lists(s.source)[before:], []string{"", "shop/"}; !cmp.Equal(got, want) {
		t.Errorf("listed %q, want %q", got, want)
	}
	s.add("data", "two more")
	before = len(lists(s.source))
	s.source.Fault = func(c storetest.Call) *storetest.Fault {
		if c.Key != "shop/" {
			return nil
		}
		return &storetest.Fault{Listing: func(a *storetest.ListingAnswer) { slices.Reverse(a.Contents) }}
	}
	if outcomes, _, err := s.folder(t); err != nil || outcomes["shop/"].Err != nil {
		t.Fatalf("got %v and %v", outcomes, err)
	}
	if got := lists(s.source)[before:]; !slices.Contains(got, "shop/index/") {
		t.Errorf("listed %q: a listing that may show the index ahead of the packs was believed", got)
	}
}

// TestFolder_Large: of a repository with more objects than a walk holds, the pass makes its own listing.
func TestFolder_Large(t *testing.T) {
	s := newShelf(t, 30)
	s.also("a/")
	s.target.Store(s.data[3], s.source.Objects()[s.data[3]])
	got := make(map[string]bool)
	_, err := replicator.FolderHolding(t.Context(), s.from, s.to, 10, func(o replicator.Outcome) { got[o.Prefix] = o.Err == nil })
	if want := map[string]bool{"a/": true, "shop/": true}; err != nil || !cmp.Equal(got, want) {
		t.Errorf("got %v and %v", got, err)
	}
	s.whole(t)
}
