package home_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"drp/orchestrator/agent/home"
	"drp/orchestrator/agent/home/hometest"
	"drp/raftstore/state"
)

// live is a home on a filesystem without snapshots.
func live(t *testing.T) (s *home.Store, top string) {
	t.Helper()
	s = open(t, filepath.Join(hometest.Memory(t), "homes"))
	make1(t, s, "shop", first)
	return s, s.Path("shop")
}

// take makes a view as a backup does.
func take(t *testing.T, s *home.Store) *home.View {
	t.Helper()
	v, err := s.PrepareView("shop")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(v.Search(t.Context()), v.Take(), v.Arrange()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

func sqlite(t *testing.T, db, query string) string {
	t.Helper()
	out, err := exec.Command("sqlite3", db, query).CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// session is a program that has a database open.
type session struct {
	in  io.WriteCloser
	out *os.File
}

func newSession(t *testing.T, db string) *session {
	t.Helper()
	cmd := exec.Command("sqlite3", "-batch", db)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	t.Cleanup(func() { in.Close(); cmd.Wait(); r.Close() })
	return &session{in, r}
}

// do returns when the statements are done.
func (s *session) do(t *testing.T, sql string) {
	t.Helper()
	fmt.Fprintln(s.in, sql+"\nselect 'do' || 'ne';")
	var said strings.Builder
	for b := make([]byte, 1024); !strings.Contains(said.String(), "done\n"); {
		n, err := s.out.Read(b)
		said.Write(b[:n])
		if err != nil {
			t.Fatalf("%v: %s", err, said.String())
		}
	}
	if got := said.String(); strings.Contains(got, "rror") {
		t.Fatalf("sqlite3 said %s", got)
	}
}

// readDuring reads a database as a slow reader does, one part before and one after something happens to it, and what lies
// beside it afterwards. It returns where a database that was read so lies.
func readDuring(t *testing.T, dir string, happen func()) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "db")
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in, err := os.Open(filepath.Join(dir, "db"))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(out, in, st.Size()/2); err != nil {
		t.Fatal(err)
	}
	happen()
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	for _, ending := range []string{"-wal", "-shm", "-journal"} {
		raw, err := os.ReadFile(filepath.Join(dir, "db"+ending))
		if err == nil {
			err = os.WriteFile(to+ending, raw, 0o600)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	return to
}

// Each transaction writes every row, so that a state which never was can be told.
const (
	invariant  = "pragma integrity_check; select count(*), count(distinct x) from t;"
	consistent = "ok\n2000|1"
)

// A database that is written while a backup reads it comes out whole, by the copy and by nothing else.
func TestView_SQLite(t *testing.T) {
	for _, mode := range []string{"delete", "wal", "persist", "truncate"} {
		t.Run(mode, func(t *testing.T) {
			s, top := live(t)
			db := filepath.Join(top, "db")
			w := newSession(t, db)
			w.do(t, "create table t (x int, pad); insert into t select 1, hex(randomblob(200)) from generate_series(1, 2000);")
			if got := sqlite(t, db, "pragma journal_mode="+mode); got != mode {
				t.Fatalf("journal mode %s", got)
			}
			w.do(t, "pragma cache_size=10; begin; update t set x = 2;") // spilled to the disk, and not committed
			view := take(t, s)
			if view.Copied() != 1 || len(view.Live()) > 0 {
				t.Fatalf("copied %d, live %v", view.Copied(), view.Live())
			}
			change := func() {
				w.do(t, "commit; update t set x = 3; vacuum; update t set x = 4, pad = x; pragma wal_checkpoint(truncate);")
			}
			if got := sqlite(t, readDuring(t, filepath.Join(view.Dir.Name(), "files"), change), invariant); got != consistent {
				t.Errorf("from the view: %q, want %q", got, consistent)
			}
			w.do(t, "begin; update t set x = 5;")
			if got := sqlite(t, readDuring(t, top, func() {
				w.do(t, "commit; update t set x = 6; vacuum; update t set x = 7; pragma wal_checkpoint(truncate);")
			}), invariant); got == consistent {
				t.Errorf("without a copy it is consistent as well: this test proves nothing")
			}
		})
	}
}

// What appears beside a database after it was copied is not in the view: it is of another time.
func TestView_SQLite_besides(t *testing.T) {
	s, top := live(t)
	dir := filepath.Join(top, "data", "deep")
	if err := errors.Join(os.MkdirAll(dir, 0o750), os.Chown(dir, ids.Host(1000), ids.Host(1001)), unix.Setxattr(dir, "user.kept", []byte("z"), 0)); err != nil {
		t.Fatal(err)
	}
	db := filepath.Join(dir, "db")
	sqlite(t, db, "create table t (x)")
	for name, text := range map[string]string{"db-wal": "wal", "db-journal": "journal", "db-mj1234": "super", "other": "other"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Chmod(db, 0o604), os.Chown(db, ids.Host(7), ids.Host(8)), unix.Setxattr(db, "user.kept", []byte("z"), 0)); err != nil {
		t.Fatal(err)
	}
	v := take(t, s)
	for _, name := range []string{"db-wal", "db-journal", "db-mj1234"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "db-shm"), nil, 0o640), os.WriteFile(filepath.Join(dir, "new"), nil, 0o640), os.Remove(db)); err != nil {
		t.Fatal(err)
	}
	seen := filepath.Join(v.Dir.Name(), "files/data/deep")
	if got, want := names(t, seen), []string{"db", "db-journal", "db-mj1234", "db-wal", "new", "other"}; !slices.Equal(got, want) {
		t.Errorf("the view has %v, want %v", got, want)
	}
	for path, want := range map[string]string{seen: "1000:1001 750", filepath.Join(seen, "db"): "7:8 604"} {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%d:%d %o", st.Uid-ids.First, st.Gid-ids.First, st.Mode&0o777); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
		value := make([]byte, 8)
		if n, err := unix.Getxattr(path, "user.kept", value); err != nil || string(value[:n]) != "z" {
			t.Errorf("%s lost its attribute: %v", path, err)
		}
	}
	if err := os.WriteFile(filepath.Join(seen, "db"), nil, 0o640); !errors.Is(err, unix.EROFS) {
		t.Errorf("write into the view = %v, want %v", err, unix.EROFS)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if got := content(t, filepath.Join(dir, "other")); got != "other" {
		t.Errorf("the home after its view: %q", got)
	}
}

// An account cannot make the search wait, lead it out, or keep a database of its own from being copied.
func TestView_SQLite_hostile(t *testing.T) {
	s, top := live(t)
	outside := t.TempDir()
	sqlite(t, filepath.Join(outside, "db"), "create table secret (x)")
	page := append([]byte("SQLite format 3\x00"), make([]byte, 1024-16)...)
	err := errors.Join(
		os.Symlink(filepath.Join(outside, "db"), filepath.Join(top, "link")), os.Symlink(outside, filepath.Join(top, "dir")), os.Symlink(".", filepath.Join(top, "round")),
		unix.Mkfifo(filepath.Join(top, "fifo"), 0o666), unix.Mknod(filepath.Join(top, "device"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))),
		os.WriteFile(filepath.Join(top, "lie"), page, 0o600), os.WriteFile(filepath.Join(top, "short"), page[:100], 0o600), os.WriteFile(filepath.Join(top, "odd"), page[:1000], 0o600),
		os.WriteFile(filepath.Join(top, "new\nline"), page, 0o600),
		os.WriteFile(filepath.Join(top, "fifos"), page, 0o600), unix.Mkfifo(filepath.Join(top, "fifos-wal"), 0o666),
		os.Mkdir(filepath.Join(top, "many"), 0o700), os.Mkdir(filepath.Join(top, ".drp-restore-x"), 0o700), os.WriteFile(filepath.Join(top, ".drp-restore-x/db"), page, 0o600),
		os.WriteFile(filepath.Join(top, "huge"), page, 0o600), os.Truncate(filepath.Join(top, "huge"), 1<<40))
	for n := range 3000 {
		err = errors.Join(err, os.WriteFile(filepath.Join(top, "many", fmt.Sprint(n)), nil, 0o600))
	}
	deep := top
	for range 300 {
		deep = filepath.Join(deep, "d")
	}
	err = errors.Join(err, os.MkdirAll(deep, 0o700))
	sqlite(t, filepath.Join(top, "good"), "create table t (x)")
	if err != nil {
		t.Fatal(err)
	}
	v, err := s.PrepareView("shop")
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if err := v.Search(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Replaced between the search and the copy.
	later := filepath.Join(top, "lie")
	if err := errors.Join(os.Remove(later), os.Symlink(filepath.Join(outside, "db"), later)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(v.Take(), v.Arrange()); err != nil {
		t.Fatal(err)
	}
	if v.Copied() != 2 { // good and new\nline
		t.Errorf("%d copied, want 2; live: %v", v.Copied(), v.Live())
	}
	var told []string
	for _, p := range v.Live() {
		told = append(told, strings.TrimRight(p.Name, "/d"))
	}
	slices.Sort(told)
	if want := []string{"files", "files/fifos", "files/huge", "files/lie"}; !slices.Equal(told, want) {
		t.Errorf("told: %v, want %v", v.Live(), want)
	}
	if left := names(t, filepath.Join(v.Dir.Name(), "copies")); !slices.Equal(left, []string{"good", "good-journal", "good-shm", "good-wal", "new\nline", "new\nline-journal", "new\nline-shm", "new\nline-wal"}) {
		t.Errorf("copies: %q", left)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := v.Search(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a search that nobody wants = %v", err)
	}
}

func TestView_SQLite_bounds(t *testing.T) {
	for _, test := range []struct {
		name   string
		limits func(*home.Limits)
		copied int
		words  string
	}{
		{"none", func(*home.Limits) {}, 3, ""},
		{"size", func(l *home.Limits) { l.Bytes = 40 << 10 }, 2, "files/c: it was read while programs could write it: it is too large to be copied while the account stands still"},
		{"time", func(l *home.Limits) {
			now := time.Now()
			l.Now = func() time.Time { now = now.Add(1200 * time.Millisecond); return now }
		}, 2, "files/c: it was read while programs could write it: the account stood still for 5s already"},
		{"number", func(l *home.Limits) { l.Files = 1 }, 1, "1 others are copied already"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, top := live(t)
			test.limits(&s.Copying)
			for name, rows := range map[string]string{"a": "1", "b": "100", "c": "5000"} {
				sqlite(t, filepath.Join(top, name), "create table t as select hex(randomblob(50)) from generate_series(1, "+rows+")")
			}
			v := take(t, s)
			var words []string
			for _, p := range v.Live() {
				words = append(words, p.Name+": "+p.Error)
			}
			if got := strings.Join(words, "; "); v.Copied() != test.copied || !strings.Contains(got, test.words) || len(words) != 3-test.copied {
				t.Errorf("%d copied, %s; want %d, %s", v.Copied(), got, test.copied, test.words)
			}
			for _, name := range []string{"a", "b", "c"} {
				if got := sqlite(t, "file:"+filepath.Join(v.Dir.Name(), "files", name)+"?immutable=1", "pragma integrity_check"); got != "ok" {
					t.Errorf("%s in the view: %s", name, got)
				}
			}
		})
	}
}

// Thousands that cannot be copied are counted, and not listed.
func TestView_SQLite_many(t *testing.T) {
	s, top := live(t)
	s.Copying.Files = 5
	page := append([]byte("SQLite format 3\x00"), make([]byte, 512-16)...)
	for n := range 100 {
		if err := os.WriteFile(filepath.Join(top, fmt.Sprint(n)), page, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	v := take(t, s)
	told := v.Live()
	if want := (state.Part{Name: "files", Error: "75 more SQLite files were read while programs could write them"}); v.Copied() != 5 || len(told) != 21 || told[20] != want {
		t.Errorf("%d copied, told %d: %v", v.Copied(), len(told), told[len(told)-1])
	}
}

// Copies that cannot be shown are no copies: the files are read as they are, and that is told.
func TestView_SQLite_notShown(t *testing.T) {
	s, top := live(t)
	sqlite(t, filepath.Join(top, "db"), "create table t (x)")
	v, err := s.PrepareView("shop")
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	err = errors.Join(v.Search(t.Context()), v.Take(), os.RemoveAll(filepath.Join(v.Dir.Name(), "copies")), v.Arrange())
	if err != nil {
		t.Fatal(err)
	}
	if told := v.Live(); v.Copied() != 0 || len(told) != 1 || told[0].Name != "files/db" || !strings.Contains(told[0].Error, "its copy could not be put into its place") {
		t.Errorf("%d copied, told %v", v.Copied(), told)
	}
	if _, err := os.Stat(filepath.Join(v.Dir.Name(), "files/db")); err != nil {
		t.Error(err)
	}
}

// What a crash leaves of a view goes, and the home stays.
func TestView_SQLite_crash(t *testing.T) {
	s, top := live(t)
	db := filepath.Join(top, "db")
	sqlite(t, db, "create table t (x); insert into t values (1)")
	v := take(t, s)
	if v.Copied() != 1 {
		t.Fatalf("%d copied", v.Copied())
	}
	again := open(t, filepath.Dir(filepath.Dir(v.Dir.Name())))
	if left := names(t, filepath.Join(filepath.Dir(filepath.Dir(v.Dir.Name())), ".views")); len(left) > 0 {
		t.Errorf("left after a crash: %v", left)
	}
	if got := sqlite(t, filepath.Join(again.Path("shop"), "db"), "pragma integrity_check; select count(*) from t"); got != "ok\n1" {
		t.Errorf("the database: %s", got)
	}
}
