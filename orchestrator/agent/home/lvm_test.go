package home_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"drp/orchestrator/agent/home"
	"drp/orchestrator/agent/home/hometest"
)

// onLVM is a home on a volume.
func onLVM(t *testing.T) (*hometest.LVM, *home.Store) {
	t.Helper()
	l := hometest.NewLVM(t)
	s := openLVM(t, l)
	if len(s.Notes) > 0 {
		t.Fatal(s.Notes)
	}
	make1(t, s, "shop", first)
	l.Calls()
	return l, s
}

func openLVM(t *testing.T, l *hometest.LVM) *home.Store {
	t.Helper()
	s, err := home.OpenWith(filepath.Join(l.Root, "homes"), l.Devices)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// left is what there is besides the volume and its pool.
func left(l *hometest.LVM) (names []string) {
	for _, name := range l.Volumes() {
		if name != "homes" && name != "pool" {
			names = append(names, name)
		}
	}
	return names
}

func TestView_LVM(t *testing.T) {
	l, s := onLVM(t)
	if err := os.MkdirAll(filepath.Join(s.Path("shop"), home.Mail, "example.org/info"), 0o700); err != nil {
		t.Fatal(err)
	}
	sqlite(t, filepath.Join(s.Path("shop"), "db"), "create table t (x)") // needs no copy
	v := take(t, s)
	if v.Kind != "lvm" || v.Why != nil || v.Still() || v.Copied() != 0 || v.Moment.IsZero() || !v.Mail {
		t.Errorf("view = %+v", v)
	}
	file := filepath.Join(s.Path("shop"), "file")
	if err := os.WriteFile(file, []byte("later"), 0o640); err != nil {
		t.Fatal(err)
	}
	if got := content(t, filepath.Join(v.Dir.Name(), "files", "file")); got != "1.1" {
		t.Errorf("the view holds %q, want what was there at its moment", got)
	}
	if got, want := names(t, v.Dir.Name()), []string{"empty", "files", "mails"}; !cmp.Equal(got, want) {
		t.Errorf("in the view: %v, want %v", got, want)
	}
	if err := v.Holds("mails/example.org/info"); err != nil {
		t.Error(err)
	}
	if err := errors.Join(v.Whole(t.Context()), v.Close()); err != nil {
		t.Fatal(err)
	}
	if got := left(l); len(got) > 0 {
		t.Errorf("left: %v", got)
	}
	if got, want := l.Calls(), "lvcreate --yes --snapshot --permission rw --addtag drp-view --name drp-view-shop --extents 10 vg/homes\n"; !strings.Contains(got, want) {
		t.Errorf("called:\n%swant\n%s", got, want)
	}
	if got := content(t, file); got != "later" {
		t.Errorf("the home after its view: %q", got)
	}
}

func TestView_LVM_thin(t *testing.T) {
	l, s := onLVM(t)
	l.Set("vg/homes/lv_layout", "thin,sparse")
	l.Set("vg/homes/pool_lv", "pool")
	l.Set("vg_free", "0")
	if v := take(t, s); v.Kind != "lvm" {
		t.Fatalf("a view is %s: %v", v.Kind, v.Why)
	}
	if got, want := l.Calls(), "--name drp-view-shop --ignoreactivationskip vg/homes\n"; !strings.Contains(got, want) {
		t.Errorf("called:\n%swant\n%s", got, want)
	}
}

// Where no snapshot can be had, files are read live, SQLite's are copied, and it is told why.
func TestView_LVM_live(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(l *hometest.LVM, s *home.Store)
		want  string
	}{
		"no room":             {func(l *hometest.LVM, _ *home.Store) { l.Set("vg_free", "41943039") }, "volume group vg has 9 free extents, and a snapshot of homes takes 10"},
		"no room, configured": {func(_ *hometest.LVM, s *home.Store) { s.ViewPercent = 21 }, "has 20 free extents, and a snapshot of homes takes 21"},
		"full pool": {func(l *hometest.LVM, _ *home.Store) {
			l.Set("vg/homes/lv_layout", "thin,sparse")
			l.Set("vg/homes/pool_lv", "pool")
			l.Set("vg/pool/data_percent", "90.01")
		}, "pool vg/pool is too full for a snapshot: data 90.01 %"},
		"full metadata": {func(l *hometest.LVM, _ *home.Store) {
			l.Set("vg/homes/lv_layout", "thin,sparse")
			l.Set("vg/homes/pool_lv", "pool")
			l.Set("vg/pool/metadata_percent", "95.00")
		}, "metadata 95.00 %"},
		"refused":        {func(l *hometest.LVM, _ *home.Store) { l.Set("fail-lvcreate", "no, not\nthat") }, "lvcreate: exit status 5: no, not that"},
		"nothing learnt": {func(l *hometest.LVM, _ *home.Store) { l.Set("fail-lvs", "no") }, "lvs: exit status 5: no"},
		"another home": {func(l *hometest.LVM, s *home.Store) {
			if err := unix.Mount("tmpfs", s.Path("shop"), "tmpfs", 0, "size=1m"); err != nil { // covers it
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = unix.Unmount(s.Path("shop"), unix.MNT_DETACH) })
		}, "is another home"},
	} {
		t.Run(name, func(t *testing.T) {
			l, s := onLVM(t)
			test.spoil(l, s)
			sqlite(t, filepath.Join(s.Path("shop"), "db"), "create table t (x)")
			v := take(t, s)
			if v.Kind != "live" || v.Copied() != 1 || v.Why == nil || !strings.Contains(v.Why.Error(), test.want) {
				t.Errorf("view %s with %d files copied, because: %v; want %q", v.Kind, v.Copied(), v.Why, test.want)
			}
			if err := errors.Join(v.Whole(t.Context()), v.Close()); err != nil {
				t.Error(err)
			}
			if got := left(l); len(got) > 0 {
				t.Errorf("left: %v", got)
			}
		})
	}
}

// A snapshot that overflowed is not whole, and the account's next backup does not end so again.
func TestView_LVM_overflow(t *testing.T) {
	l, s := onLVM(t)
	v := take(t, s)
	l.Set("vg/drp-view-shop/lv_attr", "swi-Ios---")
	if err := v.Whole(t.Context()); err == nil || !strings.Contains(err.Error(), "not valid any more") {
		t.Errorf("an overflown snapshot: %v", err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"live", "lvm"} {
		v := take(t, s)
		if v.Kind != want {
			t.Errorf("view %s after an overflow, want %s", v.Kind, want)
		}
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
	}
	v = take(t, s)
	l.Set("vg/drp-view-shop/lv_tags", "")
	if err := v.Whole(t.Context()); err == nil || !strings.Contains(err.Error(), "is gone") {
		t.Errorf("a snapshot that is somebody else's: %v", err)
	}
	l.Set("vg/drp-view-shop/lv_tags", "drp-view")
}

// What a crash left goes at the next start, and nothing else: a volume is ours by its name, its tag and its origin.
func TestOpen_LVM(t *testing.T) {
	l, s := onLVM(t)
	take(t, s)
	l.Make("drp-view-untagged", nil)
	l.Make("drp-view-elsewhere", map[string]string{"lv_tags": "drp-view", "origin": "other"})
	l.Make("tagged", map[string]string{"lv_tags": "drp-view"})
	l.Set("fail-lvremove", "not now")
	if s = openLVM(t, l); len(s.Notes) != 1 || !strings.Contains(s.Notes[0].Error(), "remove snapshot vg/drp-view-shop: lvremove: exit status 5: not now") {
		t.Errorf("notes = %v", s.Notes)
	}
	if v := take(t, s); v.Kind != "live" || v.Why == nil { // it is in the way
		t.Errorf("view %s, because: %v", v.Kind, v.Why)
	}
	l.Remove("fail-lvremove")
	if s = openLVM(t, l); len(s.Notes) > 0 {
		t.Errorf("notes = %v", s.Notes)
	}
	if got, want := left(l), []string{"drp-view-elsewhere", "drp-view-untagged", "tagged"}; !cmp.Equal(got, want) {
		t.Errorf("left: %v, want %v", got, want)
	}
}

// Why backups will read live is for the log.
func TestOpen_LVM_notes(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(l *hometest.LVM)
		want  string
	}{
		"no device-mapper": {func(l *hometest.LVM) { l.Remove("devices") }, "neither on btrfs nor on an LVM volume"},
		"encrypted":        {func(l *hometest.LVM) { l.Set(filepath.Join(l.Mapper, "uuid"), "CRYPT-LUKS2-LVM-x") }, "neither on btrfs nor on an LVM volume"},
		"no programs":      {func(l *hometest.LVM) { l.Remove("bin/lvs") }, "is lvm2 installed?"},
		"lvs fails":        {func(l *hometest.LVM) { l.Set("fail-lvs", "no lock") }, "exit status 5: no lock"},
	} {
		t.Run(name, func(t *testing.T) {
			l := hometest.NewLVM(t)
			test.spoil(l)
			if s := openLVM(t, l); len(s.Notes) != 1 || !strings.Contains(s.Notes[0].Error(), test.want) {
				t.Errorf("notes = %v, want %q", s.Notes, test.want)
			}
		})
	}
}
