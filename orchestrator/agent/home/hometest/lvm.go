package hometest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// LVM is a double of a volume group: scripts in the place of its programs, and an ext4 in a loop device in the place of the volume that
// homes lie on. A snapshot is a copy of its image, in a loop device too, so that mounts are real.
type LVM struct {
	Root    string // where the volume is mounted
	Devices string // in the place of /sys/dev/block
	Mapper  string // there, what device-mapper tells of the volume

	t   testing.TB
	dir string
}

const programs = `#!/bin/sh
# $0 is lvs, lvcreate or lvremove. One directory is one volume: files are its columns.
cd "$LVM_DOUBLE"
name=${0##*/}
echo "$name $*" >>calls
if [ -e "fail-$name" ]; then
	cat "fail-$name" >&2
	exit 5
fi
row() {
	printf '{"vg_name":"vg","lv_name":"%s"' "$1"
	for column in lv_path lv_attr lv_layout lv_size origin pool_lv lv_tags data_percent metadata_percent; do
		printf ',"%s":"%s"' "$column" "$(cat "vg/$1/$column" 2>/dev/null)"
	done
	printf ',"vg_extent_size":"4194304","vg_free":"%s"}' "$(cat vg_free)"
}
for last; do :; done
case $name in
lvs)
	[ "$last" = vg ] && all=$(ls vg) || all=homes
	sep=
	printf '{"report":[{"lv":['
	for v in $all; do
		printf '%s' "$sep"
		row "$v"
		sep=,
	done
	printf ']}]}\n'
	;;
lvcreate)
	while [ $# -gt 1 ]; do
		case $1 in
		--name) new=$2 ;;
		--addtag) tag=$2 ;;
		esac
		shift
	done
	mkdir "vg/$new"
	sync -f "$(cat mounted)"
	cp image "image-$new"
	losetup --find --show "image-$new" >"vg/$new/lv_path"
	echo "$tag" >"vg/$new/lv_tags"
	echo homes >"vg/$new/origin"
	cp snapshot_attr "vg/$new/lv_attr"
	echo 3.00 >"vg/$new/data_percent"
	;;
lvremove)
	gone=${last#vg/}
	device=$(cat "vg/$gone/lv_path")
	if grep -q "^$device " /proc/self/mounts; then
		echo "Logical volume $last in use." >&2
		exit 5
	fi
	losetup --detach "$device"
	rm -r "vg/$gone" "image-$gone"
	;;
esac
`

// NewLVM makes one until the test ends, with a volume that is not thin, and room for two snapshots.
func NewLVM(t testing.TB) *LVM {
	dir := directory(t)
	l := &LVM{Root: filepath.Join(dir, "mnt"), Devices: filepath.Join(dir, "devices"), t: t, dir: dir}
	for _, name := range []string{"mnt", "bin", "vg", "vg/homes", "vg/pool"} {
		mkdir(t, filepath.Join(dir, name))
	}
	for _, name := range []string{"lvs", "lvcreate", "lvremove"} {
		if err := os.WriteFile(filepath.Join(dir, "bin", name), []byte(programs), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("LVM_DOUBLE", dir)
	t.Setenv("PATH", filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
	image := filepath.Join(dir, "image")
	l.run("truncate", "-s", "16M", image)
	l.run("mkfs.ext4", "-q", image)
	l.run("mount", "-o", "loop", image, l.Root)
	unmount(t, l.Root)
	t.Cleanup(func() {
		l.run("sh", "-c", "for v in vg/drp-view-*; do [ ! -e $v ] || losetup --detach $(cat $v/lv_path); done")
	})
	var st unix.Stat_t
	if err := unix.Stat(l.Root, &st); err != nil {
		t.Fatal(err)
	}
	l.Mapper = filepath.Join(l.Devices, fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)), "dm")
	if err := os.MkdirAll(l.Mapper, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		l.Mapper + "/uuid": "LVM-double", l.Mapper + "/name": "vg-homes", "mounted": l.Root, "vg_free": "83886080", "snapshot_attr": "swi-aos---",
		"vg/homes/lv_attr": "-wi-ao----", "vg/homes/lv_layout": "linear", "vg/homes/lv_size": "419430400", // 100 extents
		"vg/pool/data_percent": "20.00", "vg/pool/metadata_percent": "5.00",
	} {
		l.Set(name, content)
	}
	return l
}

// Set writes one of the double's files: "vg/VOLUME/COLUMN", "vg_free", "snapshot_attr" of those to come, or "fail-PROGRAM" with what that says before it fails.
func (l *LVM) Set(name, content string) {
	l.t.Helper()
	if !filepath.IsAbs(name) {
		name = filepath.Join(l.dir, name)
	}
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		l.t.Fatal(err)
	}
}

// Remove takes one away.
func (l *LVM) Remove(name string) {
	l.t.Helper()
	if err := os.RemoveAll(filepath.Join(l.dir, name)); err != nil {
		l.t.Fatal(err)
	}
}

// Make makes a volume as lvcreate does, with these columns.
func (l *LVM) Make(name string, columns map[string]string) {
	l.t.Helper()
	l.run("lvcreate", "--name", name, "vg/homes")
	for column, value := range columns {
		l.Set(filepath.Join("vg", name, column), value)
	}
	l.t.Cleanup(func() { l.run("sh", "-c", "if [ -e vg/"+name+" ]; then lvremove vg/"+name+"; fi") })
}

// Volumes lists those that are there.
func (l *LVM) Volumes() (names []string) {
	l.t.Helper()
	entries, err := os.ReadDir(filepath.Join(l.dir, "vg"))
	if err != nil {
		l.t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// Calls is how the programs were called since the last time that it was asked.
func (l *LVM) Calls() string {
	l.t.Helper()
	raw, _ := os.ReadFile(filepath.Join(l.dir, "calls"))
	l.Remove("calls")
	return string(raw)
}

func (l *LVM) run(command ...string) {
	l.t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = l.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		l.t.Fatalf("%v: %v: %s", command, err, out)
	}
}
