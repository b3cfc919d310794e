package mail

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"drp/orchestrator/agent/home/hometest"
)

// tree is files and what they hold, by path. A path that ends in / is a directory, one whose content begins with -> a link.
type tree map[string]string

func (t tree) write(tb rapid.TB, dir string) string {
	tb.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		tb.Fatal(err)
	}
	for name, content := range t {
		at := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(at), 0o755)
		switch to, link := strings.CutPrefix(content, "->"); {
		case err != nil:
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(at, 0o755)
		case link:
			err = os.Symlink(to, at)
		default:
			err = os.WriteFile(at, []byte(content), 0o644)
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	return dir
}

// read leaves directories out.
func read(tb rapid.TB, dir string) tree {
	tb.Helper()
	t := tree{}
	err := filepath.WalkDir(dir, func(at string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, _ := filepath.Rel(dir, at)
		if e.Type()&fs.ModeSymlink != 0 {
			to, err := os.Readlink(at)
			t[name] = "->" + to
			return err
		}
		raw, err := os.ReadFile(at)
		t[name] = string(raw)
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

func open(tb rapid.TB, dir string) *os.File {
	tb.Helper()
	f, err := os.Open(dir)
	if err != nil {
		tb.Fatal(err)
	}
	return f
}

func mergeInto(tb rapid.TB, from tree, target string) (Result, error) {
	tb.Helper()
	source := from.write(tb, target+"-from")
	defer os.RemoveAll(source)
	s, d := open(tb, source), open(tb, target)
	defer s.Close()
	defer d.Close()
	return Merge(s, d)
}

func merged(tb rapid.TB, from tree, target string) Result {
	tb.Helper()
	r, err := mergeInto(tb, from, target)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func TestMerge(t *testing.T) {
	for _, test := range []struct {
		name           string
		from, to, want tree
		result         Result
	}{
		{"nothing is there", tree{"cur/1:2,S": "one", "new/2": "two", "tmp/3": "half", "dovecot-uidlist": "uids", "dovecot.index.log": "log", "x.lock": "", ".Sent/cur/4:2,": "four", ".Sent/dovecot-uidlist": "more",
			"sieve/a.sieve": "filter", "sieve/a.svbin": "compiled", ".dovecot.sieve": "->sieve/a.sieve"}, tree{},
			tree{"cur/1:2,S": "one", "new/2": "two", "dovecot-uidlist": "uids", "dovecot.index.log": "log", ".Sent/cur/4:2,": "four", ".Sent/dovecot-uidlist": "more",
				"sieve/a.sieve": "filter", "sieve/a.svbin": "compiled", ".dovecot.sieve": "->sieve/a.sieve"}, Result{Messages: 3, Files: 6}},
		{"new mail stays, missing mail comes back", tree{"cur/1:2,S": "one", "cur/2:2,": "two"}, tree{"cur/2:2,": "two", "new/9": "nine", "tmp/8": "arriving"},
			tree{"cur/1:2,S": "one", "cur/2:2,": "two", "new/9": "nine", "tmp/8": "arriving"}, Result{Messages: 1, Known: 1}},
		{"known under other flags", tree{"cur/1:2,S": "one", "new/2": "two"}, tree{"cur/1:2,FRS": "one", "cur/2:2,T": "two"},
			tree{"cur/1:2,FRS": "one", "cur/2:2,T": "two"}, Result{Known: 2}},
		{"another of its name", tree{"cur/1,S=3:2,S": "old"}, tree{"cur/1,S=3:2,": "new"},
			tree{"cur/1,S=3:2,": "new", "cur/1.restored-cba06b5736faf67e,S=3:2,S": "old"}, Result{Beside: 1}},
		{"what Dovecot counts", tree{"cur/1:2,": "one", "dovecot-uidlist": "old", "dovecot.index": "old", "dovecot-uidvalidity.5": "", "maildirsize": "old", "subscriptions": "old", ".Back/cur/5:2,": "five", ".Back/dovecot-uidlist": "its own"},
			tree{"cur/": "", "dovecot-uidlist": "new", "dovecot.index": "new", "maildirsize": "new", "subscriptions": "new"},
			tree{"cur/1:2,": "one", "dovecot-uidlist": "new", "dovecot.index": "new", "subscriptions": "new", ".Back/cur/5:2,": "five", ".Back/dovecot-uidlist": "its own"}, Result{Messages: 2, Files: 1}},
		{"no list of UIDs in a folder with mail", tree{"cur/1:2,": "one", "dovecot-uidlist": "old"}, tree{"cur/2:2,": "two"}, tree{"cur/1:2,": "one", "cur/2:2,": "two"}, Result{Messages: 1}},
		{"keywords", tree{"cur/1:2,Sab": "one", "dovecot-keywords": "0 work\n1 home\n"}, tree{"cur/": "", "dovecot-keywords": "0 home\n1 junk\n"},
			tree{"cur/1:2,Sa": "one", "dovecot-keywords": "0 home\n1 junk\n"}, Result{Messages: 1}},
		{"keywords that nobody had", tree{"cur/1:2,Sab": "one", "dovecot-keywords": "0 work\n"}, tree{"cur/": ""}, tree{"cur/1:2,Sab": "one", "dovecot-keywords": "0 work\n"}, Result{Messages: 1, Files: 1}},
		{"filters", tree{"sieve/a.sieve": "old", "sieve/b.sieve": "gone", ".dovecot.sieve": "->sieve/b.sieve", "sieve/b.svbin": "compiled"}, tree{"sieve/a.sieve": "own, newer", ".dovecot.sieve": "->sieve/a.sieve"},
			tree{"sieve/a.sieve": "own, newer", "sieve/a.restored-cba06b5736faf67e.sieve": "old", "sieve/b.sieve": "gone", ".dovecot.sieve": "->sieve/a.sieve"}, Result{Beside: 1, Files: 1}},
		{"kept beside before", tree{"cur/1,S=3:2,S": "old"}, tree{"cur/1,S=3:2,": "new", "new/1.restored-cba06b5736faf67e,S=3": "old"},
			tree{"cur/1,S=3:2,": "new", "new/1.restored-cba06b5736faf67e,S=3": "old"}, Result{Known: 1}},
		{"a folder's name is taken", tree{".Sent/cur/1:2,": "one"}, tree{".Sent": "a file", "cur/": ""}, tree{".Sent": "a file", ".Sent.restored1/cur/1:2,": "one"}, Result{Messages: 1}},
		{"links", tree{"a": "->/etc/passwd", "b": "->../x", "cur/1": "->/etc/passwd", "cur/2": "->x", "new/": ""}, tree{"b": "->own", "new/2": "two"},
			tree{"a": "->/etc/passwd", "b": "->own", "cur/1": "->/etc/passwd", "new/2": "two"}, Result{Files: 2, LeftOut: 1}},
		{"directories that are none", tree{"cur": "file", "new/2": "two"}, tree{}, tree{"new/2": "two"}, Result{Messages: 1, LeftOut: 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			target := test.to.write(t, filepath.Join(t.TempDir(), "to"))
			if got := merged(t, test.from, target); got != test.result {
				t.Errorf("result = %+v, want %+v", got, test.result)
			}
			if diff := cmp.Diff(test.want, read(t, target)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			merged(t, test.from, target)
			if diff := cmp.Diff(test.want, read(t, target)); diff != "" {
				t.Errorf("done twice (-want +got):\n%s", diff)
			}
		})
	}
}

// Nothing gets out of the mailbox by what its owner has put there, and one folder that cannot be merged keeps no other from it.
func TestMerge_never_outside(t *testing.T) {
	dir := t.TempDir()
	outside := tree{"kept": "kept"}.write(t, filepath.Join(dir, "outside"))
	target := tree{".Sent": "->" + outside, "cur": "->" + outside, "sieve": "->../outside", ".Ok/cur/": "", ".Bad/new": "->" + outside, "dovecot-keywords": "->" + outside + "/kept"}.write(t, filepath.Join(dir, "to"))
	if err := unix.Mkfifo(filepath.Join(target, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	from := tree{".Sent/cur/1:2,": "one", "cur/2:2,a": "two", "sieve/kept": "three", ".Ok/cur/3:2,": "four", ".Bad/new/5": "five", "pipe": "six", "dovecot-keywords": "0 x\n"}
	_, err := mergeInto(t, from, target)
	if err == nil || !strings.Contains(err.Error(), "cur: ") || !strings.Contains(err.Error(), `".Bad": new: `) {
		t.Errorf("got %v, want that cur and .Bad/new are no directories", err)
	}
	if diff := cmp.Diff(tree{"kept": "kept"}, read(t, outside)); diff != "" {
		t.Errorf("outside (-want +got):\n%s", diff)
	}
	for name, want := range map[string]string{".Sent.restored1/cur/1:2,": "one", "sieve.restored1/kept": "three", ".Ok/cur/3:2,": "four"} {
		if raw, err := os.ReadFile(filepath.Join(target, name)); string(raw) != want {
			t.Errorf("%s = %q, %v", name, raw, err)
		}
	}
}

// The owner's programs go on: a message that was looked for has other flags by the time that it is found, or one arrives.
func TestArrival_settle(t *testing.T) {
	for _, test := range []struct {
		name string
		seen known // by one who looked before
		want settled
	}{
		{"flags were changed", known{"1": {{"cur", "1:2,"}}}, there},
		{"it was moved out of new", known{"1": {{"new", "1"}}}, there},
		{"it came meanwhile", known{}, there},
		{"it was removed", known{"2": {{"cur", "2:2,"}}}, cameBack},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			target := open(t, tree{"cur/1:2,S": "one", "new/": ""}.write(t, filepath.Join(dir, "to")))
			from := open(t, tree{"1:2,S": "one", "2:2,S": "two"}.write(t, filepath.Join(dir, "from")))
			defer from.Close()
			defer target.Close()
			md := maildir{"cur": open(t, filepath.Join(target.Name(), "cur")), "new": open(t, filepath.Join(target.Name(), "new"))}
			defer md.close()
			base := "1"
			if test.want == cameBack {
				base = "2"
			}
			a := &arrival{from: from, name: base + ":2,S", in: "cur", base: base, flags: ":2,S", target: md, there: test.seen}
			if got, err := a.settle(base, base+":2,S"); got != test.want || err != nil {
				t.Errorf("got %v, %v, want %v", got, err, test.want)
			}
		})
	}
}

// A message that was missed, since its flags were changed in that moment, is not doubled.
func TestMerge_undouble(t *testing.T) {
	target := tree{"cur/1:2,S": "one", "cur/1:2,FS": "one", "cur/2:2,": "two", "cur/2:2,S": "another", "new/": ""}.write(t, filepath.Join(t.TempDir(), "to"))
	md := maildir{"cur": open(t, filepath.Join(target, "cur")), "new": open(t, filepath.Join(target, "new"))}
	defer md.close()
	m := merge{Result: Result{Messages: 2}}
	if err := m.undouble(md, map[string]message{"1": {"cur", "1:2,S"}, "2": {"cur", "2:2,"}}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(tree{"cur/1:2,FS": "one", "cur/2:2,": "two", "cur/2:2,S": "another"}, read(t, target)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if want := (Result{Messages: 1, Known: 1}); m.Result != want {
		t.Errorf("got %+v, want %+v", m.Result, want)
	}
}

// mailbox draws one in which names and contents meet those of another often.
func mailbox(t *rapid.T, label string) tree {
	box := tree{}
	n := rapid.IntRange(0, 12).Draw(t, label)
	for range n {
		folder := rapid.SampledFrom([]string{"", ".Sent/", ".Archive.2026/", "Maildir/.Deep/"}).Draw(t, "folder")
		in := rapid.SampledFrom([]string{"cur/", "new/"}).Draw(t, "in")
		base := rapid.SampledFrom([]string{"1", "2,S=3", "3.M5P6.host,S=3,W=4", strings.Repeat("l", 250)}).Draw(t, "base")
		flags := rapid.SampledFrom([]string{"", ":2,", ":2,S", ":2,FS"}).Draw(t, "flags")
		box[folder+in+base+flags] = rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "content")
	}
	for range rapid.IntRange(0, 4).Draw(t, "others") {
		name := rapid.SampledFrom([]string{"sieve/a.sieve", "sieve/b.sieve", "notes", ".Sent/dovecot-uidlist", "dovecot-uidlist", "tmp/x", ".Sent/tmp/y"}).Draw(t, "name")
		box[name] = rapid.SampledFrom([]string{"a", "b"}).Draw(t, "content")
		if folder, found := strings.CutSuffix(filepath.Dir(name), "tmp"); found {
			box[folder+"cur/"] = "" // else it is no Maildir
		}
	}
	return box
}

var messageForm = regexp.MustCompile(`^(.*?)(?:cur|new)/([^/:]+)[^/]*$`)

// messagesOf are the different messages of each folder: folder, name, content.
func messagesOf(box tree) map[[3]string]bool {
	all := map[[3]string]bool{}
	for name, content := range box {
		if found := messageForm.FindStringSubmatch(name); found != nil {
			all[[3]string{found[1], found[2], content}] = true
		}
	}
	return all
}

// files counts those of messages.
func files(box tree) (n int) {
	for name := range box {
		if messageForm.MatchString(name) {
			n++
		}
	}
	return n
}

func TestMerge_property(t *testing.T) {
	n := 0
	dir := hometest.Memory(t)
	rapid.Check(t, func(t *rapid.T) {
		n++
		from, to := mailbox(t, "from"), mailbox(t, "to")
		target := to.write(t, filepath.Join(dir, fmt.Sprint(n)))
		defer os.RemoveAll(target)
		merged(t, from, target)
		after := read(t, target)
		for name, content := range to { // nothing of the target is touched
			if after[name] != content && !strings.HasSuffix(name, "/") {
				t.Fatalf("the target's %s holds %q, and held %q", name, after[name], content)
			}
		}
		had, wanted, has := messagesOf(to), messagesOf(from), messagesOf(after)
		missing := 0
		for m := range wanted {
			kept := func(name string) bool {
				return has[[3]string{m[0], name, m[2]}]
			}
			unique, fields, _ := strings.Cut(m[1], ",")
			if !kept(m[1]) && !slices.ContainsFunc(slices.Collect(maps.Keys(has)), func(h [3]string) bool {
				return h[0] == m[0] && h[2] == m[2] && (strings.HasPrefix(h[1], unique+".restored-") && strings.HasSuffix(h[1], fields) || len(unique) > 200 && strings.HasPrefix(h[1], unique[:150]))
			}) {
				t.Fatalf("the snapshot's %q is lost", m)
			}
			if !had[m] {
				missing++
			}
		}
		if got := files(after) - files(to); got != missing {
			t.Fatalf("%d messages more, where %d were missing: one is doubled", got, missing)
		}
		for name, content := range from {
			if strings.Contains(name, "tmp/") && to[name] == "" && after[name] != "" {
				t.Fatalf("%s came back", name)
			}
			if stem, sieve := strings.CutSuffix(name, ".sieve"); sieve && !slices.ContainsFunc(slices.Collect(maps.Keys(after)), func(n string) bool {
				return strings.HasPrefix(n, stem) && after[n] == content
			}) {
				t.Fatalf("the filter %s is lost", name)
			}
		}
		again := merged(t, from, target)
		if again.Messages+again.Beside+again.Files > 0 {
			t.Fatalf("a second time it did %+v", again)
		}
		if diff := cmp.Diff(after, read(t, target)); diff != "" {
			t.Fatalf("a second time it changed things (-once +twice):\n%s", diff)
		}
	})
}

// A tree that no mailbox has is restored all the same, and folders keep their modes.
func TestMerge_deep(t *testing.T) {
	dir := t.TempDir()
	from, into := filepath.Join(dir, "from"), filepath.Join(dir, "into")
	deep := strings.Repeat("/d", 80)
	if err := errors.Join(os.MkdirAll(from+deep, 0o755), os.WriteFile(from+deep+"/file", []byte("x"), 0o644), os.Mkdir(into, 0o755),
		os.Chmod(from+"/d", 0o770|os.ModeSetgid)); err != nil {
		t.Fatal(err)
	}
	source, target := openDir(t, from), openDir(t, into)
	if _, err := Merge(source, target); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(into + deep + "/file"); string(got) != "x" {
		t.Errorf("got %q, %v", got, err)
	}
	if st, err := os.Stat(into + "/d"); err != nil || st.Mode().Perm() != 0o770 || st.Mode()&os.ModeSetgid == 0 {
		t.Errorf("the folder's mode is %v, %v", st.Mode(), err)
	}
}

func openDir(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
