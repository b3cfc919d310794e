package home_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"drp/orchestrator/agent/home"
	"drp/orchestrator/agent/home/hometest"
	"drp/raftstore/state"
)

var (
	ids    = home.IDs{First: 1_800_000_000, Size: 65536}
	first  = state.Token{Incarnation: 1, Generation: 1}
	second = state.Token{Incarnation: 1, Generation: 2}
)

// roots are the two kinds of filesystems; everything has to work on both.
func roots(t *testing.T, test func(t *testing.T, root string)) {
	t.Run("btrfs", func(t *testing.T) { test(t, filepath.Join(hometest.Btrfs(t), "homes")) })
	t.Run("plain", func(t *testing.T) { test(t, filepath.Join(hometest.Memory(t), "homes")) })
}

func open(t *testing.T, root string) *home.Store {
	t.Helper()
	s, err := home.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func write(t *testing.T, dir home.Within, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir.Path(), name), []byte(content), 0o640); err != nil {
		t.Fatal(err)
	}
}

func make1(t *testing.T, s *home.Store, account state.AccountName, token state.Token) {
	t.Helper()
	f, err := s.Fresh(account, ids)
	if err != nil {
		t.Fatal(err)
	}
	write(t, f.Into, "file", token.String())
	if err := f.Commit(token); err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestStore_Fresh(t *testing.T) {
	roots(t, func(t *testing.T, root string) {
		s := open(t, root)
		if _, held, err := s.Held("shop"); held || err != nil {
			t.Fatalf("held = %v, %v before anything was made", held, err)
		}
		f, err := s.Fresh("shop", ids)
		if err != nil {
			t.Fatal(err)
		}
		write(t, f.Into, "half", "")
		info, err := os.Stat(f.Into.Path())
		if err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("mode while it is filled = %v, %v; want 0700", info.Mode(), err)
		}
		// A crash: what is half done is no home, and is gone at the next start.
		s = open(t, root)
		if _, held, err := s.Held("shop"); held || err != nil {
			t.Errorf("held = %v, %v after a crash; want no home", held, err)
		}
		if left, _ := filepath.Glob(filepath.Join(root, ".fresh", "*")); len(left) > 0 {
			t.Errorf("left after a crash: %v", left)
		}
		make1(t, s, "shop", first)
		rec, held, err := s.Held("shop")
		if want := (home.Record{Token: first, IDs: ids}); !held || err != nil || rec != want {
			t.Errorf("held = %+v, %v, %v; want %+v", rec, held, err, want)
		}
		var st unix.Stat_t
		if err := unix.Stat(s.Path("shop"), &st); err != nil {
			t.Fatal(err)
		}
		if int(st.Uid) != ids.Host(0) || int(st.Gid) != ids.Host(1000) || st.Mode&0o7777 != 0o770 {
			t.Errorf("home is %d:%d %o, want %d:%d 770", st.Uid, st.Gid, st.Mode&0o7777, ids.Host(0), ids.Host(1000))
		}
		again, err := s.Fresh("shop", ids)
		if err != nil {
			t.Fatal(err)
		}
		if err := again.Commit(second); !errors.Is(err, fs.ErrExist) {
			t.Errorf("commit over a live home = %v, want %v", err, fs.ErrExist)
		}
		if got := content(t, filepath.Join(s.Path("shop"), "file")); got != "1.1" {
			t.Errorf("live home was touched: %q", got)
		}
		all, err := s.All()
		if diff := cmp.Diff(map[state.AccountName]home.Record{"shop": rec}, all); err != nil || diff != "" {
			t.Errorf("all: %v %s", err, diff)
		}
	})
}

func TestStore_SetAside(t *testing.T) {
	roots(t, func(t *testing.T, root string) {
		s := open(t, root)
		if path, err := s.SetAside("shop"); path != "" || err != nil {
			t.Errorf("set aside nothing = %q, %v", path, err)
		}
		for _, want := range []string{"shop@1.1", "shop@1.1.2"} { // the same token twice: both are kept
			make1(t, s, "shop", first)
			path, err := s.SetAside("shop")
			if err != nil || filepath.Base(path) != want {
				t.Errorf("set aside to %q, %v; want %q", path, err, want)
			}
			if got := content(t, filepath.Join(path, "home", "file")); got != "1.1" {
				t.Errorf("what was set aside holds %q", got)
			}
			if _, held, _ := s.Held("shop"); held {
				t.Error("still held")
			}
		}
		make1(t, open(t, root), "shop", second)
	})
}

func TestStore_View(t *testing.T) {
	roots(t, func(t *testing.T, root string) {
		s := open(t, root)
		make1(t, s, "shop", first)
		v, err := s.PrepareView("shop")
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(v.Take(), v.Arrange()); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(s.Path("shop"), "file")
		if err := os.WriteFile(file, []byte("later"), 0o640); err != nil {
			t.Fatal(err)
		}
		want := "later"
		if v.Kind == "btrfs" {
			want = "1.1"
		}
		if got := content(t, filepath.Join(v.Dir.Name(), "files", "file")); got != want {
			t.Errorf("view %s holds %q, want %q", v.Kind, got, want)
		}
		if err := os.WriteFile(filepath.Join(v.Dir.Name(), "files", "x"), nil, 0o640); !errors.Is(err, unix.EROFS) {
			t.Errorf("write into the view = %v, want %v", err, unix.EROFS)
		}
		s = open(t, root) // a crash
		if _, err := os.Stat(v.Dir.Name()); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the view survived a restart: %v", err)
		}
		if got := content(t, file); got != "later" {
			t.Errorf("home after removing its view = %q", got)
		}
		for range 2 {
			if v, err = s.PrepareView("shop"); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(v.Take(), v.Arrange()); err != nil {
				t.Fatal(err)
			}
		}
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
		if got := content(t, file); got != "later" {
			t.Errorf("home after closing its view = %q", got)
		}
	})
}

func TestStore_Beside(t *testing.T) {
	roots(t, func(t *testing.T, root string) {
		s := open(t, root)
		make1(t, s, "shop", first)
		top := s.Path("shop")
		noted := map[state.TaskID]string{}
		note := func(task state.TaskID) func(string) error {
			return func(placing string) error { noted[task] = placing; return nil }
		}
		begin := func(t *testing.T, target string, task state.TaskID) *home.Beside {
			t.Helper()
			b, err := s.Beside("shop", target, task, noted[task])
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		t.Run("placed once", func(t *testing.T) {
			crashed := begin(t, "restored", "t1") // a crash leaves it half done
			if err := os.WriteFile(filepath.Join(crashed.Into.Path(), "half"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			b := begin(t, "restored", "t1")
			if err := os.WriteFile(filepath.Join(b.Into.Path(), "page"), []byte("old"), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := b.Place(note("t1")); err != nil {
				t.Fatal(err)
			}
			if got := names(t, filepath.Join(top, "restored")); !cmp.Equal(got, []string{"page"}) {
				t.Errorf("restored holds %v", got)
			}
			var st unix.Stat_t
			if err := unix.Stat(filepath.Join(top, "restored"), &st); err != nil || int(st.Uid) != ids.Host(1000) || st.Mode&0o777 != 0o750 {
				t.Errorf("restored is %d %o, %v", st.Uid, st.Mode&0o777, err)
			}
			if b := begin(t, "restored", "t1"); !b.Placed {
				t.Error("the same task begins a second time")
			}
			if got := names(t, top); !cmp.Equal(got, []string{"file", "restored"}) {
				t.Errorf("home holds %v", got)
			}
			if n, err := unix.Listxattr(filepath.Join(top, "restored"), nil); n != 0 || err != nil {
				t.Errorf("restored has attributes (%d bytes), %v: they would get into snapshots", n, err)
			}
		})
		t.Run("not noted, not placed", func(t *testing.T) {
			b, full := begin(t, "unnoted", "t6"), errors.New("disk is full")
			if err := b.Place(func(string) error { return full }); !errors.Is(err, full) {
				t.Errorf("got %v, want %v", err, full)
			}
			if got := names(t, top); !cmp.Equal(got, []string{"file", "restored"}) {
				t.Errorf("home holds %v", got)
			}
		})
		t.Run("the account cannot pretend", func(t *testing.T) {
			if err := begin(t, "mine", "t7").Place(note("t7")); err != nil {
				t.Fatal(err)
			}
			mine, away := filepath.Join(top, "mine"), filepath.Join(top, "away")
			if err := errors.Join(os.Rename(mine, away), os.Mkdir(mine, 0o750)); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Beside("shop", "mine", "t7", noted["t7"]); !errors.Is(err, fs.ErrExist) {
				t.Errorf("another directory in its place: %v", err)
			}
			if _, err := s.Beside("shop", "restored", "t7", noted["t7"]); !errors.Is(err, fs.ErrExist) {
				t.Errorf("another task's directory: %v", err)
			}
			// Inodes are used again; what was noted is not.
			if err := errors.Join(os.Remove(away), os.Remove(mine)); err != nil {
				t.Fatal(err)
			}
			for range 100 {
				if err := os.Mkdir(mine, 0o750); err != nil {
					t.Fatal(err)
				}
				if _, err := s.Beside("shop", "mine", "t7", noted["t7"]); !errors.Is(err, fs.ErrExist) {
					t.Fatalf("a new directory in its place: %v", err)
				}
				if err := os.Remove(mine); err != nil {
					t.Fatal(err)
				}
			}
		})
		t.Run("not over live data", func(t *testing.T) {
			if _, err := s.Beside("shop", "restored", "t2", ""); !errors.Is(err, fs.ErrExist) {
				t.Errorf("over another task's directory: %v", err)
			}
			if _, err := s.Beside("shop", "file", "t2", ""); err == nil {
				t.Error("over a file")
			}
			b := begin(t, "late", "t3")
			if err := os.Mkdir(filepath.Join(top, "late"), 0o755); err != nil { // the account is quicker
				t.Fatal(err)
			}
			if err := b.Place(note("t3")); !errors.Is(err, fs.ErrExist) {
				t.Errorf("place over what the account made: %v", err)
			}
			if left := names(t, top); !cmp.Equal(left, []string{"file", "late", "restored"}) {
				t.Errorf("home holds %v", left)
			}
		})
		t.Run("never outside", func(t *testing.T) {
			outside := t.TempDir()
			for name, to := range map[string]string{"link": outside, "up": "..", "dangling": "/nowhere/at/all", "chain": "link"} {
				if err := os.Symlink(to, filepath.Join(top, name)); err != nil {
					t.Fatal(err)
				}
			}
			for _, target := range []string{"", ".", "..", "../x", "/abs", "link", "link/x", "up/x", "chain/x", "dangling", "dangling/x", "file/x", "missing/x", "restored/../../x"} {
				b, err := s.Beside("shop", target, "t4", "")
				if err == nil {
					t.Errorf("target %q was accepted", target)
					b.Abandon()
				}
			}
			if got := names(t, outside); len(got) > 0 {
				t.Errorf("written outside: %v", got)
			}
			for _, e := range names(t, top) {
				if strings.HasPrefix(e, ".drp") {
					t.Errorf("left behind: %s", e)
				}
			}
		})
		t.Run("the account's own directory of that name is not removed", func(t *testing.T) {
			work := filepath.Join(top, ".drp-restore-t5")
			if err := errors.Join(os.Mkdir(work, 0o755), os.Chown(work, ids.Host(1000), ids.Host(1000))); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Beside("shop", "five", "t5", ""); err == nil {
				t.Error("used a directory of the account's")
			}
			if _, err := os.Stat(work); err != nil {
				t.Error(err)
			}
		})
	})
}

func TestStore_names(t *testing.T) {
	s := open(t, filepath.Join(hometest.Memory(t), "homes"))
	for _, name := range []state.AccountName{"", ".", "..", ".fresh", "aside", "a/b", "a@b"} {
		if _, err := s.Fresh(name, ids); err == nil {
			t.Errorf("account %q was given a home", name)
		}
		if _, _, err := s.Held(name); err == nil {
			t.Errorf("account %q was looked up", name)
		}
	}
}

// A snapshot under a writer to SQLite: the writer is stopped by a signal for the moment, as a freezer would.
func TestStore_ViewOfDatabase(t *testing.T) {
	s := open(t, filepath.Join(hometest.Btrfs(t), "homes"))
	make1(t, s, "shop", first)
	db := filepath.Join(s.Path("shop"), "db")
	if out, err := exec.Command("sqlite3", db, "pragma journal_mode=wal; create table t(x);").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	writer := exec.Command("sh", "-c", `i=0; while :; do i=$((i+1)); echo "insert into t values($i);"; done | sqlite3 "$0"`, db)
	writer.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	group := -writer.Process.Pid
	t.Cleanup(func() {
		unix.Kill(group, unix.SIGKILL)
		writer.Wait()
	})
	for range 5 {
		v, err := s.PrepareView("shop")
		if err != nil {
			t.Fatal(err)
		}
		unix.Kill(group, unix.SIGSTOP)
		err = v.Take()
		unix.Kill(group, unix.SIGCONT)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		if out, err := exec.Command("cp", "-a", v.Dir.Name()+"/files/.", dir).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("sqlite3", filepath.Join(dir, "db"), "pragma integrity_check; select count(*) - max(x) from t;").CombinedOutput()
		if got := string(out); err != nil || got != "ok\n0\n" && got != "ok\n\n" {
			t.Errorf("database in the view: %q, %v; want it whole and without gaps", got, err)
		}
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}
