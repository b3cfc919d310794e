// Command vmlvm is run by e2e/vmlvm/run in a virtual machine with two empty disks. It makes volume groups of them, puts homes on
// ext4 and XFS, on thin and on ordinary volumes, and takes views of them as a backup does. It ends with 1 when one is not what it has to be.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"drp/orchestrator/agent/home"
	"drp/raftstore/state"
)

func main() {
	failed := false
	for _, l := range []layout{{"vgthin", "ext4", true}, {"vgthin", "xfs", true}, {"vgthick", "ext4", false}, {"vgthick", "xfs", false}} {
		if err := l.try(); err != nil {
			fmt.Printf("FAIL %s: %v\n", l, err)
			failed = true
			continue
		}
		fmt.Printf("ok %s\n", l)
	}
	if failed {
		os.Exit(1)
	}
}

var (
	ids   = home.IDs{First: 1_800_000_000, Size: 65536}
	token = state.Token{Incarnation: 1, Generation: 1}
)

type layout struct {
	group, filesystem string
	thin              bool
}

func (l layout) String() string {
	if l.thin {
		return l.filesystem + " on a thin volume"
	}
	return l.filesystem + " on an ordinary volume"
}

func (l layout) root() string { return filepath.Join("/srv", l.group, l.filesystem, "deep", "homes") }

// make makes the volume and one home on it, below the top of its filesystem.
func (l layout) make() error {
	volume := []string{"lvcreate", "--yes", "-qq", "--name", l.filesystem, "--size", "512M", l.group}
	if l.thin {
		volume = []string{"lvcreate", "--yes", "-qq", "--name", l.filesystem, "--virtualsize", "512M", "--thinpool", "pool", l.group}
	}
	at := filepath.Join("/srv", l.group, l.filesystem)
	if err := run(volume...); err != nil {
		return err
	}
	device := "/dev/" + l.group + "/" + l.filesystem
	return errors.Join(run("mkfs."+l.filesystem, "-q", device), run("mkdir", "-p", at), run("mount", device, at), os.MkdirAll(l.root(), 0o755))
}

func (l layout) try() error {
	if err := l.make(); err != nil {
		return err
	}
	s, err := home.Open(l.root())
	if err != nil || len(s.Notes) > 0 {
		return errors.Join(fmt.Errorf("open homes: %v", s.Notes), err)
	}
	for _, account := range []state.AccountName{"shop", "blog"} {
		f, err := s.Fresh(account, ids)
		if err != nil {
			return err
		}
		mailbox := filepath.Join(f.Into.Path(), home.Mail, "example.org", "info")
		if err := errors.Join(os.MkdirAll(mailbox, 0o755), f.Commit(token)); err != nil {
			return err
		}
	}
	checks := []struct {
		name  string
		check func(s *home.Store) error
	}{
		{"one moment while programs write", l.moment}, {"two at once", l.two}, {"a crash", l.crash},
	}
	if l.thin {
		checks = append(checks, struct {
			name  string
			check func(s *home.Store) error
		}{"a full pool", l.fullPool})
	} else {
		checks = append(checks, []struct {
			name  string
			check func(s *home.Store) error
		}{{"no room", l.noRoom}, {"overflow", l.overflow}}...)
	}
	for _, c := range checks {
		if err := c.check(s); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		if left, err := l.views(); err != nil || left != "" {
			return fmt.Errorf("%s: left: %s, %v", c.name, left, err)
		}
		fmt.Printf("   %s: %s\n", l, c.name)
	}
	return nil
}

// view is one as a backup makes it. want is its kind.
func view(s *home.Store, account state.AccountName, want string) (*home.View, error) {
	v, err := s.PrepareView(account)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	err = v.Search(context.Background())
	took := time.Since(began)
	if err := errors.Join(err, v.Take(), v.Arrange()); err != nil {
		return v, err
	}
	fmt.Printf("      view %s of %s in %s, why: %v\n", v.Kind, account, took.Round(time.Millisecond), v.Why)
	if v.Kind != want || (v.Why != nil) != (want == "live") {
		return v, errors.Join(fmt.Errorf("a view is %s, want %s: %w", v.Kind, want, v.Why), v.Close())
	}
	return v, nil
}

// moment: a program counts in two files, the first always being ahead by one or none, and in an open file without a name. What was written
// before the view is in it, on no disk or not; what was written later is not. Whoever copied the mounts keeps nothing.
func (l layout) moment(s *home.Store) error {
	top := s.Path("shop")
	count := func(name string, n int) error { // a file that is cut short first may rightly be seen empty
		f, err := os.OpenFile(filepath.Join(top, name), os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		_, err = f.WriteAt(fmt.Appendf(nil, "%9d", n), 0)
		return errors.Join(err, f.Close())
	}
	open, err := os.Create(filepath.Join(top, "unnamed"))
	if err != nil {
		return err
	}
	defer open.Close()
	if err := os.Remove(open.Name()); err != nil {
		return err
	}
	large := make([]byte, 32<<20)
	for i := range large {
		large[i] = byte(i / 4096)
	}
	if err := errors.Join(os.WriteFile(filepath.Join(top, "file"), []byte("before"), 0o600), os.WriteFile(filepath.Join(top, "large"), large, 0o600)); err != nil {
		return err
	}
	stop, ended, written := make(chan struct{}), make(chan error, 1), make(chan struct{})
	var once bool
	go func() {
		for n := 1; ; n++ {
			select {
			case <-stop:
				ended <- nil
				return
			default:
			}
			_, err := open.Write(large[:4096])
			if err := errors.Join(count("a", n), count("b", n), err); err != nil {
				ended <- err
				return
			}
			if !once {
				once = true
				close(written)
			}
			time.Sleep(time.Millisecond)
		}
	}()
	<-written
	v, err := view(s, "shop", "lvm")
	if err != nil {
		return err
	}
	// A service with a namespace of its own that starts during the backup, and goes on.
	service := exec.Command("unshare", "--mount", "--propagation", "slave", "sh", "-c", "echo; exec sleep 1000")
	said, err := service.StdoutPipe()
	if err == nil {
		err = service.Start()
	}
	if err != nil {
		return err
	}
	defer func() { service.Process.Kill(); service.Wait() }()
	if _, err := said.Read(make([]byte, 1)); err != nil {
		return err
	}
	err = os.WriteFile(filepath.Join(top, "file"), []byte("later"), 0o600)
	files := filepath.Join(v.Dir.Name(), "files")
	for i := 0; i < 3 && err == nil; i++ { // it stands still
		var a, b int
		_, err = fmt.Sscan(read(files, "a")+" "+read(files, "b"), &a, &b)
		if err == nil && (a < b || a > b+1) {
			err = fmt.Errorf("the view holds %d and %d, which were never beside each other", a, b)
		}
		if i == 0 {
			fmt.Printf("      the counters: %d and %d, %s and %s now\n", a, b, strings.TrimSpace(read(top, "a")), strings.TrimSpace(read(top, "b")))
		}
	}
	if got := read(files, "file"); got != "before" {
		err = errors.Join(err, fmt.Errorf("file holds %q in the view, want what was there before", got))
	}
	if got := read(files, "large"); got != string(large) {
		err = errors.Join(err, errors.New("a large file is not what it was"))
	}
	if e := v.Holds("mails/example.org/info"); e != nil {
		err = errors.Join(err, e)
	}
	if e := v.Holds("files/" + home.Mail + "/example.org"); e == nil {
		err = errors.Join(err, errors.New("mail is in the view twice"))
	}
	if e := os.WriteFile(filepath.Join(files, "x"), nil, 0o600); !errors.Is(e, unix.EROFS) {
		err = errors.Join(err, fmt.Errorf("write into the view: %v", e))
	}
	if _, e := os.Stat(filepath.Join(v.Dir.Name(), "volume")); e == nil {
		err = errors.Join(err, errors.New("all homes of the volume are shown"))
	}
	close(stop)
	return errors.Join(err, <-ended, v.Whole(context.Background()), v.Close())
}

func (l layout) two(s *home.Store) error {
	a, err := view(s, "shop", "lvm")
	if err != nil {
		return err
	}
	b, err := view(s, "blog", "lvm")
	if err != nil {
		return errors.Join(err, a.Close())
	}
	ctx := context.Background()
	return errors.Join(a.Whole(ctx), b.Whole(ctx), a.Close(), b.Whole(ctx), b.Close())
}

// crash: what nobody closed goes when homes are opened again, and nothing else does.
func (l layout) crash(s *home.Store) error {
	if _, err := view(s, "shop", "lvm"); err != nil {
		return err
	}
	origin := l.group + "/" + l.filesystem
	size := []string{"--extents", "4"}
	if l.thin {
		size = nil
	}
	for _, other := range [][]string{{"--name", "drp-view-untagged"}, {"--name", "tagged", "--addtag", "drp-view"}} {
		if err := run(append(append([]string{"lvcreate", "--yes", "-qq", "--snapshot"}, other...), append(size, origin)...)...); err != nil {
			return err
		}
	}
	again, err := home.Open(l.root())
	if err != nil || len(again.Notes) > 0 {
		return fmt.Errorf("open after a crash: %v, %v", again, err)
	}
	if left, err := os.ReadDir(filepath.Join(l.root(), ".views")); err != nil || len(left) > 0 {
		return fmt.Errorf("left in .views: %v, %v", left, err)
	}
	// Fails when one of them is not there.
	return run("lvremove", "--yes", "-qq", l.group+"/drp-view-untagged", l.group+"/tagged")
}

// noRoom: the group is full.
func (l layout) noRoom(s *home.Store) error {
	if err := run("lvcreate", "--yes", "-qq", "--name", "filler", "--extents", "100%FREE", l.group); err != nil {
		return err
	}
	v, err := view(s, "shop", "live")
	if err != nil {
		return err
	}
	return errors.Join(v.Whole(context.Background()), v.Close(), run("lvremove", "--yes", "-qq", l.group+"/filler"))
}

// overflow: more is written than the snapshot can keep.
func (l layout) overflow(s *home.Store) error {
	v, err := view(s, "shop", "lvm")
	if err != nil {
		return err
	}
	for i := range 12 { // 96 MiB; a tenth of the volume is 52
		if err := run("dd", "if=/dev/urandom", fmt.Sprintf("of=%s/new%d", s.Path("shop"), i), "bs=1M", "count=8", "conv=fsync", "status=none"); err != nil {
			return err
		}
	}
	_ = os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0o600)
	whole := v.Whole(context.Background())
	_, reading := os.ReadFile(filepath.Join(v.Dir.Name(), "files", "large"))
	fmt.Printf("      reading the overflown: %v; at its end: %v\n", reading, whole)
	if err := v.Close(); err != nil {
		return err
	}
	if whole == nil {
		return errors.New("an overflown snapshot passes for whole")
	}
	for _, want := range []string{"live", "lvm"} { // the next one after it, and that after that
		if v, err = view(s, "shop", want); err != nil {
			return err
		}
		if err := v.Close(); err != nil {
			return err
		}
	}
	return nil
}

// fullPool: a pool that is all but full gets no snapshot.
func (l layout) fullPool(s *home.Store) error {
	if err := run("lvcreate", "--yes", "-qq", "--name", "filler", "--virtualsize", "1G", "--thinpool", "pool", l.group); err != nil {
		return err
	}
	for at, full := 0, 0.0; full <= 90; at += 32 { // MiB
		if err := run("dd", "if=/dev/zero", "of=/dev/"+l.group+"/filler", "bs=1M", "count=32", fmt.Sprint("seek=", at), "oflag=direct", "status=none"); err != nil {
			return err
		}
		out, err := exec.Command("lvs", "--noheadings", "-o", "data_percent", l.group+"/pool").Output()
		if err != nil {
			return err
		}
		if _, err := fmt.Sscan(string(out), &full); err != nil {
			return err
		}
	}
	v, err := view(s, "shop", "live")
	if err != nil {
		return err
	}
	return errors.Join(v.Close(), run("lvremove", "--yes", "-qq", l.group+"/filler"))
}

// views are those that are there.
func (l layout) views() (string, error) {
	out, err := exec.Command("lvs", "--noheadings", "-o", "lv_name,lv_attr", "-S", "lv_name=~^drp-view-", l.group).Output()
	return strings.TrimSpace(string(out)), err
}

func read(dir, name string) string {
	raw, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return err.Error()
	}
	return string(raw)
}

func run(command ...string) error {
	if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, out)
	}
	return nil
}
