package restic

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func fake(t testing.TB, mode string, env ...string) *Runner {
	t.Helper()
	script, err := filepath.Abs("testdata/fake.sh")
	if err != nil {
		t.Fatal(err)
	}
	return &Runner{Binary: script, Env: append([]string{"FAKE=" + mode}, env...)}
}

var someBackup = BackupOptions{Host: "guestbook", Tags: []string{"scheduled"}}

func TestRunner_ExitCodes(t *testing.T) {
	tests := map[int]error{
		1: ErrFailed, 2: ErrFailed, 3: ErrIncomplete, 4: ErrFailed, 10: ErrNoRepository, 11: ErrLocked,
		12: ErrWrongPassword, 13: ErrFailed, 99: ErrFailed, 130: ErrCancelled, 255: ErrFailed,
	}
	all := []error{ErrFailed, ErrIncomplete, ErrNoRepository, ErrLocked, ErrWrongPassword, ErrCancelled}
	for code, want := range tests {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			err := fake(t, "exit", fmt.Sprintf("CODE=%d", code)).Check(t.Context(), Repository{}, CheckOptions{})
			for _, class := range all {
				if got := errors.Is(err, class); got != (class == want) {
					t.Errorf("errors.Is(%v, %v) = %v", err, class, got)
				}
			}
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("got %T, want *Error", err)
			}
			if want := fmt.Sprintf("Fatal: code %d", code); e.Code != code || e.Message != want || e.Verb != "check" {
				t.Errorf("got %d %q %q, want %d %q check", e.Code, e.Message, e.Verb, code, want)
			}
			if want := "plain words\n"; !strings.HasPrefix(e.Tail, want) {
				t.Errorf("tail: got %q, want it to begin with %q", e.Tail, want)
			}
		})
	}
	t.Run("signal", func(t *testing.T) {
		err := fake(t, "killed").Check(t.Context(), Repository{}, CheckOptions{})
		if !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), "killed") {
			t.Errorf("got %v, want a failure that tells of the signal", err)
		}
	})
	t.Run("no binary", func(t *testing.T) {
		err := (&Runner{Binary: "/nonexistent/restic"}).Check(t.Context(), Repository{}, CheckOptions{})
		if !errors.Is(err, ErrFailed) || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v, want ErrFailed and fs.ErrNotExist", err)
		}
	})
}

// What restic check found is said, and where in restic's source an error arose is not.
func TestRunner_Check_words(t *testing.T) {
	err := fake(t, "damaged").Check(t.Context(), Repository{}, CheckOptions{})
	const want = "restic check: restic failed (exit code 1): Fatal: repository contains errors as told: error for tree a88f5695: id a88f5695 not found in repository"
	if got := fmt.Sprint(err); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestRunner_Exists(t *testing.T) {
	for code, want := range map[int]bool{0: true, 10: false} {
		got, err := fake(t, "exit", fmt.Sprintf("CODE=%d", code)).Exists(t.Context(), Repository{})
		if err != nil || got != want {
			t.Errorf("exit %d: got %v, %v, want %v", code, got, err, want)
		}
	}
	if _, err := fake(t, "exit", "CODE=12").Exists(t.Context(), Repository{}); !errors.Is(err, ErrWrongPassword) {
		t.Errorf("exit 12: got %v, want ErrWrongPassword", err)
	}
}

func TestRunner_Backup_output(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	t.Run("plain lines among the JSON", func(t *testing.T) {
		var progress [][2]int64
		o := someBackup
		o.Progress = func(files, bytes int64) { progress = append(progress, [2]int64{files, bytes}) }
		got, err := fake(t, "chatty").Backup(t.Context(), Repository{}, o)
		if err != nil {
			t.Fatal(err)
		}
		if got.SnapshotID != id || got.Files != 3 || got.Bytes != 42 || got.Added != 7 {
			t.Errorf("got %+v", got)
		}
		if want := [][2]int64{{2, 20}}; !slices.Equal(progress, want) {
			t.Errorf("progress: got %v, want %v", progress, want)
		}
	})
	t.Run("endless lines and errors", func(t *testing.T) {
		got, err := fake(t, "long", "CODE=0").Backup(t.Context(), Repository{}, someBackup)
		if err != nil || got.SnapshotID != id {
			t.Errorf("got %+v, %v, want the summary behind the long line", got, err)
		}
		_, err = fake(t, "long", "CODE=1").Backup(t.Context(), Repository{}, someBackup)
		var e *Error
		if !errors.As(err, &e) || len(e.Tail) > maxTail {
			t.Errorf("got a tail of %d bytes, want at most %d", len(e.Tail), maxTail)
		}
	})
	t.Run("incomplete keeps its summary", func(t *testing.T) {
		got, err := fake(t, "incomplete").Backup(t.Context(), Repository{}, someBackup)
		if !errors.Is(err, ErrIncomplete) || errors.Is(err, ErrDamaged) || got.SnapshotID != id || got.Errors != 1 {
			t.Errorf("got %+v, %v", got, err)
		}
		if want := []string{"/files/?[31mred: open: permission denied"}; !slices.Equal(got.Unreadable, want) {
			t.Errorf("unreadable: got %q, want %q", got.Unreadable, want)
		}
	})
	t.Run("exit 0 without a snapshot is a failure", func(t *testing.T) {
		if _, err := fake(t, "silent").Backup(t.Context(), Repository{}, someBackup); !errors.Is(err, ErrFailed) {
			t.Errorf("got %v, want ErrFailed", err)
		}
	})
}

func TestRunner_refusesArguments(t *testing.T) {
	r := fake(t, "silent")
	if _, err := r.Backup(t.Context(), Repository{}, BackupOptions{Tags: []string{"a,b"}}); err == nil {
		t.Error("tag with a comma: not refused")
	}
	for _, id := range []string{"", "--help", "latest:/etc", "../x", "ABCDEF0123", "0123"} {
		if _, err := r.Restore(t.Context(), Repository{}, RestoreOptions{Snapshot: id, Target: "/nonexistent"}); err == nil {
			t.Errorf("snapshot %q: not refused", id)
		}
	}
}

// reachable is a directory that every user may enter and write; t.TempDir lies in one that only we may.
func reachable(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "drp-restic-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

// started makes a Runner cancel its own context as soon as the fake has printed its first status.
func started(cancel func()) BackupOptions {
	o := someBackup
	o.Progress = func(int64, int64) { cancel() }
	return o
}

func TestRunner_cancel(t *testing.T) {
	t.Run("is asked to end", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := fake(t, "term")
		_, err := r.Backup(ctx, Repository{}, started(cancel))
		var e *Error
		if !errors.As(err, &e) || !errors.Is(err, ErrCancelled) || !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v, want ErrCancelled and context.Canceled", err)
		}
		if e.Code != 130 || e.Message != "terminated" {
			t.Errorf("got code %d, %q: it was not let end by itself", e.Code, e.Message)
		}
	})
	t.Run("is killed when it does not", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := fake(t, "stubborn")
		r.Grace = 50 * time.Millisecond
		_, err := r.Backup(ctx, Repository{}, started(cancel))
		if !errors.Is(err, ErrCancelled) {
			t.Errorf("got %v, want ErrCancelled", err)
		}
	})
	t.Run("while it looks for the key", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := fake(t, "term", "CODE=12").Backup(ctx, Repository{}, started(cancel))
		if !errors.Is(err, ErrCancelled) || errors.Is(err, ErrWrongPassword) {
			t.Errorf("got %v, want ErrCancelled: whether the password is wrong nobody knows", err)
		}
	})
	t.Run("deadline of our own", func(t *testing.T) {
		r := fake(t, "term")
		r.Limit = 50 * time.Millisecond
		_, err := r.Backup(t.Context(), Repository{}, someBackup)
		if !errors.Is(err, ErrCancelled) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want ErrCancelled and context.DeadlineExceeded", err)
		}
	})
}

// TestRunner_cache: a copied repository has the same id, and by a cache of another copy it looks whole when it is not.
func TestRunner_cache(t *testing.T) {
	for _, c := range []struct{ cache, want string }{{"", "--no-cache"}, {"/var/cache/drp/par2/shop", "--cache-dir=/var/cache/drp/par2/shop"}} {
		spy := filepath.Join(t.TempDir(), "spy")
		repo := Repository{Cache: c.cache}
		if _, err := fake(t, "spy", "SPY="+spy).Backup(t.Context(), repo, someBackup); err != nil {
			t.Fatal(err)
		}
		said, err := os.ReadFile(spy + ".cmdline")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for arg := range strings.Lines(string(said)) {
			if strings.Contains(arg, "cache") {
				got = append(got, strings.TrimSpace(arg))
			}
		}
		if !slices.Equal(got, []string{c.want}) {
			t.Errorf("cache %q: got %v, want %s", c.cache, got, c.want)
		}
	}
}

func TestRunner_secrets(t *testing.T) {
	repo := Repository{
		URL: "rest:https://[::1]:7460/guestbook/1.1/", Password: "canary-password", AccessKey: "canary-access", SecretKey: "canary-secret",
		Authority: []byte("canary-authority"), Certificate: []byte("canary-certificate"), Key: []byte("canary-key"),
	}
	t.Setenv("DRP_TEST_LEAK", "canary-environment")
	dir := reachable(t)
	run := func(t *testing.T, command func(context.Context, string, ...string) *exec.Cmd) map[string]string {
		t.Helper()
		spy := filepath.Join(reachable(t), "spy")
		r := fake(t, "spy", "SPY="+spy)
		r.Command = command
		if _, err := r.Backup(t.Context(), repo, BackupOptions{Dir: dir, Host: "guestbook"}); err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, name := range []string{"environ", "cmdline", "password", "authority", "certificate", "store", "uid", "pwd", "writable"} {
			b, err := os.ReadFile(spy + "." + name)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			got[name] = strings.TrimSpace(string(b))
		}
		for _, name := range []string{"environ", "cmdline"} {
			if got[name] == "" || strings.Contains(got[name], "canary") {
				t.Errorf("%s holds a secret, or nothing: %q", name, got[name])
			}
		}
		want := map[string]string{"password": "canary-password", "authority": "canary-authority",
			"certificate": "canary-certificate\ncanary-key", "pwd": dir, "writable": "",
			"store": "[default]\naws_access_key_id = canary-access\naws_secret_access_key = canary-secret"}
		for name, w := range want {
			if got[name] != w {
				t.Errorf("%s: got %q, want %q", name, got[name], w)
			}
		}
		return got
	}
	t.Run("by memory file alone", func(t *testing.T) { run(t, nil) })
	t.Run("into an account's user namespace", func(t *testing.T) {
		const base = 1_000_000_000
		inherited, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer inherited.Close()
		// The script has to be reachable for a user that owns nothing here.
		got := run(t, func(ctx context.Context, binary string, args ...string) *exec.Cmd {
			text, err := os.ReadFile(binary)
			if err != nil {
				t.Error(err)
			}
			cmd := exec.CommandContext(ctx, "/bin/sh", append([]string{"-c", string(text), "fake"}, args...)...)
			cmd.ExtraFiles = []*os.File{inherited} // ours come after it
			cmd.SysProcAttr = &syscall.SysProcAttr{
				Cloneflags:  syscall.CLONE_NEWUSER,
				UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: base, Size: 65536}},
				GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: base, Size: 65536}},
				Credential:  &syscall.Credential{Uid: 0, Gid: 0, NoSetGroups: true},
			}
			return cmd
		})
		if got["uid"] != "0" {
			t.Errorf("uid inside: got %s, want 0", got["uid"])
		}
	})
	t.Run("not printed", func(t *testing.T) {
		var b strings.Builder
		slog.New(slog.NewTextHandler(&b, nil)).Info("x", "repository", repo)
		for _, s := range []string{b.String(), fmt.Sprintf("%v %+v %#v %s", repo, repo, repo, repo)} {
			if strings.Contains(s, "canary") {
				t.Errorf("secret in %q", s)
			}
		}
	})
}
