package replicator_test

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"drp/replicator"
	"drp/replicator/storetest"
)

// TestPass_ReadOrder: what promises others is listed before them, and the index again after the packs.
func TestPass_ReadOrder(t *testing.T) {
	s := newShelf(t, 3)
	if _, err := s.pass(t); err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, c := range s.source.Calls() {
		if c.Operation == storetest.List && c.Key != "shop/config" {
			listed = append(listed, strings.TrimPrefix(c.Key, "shop/"))
		}
	}
	if want := []string{"snapshots/", "index/", "data/", "index/", "keys/"}; !cmp.Equal(listed, want) {
		t.Errorf("listed %v, want %v", listed, want)
	}
}

// TestPass_Locks: a lock is neither read nor written, at either end, nor taken for a snapshot.
func TestPass_Locks(t *testing.T) {
	for what, run := range map[string]func(*shelf) []string{
		"pass": func(s *shelf) []string {
			r, err := s.pass(t)
			if err != nil {
				t.Fatal(err)
			}
			return r.Snapshots
		},
		"folder": func(s *shelf) []string {
			outcomes, _, err := s.folder(t)
			if err != nil || outcomes["shop/"].Err != nil {
				t.Fatal(outcomes, err)
			}
			if outcomes["shop/"].Unchanged {
				return s.snapshots
			}
			return outcomes["shop/"].Report.Snapshots
		},
	} {
		t.Run(what, func(t *testing.T) {
			s := newShelf(t, 3)
			lock := s.add("locks", "lock")
			s.target.Store(nameOf("locks", "another"), []byte("another"))
			for range 2 {
				if got := run(s); !cmp.Equal(got, s.snapshots) {
					t.Errorf("copied %v, want %v", got, s.snapshots)
				}
			}
			if _, ok := s.target.Objects()[lock]; ok {
				t.Error("the lock was copied")
			}
			if _, ok := s.target.Objects()[nameOf("locks", "another")]; !ok {
				t.Error("the destination's lock is gone")
			}
			for _, c := range slices.Concat(s.source.Calls(), s.target.Calls()) {
				if c.Operation != storetest.List && strings.Contains(c.Key, "/locks/") {
					t.Errorf("asked for %+v", c)
				}
			}
		})
	}
}

// TestPass_DeletesNothing: what the source does not have any more stays at the destination, however much it is.
func TestPass_DeletesNothing(t *testing.T) {
	s := newShelf(t, 5)
	if _, err := s.pass(t); err != nil {
		t.Fatal(err)
	}
	before := s.target.Objects()
	for _, key := range append(s.data[:4], s.index[0]) {
		s.source.Forget(key)
	}
	if _, err := s.pass(t); err != nil {
		t.Fatal(err)
	}
	if got := s.target.Objects(); !cmp.Equal(got, before) {
		t.Errorf("the destination changed: %s", cmp.Diff(before, got))
	}
	for _, c := range s.target.Calls() {
		if c.Operation == storetest.Delete {
			t.Errorf("deleted %s", c.Key)
		}
	}
}

// TestPass_IndexReplacedBetweenPages: prune writes a new index and removes the old one while the listing is between two
// pages, so that it shows neither.
func TestPass_IndexReplacedBetweenPages(t *testing.T) {
	s := newShelf(t, 3)
	s.source.PageSize = 2
	for n := range 6 {
		s.index = append(s.index, s.add("index", "more "+strings.Repeat("i", n)))
	}
	slices.Sort(s.index)
	// The new one sorts into the page that was shown already, and the old one is the last, which is still to come.
	content := "replacement"
	for nameOf("index", content) > s.index[1] {
		content += "."
	}
	var once atomic.Bool
	s.source.Fault = func(c storetest.Call) *storetest.Fault {
		if c.Operation == storetest.List && c.Key == "shop/index/" && c.Page == 2 && once.CompareAndSwap(false, true) {
			s.add("index", content)
			s.source.Forget(s.index[len(s.index)-1])
		}
		return nil
	}
	r, err := s.pass(t)
	if err != nil || len(r.Snapshots) != 1 {
		t.Fatalf("got %+v and %v", r, err)
	}
	if _, ok := s.target.Objects()[nameOf("index", content)]; !ok {
		t.Error("a snapshot is called copied, and the index that the listing had missed is not there")
	}
	s.whole(t)
}

// TestPass_PruneBetweenPages: packs that a page has shown are gone when they are read. Nothing that may need them is
// promoted, and the next pass is complete.
func TestPass_PruneBetweenPages(t *testing.T) {
	s := newShelf(t, 9)
	s.source.PageSize = 3
	slices.Sort(s.data)
	s.source.Fault = func(c storetest.Call) *storetest.Fault {
		if c.Operation == storetest.List && c.Key == "shop/data/" && c.Page == 2 {
			s.source.Forget(s.data[0])
			s.source.Forget(s.data[8])
		}
		return nil
	}
	r, err := s.pass(t)
	if !errors.Is(err, replicator.ErrChanged) || !cmp.Equal(r.Missing, s.data[:1]) || len(r.Snapshots) > 0 {
		t.Errorf("got %+v and %v, want the first pack missing", r, err)
	}
	s.holdsNo(t, "index", "snapshots")
	s.source.Fault = nil
	if _, err := s.pass(t); err != nil {
		t.Fatal(err)
	}
	s.whole(t)
}

// TestPass_LostAtDestination: what vanished there is brought again, also when all that follows it is there.
func TestPass_LostAtDestination(t *testing.T) {
	for _, class := range []string{"keys", "data", "index", "snapshots", "config"} {
		t.Run(class, func(t *testing.T) {
			s := newShelf(t, 3)
			if _, err := s.pass(t); err != nil {
				t.Fatal(err)
			}
			for key := range s.target.Objects() {
				if strings.HasPrefix(key, "shop/"+class) {
					s.target.Forget(key)
				}
			}
			if _, err := s.pass(t); err != nil {
				t.Fatal(err)
			}
			s.whole(t)
		})
	}
}

// TestPass_UnknownOutcome: the store has the object and its answer is lost. It is written again, and that is harmless.
func TestPass_UnknownOutcome(t *testing.T) {
	s := newShelf(t, 3)
	var n atomic.Int32
	s.target.Fault = func(c storetest.Call) *storetest.Fault {
		if c.Operation == storetest.Put && c.Key == s.data[1] && n.Add(1) == 1 {
			return &storetest.Fault{Lost: true}
		}
		return nil
	}
	if r, err := s.pass(t); err != nil || len(r.Snapshots) != 1 {
		t.Errorf("got %+v and %v", r, err)
	}
	s.whole(t)
}

// TestPass_HashIsSent: the store is given each object's name as the hash to check, and one that finds another is believed.
func TestPass_HashIsSent(t *testing.T) {
	s := newShelf(t, 3)
	var n atomic.Int32
	s.target.Fault = func(c storetest.Call) *storetest.Fault {
		if c.Operation == storetest.Put && c.Key == s.data[1] && n.Add(1) == 1 {
			return &storetest.Fault{Status: http.StatusBadRequest, Code: "XAmzContentSHA256Mismatch"} // a bit flipped on the way there
		}
		return nil
	}
	if _, err := s.pass(t); err != nil {
		t.Fatal(err)
	}
	s.whole(t) // the double refuses what does not have the hash that was sent
}

// TestPass_Late: a snapshot that comes when the packs have been listed is left to the next pass, also when all of its index
// was there: it may need what was not listed.
func TestPass_Late(t *testing.T) {
	s := newShelf(t, 3)
	var late string
	s.source.Fault = func(c storetest.Call) *storetest.Fault {
		if c.Operation == storetest.List && c.Key == "shop/keys/" {
			late = s.add("snapshots", "late")
		}
		return nil
	}
	r, err := s.pass(t)
	if err != nil || !cmp.Equal(r.Snapshots, s.snapshots) {
		t.Errorf("got %+v and %v, want the snapshot that was listed", r, err)
	}
	if _, ok := s.target.Objects()[late]; ok || late == "" {
		t.Error("a snapshot was copied that was not listed ahead of the packs")
	}
	s.source.Fault = nil
	if _, err := s.pass(t); err != nil {
		t.Fatal(err)
	}
	s.whole(t)
}

// TestPass_WithholdsTheEnd: of an object that is not what its name says the store never gets the last part, so that one
// which ignores hashes has no object either.
func TestPass_WithholdsTheEnd(t *testing.T) {
	for _, size := range []int{1, replicator.Withheld, replicator.Withheld + 1, 10 * replicator.Withheld, 2 << 20} {
		t.Run(strconv.Itoa(size), func(t *testing.T) {
			t.Parallel()
			s := newShelf(t, 1)
			s.target.Blind = true
			content := strings.Repeat("x", size)
			bad := s.add("data", content)
			for _, at := range []int{0, size - 1} {
				broken := []byte(content)
				broken[at] ^= 1
				s.source.Store(bad, broken)
				if r, err := s.pass(t); !errors.Is(err, replicator.ErrBroken) || !cmp.Equal(r.Broken, []string{bad}) {
					t.Errorf("one bit flipped at %d: got %+v and %v", at, r, err)
				}
				if slices.Contains(s.target.Puts(), bad) {
					t.Errorf("one bit flipped at %d: the store has it", at)
				}
			}
		})
	}
}

// TestDoc: each test that the package's documentation names is there.
func TestDoc(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`(?:([a-z]+)\.)?(Test[A-Za-z_]+)`).FindAllStringSubmatch(string(doc), -1)
	if len(named) < 30 {
		t.Errorf("it names %d tests only", len(named))
	}
	for _, n := range named {
		files, err := filepath.Glob(filepath.Join(n[1], "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(files, func(file string) bool {
			content, err := os.ReadFile(file)
			return err == nil && bytes.Contains(content, []byte("\nfunc "+n[2]+"(t "))
		}) {
			t.Errorf("there is no test %s", n[0])
		}
	}
}

// TestPass_DearKey: a key file that costs more to try than any of restic's stays where it is, is told, and keeps nothing back.
func TestPass_DearKey(t *testing.T) {
	s := newShelf(t, 3)
	usual := s.add("keys", `{"kdf":"scrypt","N":32768,"r":8,"p":9,"salt":"","data":""}`)
	dear := []string{
		s.add("keys", `{"kdf":"scrypt","N":1048576,"r":8,"p":1,"salt":"","data":""}`),                             // 1.1 GB
		s.add("keys", `{"kdf":"scrypt","N":32768,"r":8,"p":1000,"salt":"","data":""}`),                            // minutes
		s.add("keys", `{"kdf":"scrypt","N":9223372036854775807,"r":9223372036854775807,"p":2}`),                   // a product that overflows
		s.add("keys", `{"kdf":"scrypt","N":32768,"r":8,"p":1,"salt":"`+strings.Repeat("x", 1<<20)+`","data":""}`), // a long one
	}
	slices.Sort(dear)
	for range 2 {
		r, err := s.pass(t)
		if err != nil || !cmp.Equal(r.Broken, dear) || !cmp.Equal(r.Snapshots, s.snapshots) {
			t.Errorf("got %+v and %v, want the copy complete but for %v", r, err, dear)
		}
	}
	there := s.target.Objects()
	for _, key := range dear {
		if _, ok := there[key]; ok {
			t.Errorf("%s was copied", key)
		}
	}
	if _, ok := there[usual]; !ok {
		t.Error("a usual key was not copied")
	}
}

// TestPass_DearKeyAlone: what no key would open at the destination is no copy.
func TestPass_DearKeyAlone(t *testing.T) {
	s := newShelf(t, 3)
	s.source.Forget(nameOf("keys", "key"))
	dear := s.add("keys", `{"kdf":"scrypt","N":1048576,"r":8,"p":1,"salt":"","data":""}`)
	r, err := s.pass(t)
	if !errors.Is(err, replicator.ErrBroken) || len(r.Snapshots) > 0 || !cmp.Equal(r.Broken, []string{dear}) {
		t.Errorf("got %+v and %v, want nothing copied for %s", r, err, dear)
	}
	for _, key := range s.target.Puts() {
		if strings.HasPrefix(key, "shop/index/") || strings.HasPrefix(key, "shop/snapshots/") {
			t.Errorf("%s was promoted", key)
		}
	}
}

// TestPass_LargeObjects: the hashing of large objects is left to a store that was seen to refuse a wrong hash, and to no
// other. A broken one arrives at neither.
func TestPass_LargeObjects(t *testing.T) {
	for name, blind := range map[string]bool{"a store that checks": false, "a store that does not": true} {
		t.Run(name, func(t *testing.T) {
			s := newShelf(t, 1)
			s.target.Blind = blind
			content := bytes.Repeat([]byte("pack"), 1<<18) // 1 MiB
			good := s.add("data", string(content))
			if r, err := s.pass(t); err != nil || len(r.Snapshots) != 1 {
				t.Fatalf("got %+v and %v", r, err)
			}
			s.whole(t) // there is no probe left
			bad := s.add("data", string(content)+".")
			broken := []byte(string(content) + ".")
			broken[17] ^= 1
			s.source.Store(bad, broken)
			s.add("index", "index of it")
			s.add("snapshots", "snapshot of it")
			r, err := s.pass(t)
			if !errors.Is(err, replicator.ErrBroken) || !cmp.Equal(r.Broken, []string{bad}) {
				t.Errorf("got %+v and %v", r, err)
			}
			if slices.Contains(s.target.Puts(), bad) || !slices.Contains(s.target.Puts(), good) {
				t.Errorf("written: %v", s.target.Puts())
			}
			for _, key := range []string{nameOf("index", "index of it"), nameOf("snapshots", "snapshot of it")} {
				if _, ok := s.target.Objects()[key]; ok {
					t.Errorf("%s was written", key)
				}
			}
			probes := 0
			for _, c := range s.target.Calls() {
				if c.Operation == storetest.Put && c.Key == ".drp-probe" {
					probes++
				}
			}
			if probes != 1 {
				t.Errorf("%d probes, want one", probes)
			}
		})
	}
	t.Run("a bit flips on the way", func(t *testing.T) {
		s := newShelf(t, 1)
		key := s.add("data", strings.Repeat("pack", 1<<18))
		var n atomic.Int32
		s.source.Fault = func(c storetest.Call) *storetest.Fault {
			if c.Operation == storetest.Get && c.Key == key && n.Add(1) == 1 {
				return &storetest.Fault{Change: flipped}
			}
			return nil
		}
		if r, err := s.pass(t); err != nil || len(r.Broken) > 0 {
			t.Errorf("got %+v and %v", r, err)
		}
		s.whole(t)
	})
}

// TestPass_WrongServer: what answers is no store, or another one. Nothing is written.
func TestPass_WrongServer(t *testing.T) {
	page := func(storetest.Call) *storetest.Fault {
		return &storetest.Fault{Body: `<!DOCTYPE html><html><body>It works!</body></html>`}
	}
	empty := func(storetest.Call) *storetest.Fault { return &storetest.Fault{Body: ` `} }
	for name, c := range map[string]struct {
		source, target func(*storetest.Double)
		want           error
	}{
		"no S3 at the source":           {func(d *storetest.Double) { d.Fault = page }, nil, nil},
		"no S3 at the destination":      {nil, func(d *storetest.Double) { d.Fault = page }, nil},
		"nothing at the source":         {func(d *storetest.Double) { d.Fault = empty }, nil, nil},
		"another bucket at the source":  {func(d *storetest.Double) { d.Bucket = "elsewhere" }, nil, nil},
		"no bucket at the destination":  {nil, func(d *storetest.Double) { d.Bucket = "elsewhere" }, nil},
		"another repository":            {nil, func(d *storetest.Double) { d.Store("shop/config", []byte("other")) }, replicator.ErrConfigDiffers},
		"an empty bucket at the source": {func(d *storetest.Double) { clearAll(d) }, nil, replicator.ErrNoRepository},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShelf(t, 3)
			if c.source != nil {
				c.source(s.source)
			}
			if c.target != nil {
				c.target(s.target)
			}
			before := s.target.Objects()
			for what, run := range map[string]func() error{
				"pass": func() error { _, err := s.pass(t); return err },
				"folder": func() error {
					outcomes, _, err := s.folder(t)
					if len(outcomes) == 0 && err == nil && c.want == replicator.ErrNoRepository {
						return replicator.ErrNoRepository // the caller sees that there was none
					}
					for _, o := range outcomes {
						err = errors.Join(err, o.Err)
					}
					return err
				},
			} {
				err := run()
				if err == nil || c.want != nil && !errors.Is(err, c.want) {
					t.Errorf("%s: got %v, want %v", what, err, c.want)
				}
				if got := s.target.Objects(); !cmp.Equal(got, before) || len(s.target.Puts()) > 0 {
					t.Errorf("%s: the destination changed: %s", what, cmp.Diff(before, got))
				}
			}
		})
	}
}

func clearAll(d *storetest.Double) {
	for key := range d.Objects() {
		d.Forget(key)
	}
}
