package home_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// Mail is in a view once, in a folder of its own, and what is removed with a view is not the mail.
func TestView_mail(t *testing.T) {
	roots(t, func(t *testing.T, root string) {
		s := open(t, root)
		make1(t, s, "shop", first)
		top := s.Path("shop")
		box := filepath.Join(top, "admin/mail/example.org/info")
		err := errors.Join(os.MkdirAll(filepath.Join(box, "cur"), 0o750), os.WriteFile(filepath.Join(box, "cur/1:2,S"), []byte("one"), 0o640),
			os.WriteFile(filepath.Join(top, "admin/config"), []byte("c"), 0o640), os.Chown(filepath.Join(top, "admin/mail"), ids.Host(1000), ids.Host(5)))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			v := take(t, s)
			files := filepath.Join(v.Dir.Name(), "files")
			if got := content(t, filepath.Join(v.Dir.Name(), "mails/example.org/info/cur/1:2,S")); !v.Mail || got != "one" {
				t.Errorf("mail = %v, %q", v.Mail, got)
			}
			late := filepath.Join(box, "cur", "2:2,") // delivered meanwhile
			if err := os.WriteFile(late, []byte("two"), 0o640); err != nil {
				t.Errorf("the live mailbox while a backup reads it: %v", err)
			}
			if got := names(t, filepath.Join(box, "cur")); !cmp.Equal(got, []string{"1:2,S", "2:2,"}) {
				t.Errorf("the live mailbox has %v", got)
			}
			if got := names(t, filepath.Join(files, "admin")); !cmp.Equal(got, []string{"config", "mail"}) {
				t.Errorf("files/admin has %v", got)
			}
			if got := names(t, filepath.Join(files, "admin/mail")); len(got) > 0 {
				t.Errorf("files/admin/mail has %v", got)
			}
			for _, path := range []string{"files/admin/mail", "mails"} {
				var st unix.Stat_t
				if err := unix.Stat(filepath.Join(v.Dir.Name(), path), &st); err != nil || int(st.Uid) != ids.Host(1000) || int(st.Gid) != ids.Host(5) || st.Mode&0o777 != 0o750 {
					t.Errorf("%s is %d:%d %o, %v", path, st.Uid, st.Gid, st.Mode, err)
				}
			}
			if err := os.WriteFile(filepath.Join(v.Dir.Name(), "mails/x"), nil, 0o640); !errors.Is(err, unix.EROFS) {
				t.Errorf("write into the mail of a view = %v, want %v", err, unix.EROFS)
			}
			if err := errors.Join(v.Holds("mails/example.org/info"), v.Holds("files")); err != nil {
				t.Error(err)
			}
			s = open(t, root) // a crash
			if got := content(t, filepath.Join(box, "cur/1:2,S")); got != "one" {
				t.Errorf("mail after its view = %q", got)
			}
			if err := os.Remove(late); err != nil {
				t.Errorf("what was delivered while a backup ran: %v", err)
			}
		}
	})
}

// The same where all mounts are shared, as systemd makes them: a view covers mail in itself and nowhere else.
func TestView_mail_sharedMounts(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	again := exec.Command("sh", "-c", `mount --make-rprivate / && mount --make-rshared / && exec "$0" -test.v -test.run='^TestView_(mail|SQLite)$'`, program)
	again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	out, err := again.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestView_mail ") {
		t.Errorf("%v: %s", err, out)
	}
}

// Whatever else the account has where mail lies stays a file of its own.
func TestView_mail_none(t *testing.T) {
	roots(t, func(t *testing.T, root string) {
		s := open(t, root)
		make1(t, s, "shop", first)
		top := s.Path("shop")
		outside := t.TempDir()
		if err := os.WriteFile(filepath.Join(outside, "secret"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, make := range []func() error{
			func() error { return nil },
			func() error { return os.Symlink(outside, filepath.Join(top, "admin")) },
			func() error { return os.Mkdir(filepath.Join(top, "admin"), 0o750) },
			func() error { return os.Symlink(outside, filepath.Join(top, "admin/mail")) },
			func() error { return os.WriteFile(filepath.Join(top, "admin/mail"), nil, 0o640) },
		} {
			if err := make(); err != nil {
				t.Fatal(err)
			}
			v := take(t, s)
			if _, err := os.Lstat(filepath.Join(v.Dir.Name(), "mails")); v.Mail || err == nil {
				t.Errorf("mail = %v, %v", v.Mail, err)
			}
			if err := v.Close(); err != nil {
				t.Fatal(err)
			}
			if st, err := os.Lstat(filepath.Join(top, "admin")); err == nil && st.Mode()&os.ModeSymlink != 0 {
				os.Remove(filepath.Join(top, "admin"))
			}
			if st, err := os.Lstat(filepath.Join(top, "admin/mail")); err == nil && st.Mode()&os.ModeSymlink != 0 {
				os.Remove(filepath.Join(top, "admin/mail"))
			}
		}
	})
}
