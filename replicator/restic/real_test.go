package restic

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"drp/replicator/storetest"
)

// real is the pinned restic and a repository in a directory.
func real(t testing.TB) (*Runner, Repository) {
	t.Helper()
	return &Runner{Binary: storetest.Binary(t, "restic"), Quick: time.Minute, Limit: time.Minute},
		Repository{URL: filepath.Join(t.TempDir(), "repository"), Password: "canary-password"}
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestRunner_real(t *testing.T) {
	r, repo := real(t)
	ctx := t.Context()
	if ok, err := r.Exists(ctx, repo); err != nil || ok {
		t.Fatalf("Exists before Init: got %v, %v", ok, err)
	}
	if _, err := r.Snapshots(ctx, repo); !errors.Is(err, ErrNoRepository) {
		t.Fatalf("Snapshots before Init: got %v, want ErrNoRepository", err)
	}
	if err := r.Init(ctx, repo); err != nil {
		t.Fatal(err)
	}
	if ok, err := r.Exists(ctx, repo); err != nil || !ok {
		t.Fatalf("Exists after Init: got %v, %v", ok, err)
	}
	wrong := repo
	wrong.Password = "another"
	if _, err := r.Exists(ctx, wrong); !errors.Is(err, ErrWrongPassword) {
		t.Errorf("wrong password: got %v, want ErrWrongPassword", err)
	}
	if list, err := r.Snapshots(ctx, repo); err != nil || len(list) != 0 {
		t.Errorf("empty list: got %v, %v", list, err)
	}

	home := t.TempDir()
	write(t, filepath.Join(home, "files/www/index.html"), "hello")
	write(t, filepath.Join(home, "files/-rf"), "a name like an option")
	write(t, filepath.Join(home, "mysql/shop.sql"), "create table")
	at := time.Date(2026, 3, 29, 1, 30, 0, 0, time.UTC)
	first, err := r.Backup(ctx, repo, BackupOptions{Dir: home, Paths: []string{"files", "mysql"}, Host: "guestbook", Tags: []string{"scheduled"}, Time: at})
	if err != nil {
		t.Fatal(err)
	}
	if first.Files != 3 || first.Bytes == 0 || first.Start.IsZero() || first.End.Before(first.Start) {
		t.Errorf("summary: got %+v", first)
	}
	list, err := r.Snapshots(ctx, repo)
	if err != nil || len(list) != 1 {
		t.Fatalf("list: got %v, %v", list, err)
	}
	if s := list[0]; s.ID != first.SnapshotID || !s.Time.Equal(at) || s.Host != "guestbook" || len(s.Tags) != 1 || s.Tags[0] != "scheduled" {
		t.Errorf("list: got %+v", s)
	}

	t.Run("missing source", func(t *testing.T) {
		got, err := r.Backup(ctx, repo, BackupOptions{Dir: home, Paths: []string{"files", "nowhere"}, Host: "guestbook", Tags: []string{"scheduled"}})
		if !errors.Is(err, ErrIncomplete) || !snapshotName.MatchString(got.SnapshotID) {
			t.Errorf("got %+v, %v, want a summary and ErrIncomplete", got, err)
		}
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(e.Tail, "nowhere does not exist") {
			t.Errorf("got %+v, want a tail that names the source", e)
		}
	})
	t.Run("restore", func(t *testing.T) {
		target := filepath.Join(t.TempDir(), "home")
		got, err := r.Restore(ctx, repo, RestoreOptions{Snapshot: first.SnapshotID, Target: target, Verify: true})
		if err != nil || got.Files == 0 {
			t.Fatalf("got %+v, %v", got, err)
		}
		for path, want := range map[string]string{"files/www/index.html": "hello", "files/-rf": "a name like an option", "mysql/shop.sql": "create table"} {
			if b, err := os.ReadFile(filepath.Join(target, path)); err != nil || string(b) != want {
				t.Errorf("%s: got %q, %v", path, b, err)
			}
		}
		write(t, filepath.Join(target, "later"), "x")
		got, err = r.Restore(ctx, repo, RestoreOptions{Snapshot: first.SnapshotID, Target: target, Refresh: true, NoLock: true})
		if err != nil || got.Deleted != 1 {
			t.Errorf("refresh: got %+v, %v, want one file deleted", got, err)
		}
	})
	t.Run("restore one folder", func(t *testing.T) {
		target := t.TempDir()
		if _, err := r.Restore(ctx, repo, RestoreOptions{Snapshot: "latest", Subpath: "/files/www", Target: target, NoLock: true}); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(filepath.Join(target, "index.html")); err != nil || string(b) != "hello" {
			t.Errorf("got %q, %v", b, err)
		}
		target = t.TempDir()
		if _, err := r.Restore(ctx, repo, RestoreOptions{Snapshot: first.SnapshotID, Include: []string{"/mysql"}, Target: target, NoLock: true}); err != nil {
			t.Fatal(err)
		}
		if entries, err := os.ReadDir(target); err != nil || len(entries) != 1 || entries[0].Name() != "mysql" {
			t.Errorf("include: got %v, %v, want mysql alone", entries, err)
		}
	})
	t.Run("no such snapshot", func(t *testing.T) {
		_, err := r.Restore(ctx, repo, RestoreOptions{Snapshot: strings.Repeat("0", 64), Target: t.TempDir()})
		if !errors.Is(err, ErrFailed) {
			t.Errorf("got %v, want ErrFailed", err)
		}
	})
	t.Run("cache", func(t *testing.T) {
		cached := repo
		cached.Cache = filepath.Join(t.TempDir(), "cache")
		if _, err := r.Snapshots(ctx, cached); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(cached.Cache); err != nil {
			t.Error(err)
		}
	})
	if err := r.Check(ctx, repo, CheckOptions{ReadData: true}); err != nil {
		t.Error(err)
	}
	t.Run("damage", func(t *testing.T) {
		packs, err := filepath.Glob(filepath.Join(repo.URL, "data/*/*"))
		if err != nil || len(packs) == 0 {
			t.Fatalf("packs: %v, %v", packs, err)
		}
		if err := os.Remove(packs[0]); err != nil {
			t.Fatal(err)
		}
		err = r.Check(ctx, repo, CheckOptions{NoLock: true})
		if pack := filepath.Base(packs[0])[:8]; !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), pack) {
			t.Errorf("check without a pack: got %v, want ErrFailed that names pack %s", err, pack)
		}
	})
}

// realReachable is real, with a directory, for users that may enter no directory of ours.
func realReachable(t testing.TB) (*Runner, Repository, string) {
	t.Helper()
	r, repo := real(t)
	dir := reachable(t)
	repo.URL = filepath.Join(dir, "repository")
	binary := filepath.Join(dir, "restic")
	content, err := os.ReadFile(r.Binary)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(binary, content, 0o755); err != nil {
		t.Fatal(err)
	}
	r.Binary = binary
	return r, repo, dir
}

// inNamespace is r as the root of a user namespace whose ids begin at base.
func inNamespace(r *Runner, base int) *Runner {
	x := *r
	x.Command = func(ctx context.Context, binary string, args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, binary, args...)
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: base, Size: 65536}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: base, Size: 65536}},
			Credential:  &syscall.Credential{Uid: 0, Gid: 0},
		}
		return cmd
	}
	return &x
}

// A backup in a user namespace leaves the container's ids in the snapshot, and a restore under another range gives
// them the ids of that range.
// A backup that builds on what the repository has lost says so, apart from what cannot be read of the source.
func TestRunner_realDamaged(t *testing.T) {
	r, repo := real(t)
	if err := r.Init(t.Context(), repo); err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	backup := func() error {
		_, err := r.Backup(t.Context(), repo, BackupOptions{Dir: home, Paths: []string{"files"}, Host: "guestbook", Tags: []string{"scheduled"}})
		return err
	}
	write(t, filepath.Join(home, "files/www/index.html"), "hello")
	if err := backup(); err != nil {
		t.Fatal(err)
	}
	before, err := filepath.Glob(filepath.Join(repo.URL, "data/*/*"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(home, "files/later"), "x") // its root is another one, and the directory below is not
	if err := backup(); err != nil {
		t.Fatal(err)
	}
	for _, pack := range before {
		if err := os.Remove(pack); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(home, "files/last"), "x")
	if err := backup(); !errors.Is(err, ErrIncomplete) || !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v, want ErrIncomplete and ErrDamaged", err)
	}
}

func TestRunner_realNamespace(t *testing.T) {
	r, repo, dir := realReachable(t)
	const here, there = 1_000_000_000, 1_000_065_536
	home := filepath.Join(dir, "home")
	write(t, filepath.Join(home, "mine"), "x")
	for path, id := range map[string]int{home: here, filepath.Join(home, "mine"): here + 1000} {
		if err := os.Chown(path, id, id); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := inNamespace(r, here).Init(t.Context(), repo); err != nil {
		t.Fatal(err)
	}
	sum, err := inNamespace(r, here).Backup(t.Context(), repo, BackupOptions{Dir: home, Host: "guestbook"})
	if err != nil {
		t.Fatal(err)
	}
	// The repository is a directory of the other range here; through a gateway it is nobody's.
	err = filepath.Walk(repo.URL, func(path string, _ os.FileInfo, err error) error {
		return errors.Join(err, os.Chown(path, there, there))
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := inNamespace(r, there).Restore(t.Context(), repo, RestoreOptions{Snapshot: sum.SnapshotID, Target: filepath.Join(dir, "restored")}); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "restored/mine"))
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Sys().(*syscall.Stat_t).Uid; got != there+1000 {
		t.Errorf("owner: got %d, want %d", got, there+1000)
	}
}

// A snapshot may hold what the restore's user namespace may not set, and holes that would fill the target's disk.
func TestRunner_realAwkwardFiles(t *testing.T) {
	r, repo, dir := realReachable(t)
	const base, holeSize = 1_000_000_000, 1 << 28
	home := filepath.Join(dir, "home")
	file, hole := filepath.Join(home, "file"), filepath.Join(home, "hole")
	write(t, file, "x")
	write(t, hole, "")
	capability := []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0} // cap_net_bind_service=ep, version 2
	err := errors.Join(os.Truncate(hole, holeSize), unix.Setxattr(file, "trusted.x", []byte("y"), 0),
		unix.Setxattr(file, "security.capability", capability, 0), unix.Setxattr(file, "user.kept", []byte("z"), 0))
	if err != nil {
		t.Fatal(err)
	}
	// The host's root sees all attributes, so that they are in the snapshot.
	if err := r.Init(t.Context(), repo); err != nil {
		t.Fatal(err)
	}
	sum, err := r.Backup(t.Context(), repo, BackupOptions{Dir: home, Host: "guestbook"})
	if err != nil {
		t.Fatal(err)
	}
	own := func(path string) {
		t.Helper()
		err := filepath.Walk(path, func(path string, _ os.FileInfo, err error) error {
			return errors.Join(err, os.Lchown(path, base, base))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	own(repo.URL)
	restored := filepath.Join(dir, "restored")
	options := RestoreOptions{Snapshot: sum.SnapshotID, Target: restored, Sparse: true, Verify: true}
	if _, err := inNamespace(r, base).Restore(t.Context(), repo, options); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(restored, "hole"), &st); err != nil || st.Size != holeSize || st.Blocks*512 > 1<<20 {
		t.Errorf("hole: %d bytes long, %d on the disk, %v; want %d and next to none", st.Size, st.Blocks*512, err, holeSize)
	}
	names := make([]byte, 256)
	n, err := unix.Listxattr(filepath.Join(restored, "file"), names)
	if got, want := string(names[:max(n, 0)]), "user.kept\x00"; got != want || err != nil {
		t.Errorf("attributes: got %q, %v, want %q", got, err, want)
	}

	// The namespace's root makes a snapshot of such files too. (A change of owner drops a capability.)
	own(home)
	if err := unix.Setxattr(file, "security.capability", capability, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := inNamespace(r, base).Backup(t.Context(), repo, BackupOptions{Dir: home, Host: "guestbook"}); err != nil {
		t.Error(err)
	}
}

func TestRunner_realLock(t *testing.T) {
	r, repo := real(t)
	if err := r.Init(t.Context(), repo); err != nil {
		t.Fatal(err)
	}
	// A backup that reads a pipe holds its lock until the pipe ends.
	home := t.TempDir()
	pipe := filepath.Join(home, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	slow := *r
	slow.Command = func(ctx context.Context, binary string, args ...string) *exec.Cmd {
		// restic's own arguments, and the source from a command that does not end.
		return exec.CommandContext(ctx, binary, append(args[:len(args)-2:len(args)-2], "--stdin-from-command", "--", "cat", pipe)...)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := slow.Backup(ctx, repo, BackupOptions{Dir: home, Host: "guestbook"})
		ended <- err
	}()
	held, err := os.OpenFile(pipe, os.O_WRONLY, 0) // returns once cat reads: restic has its lock by then
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := r.Check(t.Context(), repo, CheckOptions{}); !errors.Is(err, ErrLocked) {
		t.Errorf("check during a backup: got %v, want ErrLocked", err)
	}
	// Asked to end, it removes its lock.
	cancel()
	held.Close()
	if err := <-ended; !errors.Is(err, ErrCancelled) {
		t.Errorf("cancelled backup: got %v, want ErrCancelled", err)
	}
	locks, err := os.ReadDir(filepath.Join(repo.URL, "locks"))
	if err != nil || len(locks) != 0 {
		t.Errorf("locks left behind: %v, %v", locks, err)
	}
	if err := r.Unlock(t.Context(), repo, true); err != nil {
		t.Error(err)
	}
	if err := r.Check(t.Context(), repo, CheckOptions{}); err != nil {
		t.Errorf("check afterwards: %v", err)
	}
}
