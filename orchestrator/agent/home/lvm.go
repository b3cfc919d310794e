package home

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"drp/raftstore/state"
)

// What marks a volume as a view of ours. Nothing is removed that does not bear both, or is no snapshot of the homes' volume.
const (
	viewPrefix = "drp-view-"
	viewTag    = "drp-view"
)

const (
	// defaultViewPercent is how much of the homes' volume a snapshot may take that is not thin.
	defaultViewPercent = 10
	// fullestPool is up to which percentage a pool of thin volumes may be used: one that is full fails everybody's writes.
	fullestPool = 90
	// longestCommand is for one command of LVM. A lock that somebody else holds is waited for.
	longestCommand = time.Minute
)

// volume is the logical volume that the homes lie on.
type volume struct {
	group, name string
	filesystem  string // that mount knows
	within      string // the homes, in it

	mu         sync.Mutex
	overflowed map[state.AccountName]bool
}

// logical is what lvs says of a volume. All of it are strings.
type logical struct {
	Group      string `json:"vg_name"`
	Name       string `json:"lv_name"`
	Path       string `json:"lv_path"`
	Attributes string `json:"lv_attr"`
	Layout     string `json:"lv_layout"`
	Size       string `json:"lv_size"`
	Origin     string `json:"origin"`
	Pool       string `json:"pool_lv"`
	Tags       string `json:"lv_tags"`
	Data       string `json:"data_percent"`
	Metadata   string `json:"metadata_percent"`
	Extent     string `json:"vg_extent_size"`
	Free       string `json:"vg_free"`
}

const logicalColumns = "vg_name,lv_name,lv_path,lv_attr,lv_layout,lv_size,origin,pool_lv,lv_tags,data_percent,metadata_percent,vg_extent_size,vg_free"

// errNoVolume: the directory does not lie on a logical volume.
var errNoVolume = errors.New("they are neither on btrfs nor on an LVM volume")

// findVolume finds out what a directory lies on. devices is where the kernel tells of block devices.
func findVolume(dir, devices string) (*volume, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	mounts, err := mountinfo.GetMounts(mountinfo.ParentsFilter(dir))
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	var m *mountinfo.Info
	for _, next := range mounts { // of two at one place the later one is seen
		if m == nil || len(next.Mountpoint) >= len(m.Mountpoint) {
			m = next
		}
	}
	if m == nil {
		return nil, errNoVolume
	}
	mapper := filepath.Join(devices, fmt.Sprintf("%d:%d", m.Major, m.Minor), "dm")
	uuid, err := os.ReadFile(filepath.Join(mapper, "uuid"))
	if err != nil || !strings.HasPrefix(string(uuid), "LVM-") { // no device-mapper, or an encrypted disk on a volume
		return nil, errNoVolume
	}
	name, err := os.ReadFile(filepath.Join(mapper, "name"))
	if err != nil {
		return nil, err
	}
	if m.FSType != "ext4" && m.FSType != "xfs" { // which freeze themselves when a snapshot is taken
		return nil, fmt.Errorf("their LVM volume holds %s: only of ext4 and xfs snapshots are taken", m.FSType)
	}
	below, err := filepath.Rel(m.Mountpoint, dir)
	if err != nil {
		return nil, err
	}
	list, err := listVolumes(context.Background(), "/dev/mapper/"+strings.TrimSpace(string(name)))
	if err != nil {
		return nil, fmt.Errorf("they are on an LVM volume, but of it nothing is to be learnt (is lvm2 installed?): %w", err)
	}
	if len(list) != 1 {
		return nil, fmt.Errorf("lvs tells of %d volumes, want the one that homes are on", len(list))
	}
	return &volume{group: list[0].Group, name: list[0].Name, filesystem: m.FSType, within: filepath.Join(m.Root, below),
		overflowed: map[state.AccountName]bool{}}, nil
}

func listVolumes(ctx context.Context, of string) ([]logical, error) {
	out, err := runLVM(ctx, "lvs", "--reportformat", "json", "--units", "b", "--nosuffix", "-o", logicalColumns, of)
	if err != nil {
		return nil, err
	}
	var said struct {
		Report []struct {
			LV []logical `json:"lv"`
		} `json:"report"`
	}
	if err := json.Unmarshal(out, &said); err != nil {
		return nil, fmt.Errorf("understand lvs: %w", err)
	}
	var list []logical
	for _, r := range said.Report {
		list = append(list, r.LV...)
	}
	return list, nil
}

// runLVM is never to kill: a command that dies between stopping the homes' volume and letting it go on would leave all
// homes standing. At SIGTERM, LVM finishes what must be finished.
func runLVM(ctx context.Context, name string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, longestCommand)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.Env = append(os.Environ(), "LC_ALL=C", "LVM_SUPPRESS_FD_WARNINGS=1")
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		text := strings.Join(strings.Fields(said.String()), " ")
		return nil, fmt.Errorf("%s: %w: %s", name, err, text[:min(len(text), 300)])
	}
	return out.Bytes(), nil
}

func viewName(account state.AccountName) string { return viewPrefix + string(account) }

// create takes a snapshot of the volume and returns its device. The kernel stops all writes into the filesystem and empties
// its journal for that, so no account has to stand still.
func (v *volume) create(ctx context.Context, account state.AccountName, percent int) (device string, err error) {
	v.mu.Lock()
	overflowed := v.overflowed[account]
	delete(v.overflowed, account)
	v.mu.Unlock()
	if overflowed {
		return "", errors.New("the LVM snapshot of the backup before overflowed")
	}
	list, err := v.remove(ctx, account)
	if err != nil {
		return "", err
	}
	size, err := v.room(list, percent)
	if err != nil {
		return "", err
	}
	// Writable, although it is mounted read-only: XFS leaves something in its log that a mount has to be able to work off.
	args := append([]string{"--yes", "--snapshot", "--permission", "rw", "--addtag", viewTag, "--name", viewName(account)}, size...)
	if _, err := runLVM(ctx, "lvcreate", append(args, v.group+"/"+v.name)...); err != nil {
		return "", err
	}
	made, err := v.find(ctx, account)
	return made.Path, err
}

// room tells how large the snapshot is to be, in arguments of lvcreate, or that there is no room for it.
func (v *volume) room(list []logical, percent int) (size []string, err error) {
	at := slices.IndexFunc(list, func(l logical) bool { return l.Name == v.name })
	if at < 0 {
		return nil, fmt.Errorf("there is no volume %s/%s any more", v.group, v.name)
	}
	own := list[at]
	if slices.Contains(strings.Split(own.Layout, ","), "thin") {
		at := slices.IndexFunc(list, func(l logical) bool { return l.Name == own.Pool })
		if at < 0 {
			return nil, fmt.Errorf("lvs tells nothing of the pool %s/%s", v.group, own.Pool)
		}
		data, err := strconv.ParseFloat(list[at].Data, 64)
		metadata, err2 := strconv.ParseFloat(list[at].Metadata, 64)
		if err := errors.Join(err, err2); err != nil {
			return nil, fmt.Errorf("how full the pool %s/%s is: %w", v.group, own.Pool, err)
		}
		if max(data, metadata) > fullestPool {
			return nil, fmt.Errorf("pool %s/%s is too full for a snapshot: data %s %%, metadata %s %%, at most %d %%", v.group, own.Pool, list[at].Data, list[at].Metadata, fullestPool)
		}
		return []string{"--ignoreactivationskip"}, nil
	}
	var numbers [3]float64
	for i, s := range []string{own.Size, own.Extent, own.Free} {
		if numbers[i], err = strconv.ParseFloat(s, 64); err != nil {
			return nil, fmt.Errorf("the size of %s/%s: %w", v.group, v.name, err)
		}
	}
	if percent == 0 {
		percent = defaultViewPercent
	}
	want, free := int(math.Ceil(numbers[0]*float64(percent)/100/numbers[1])), int(numbers[2]/numbers[1])
	if want > free {
		return nil, fmt.Errorf("volume group %s has %d free extents, and a snapshot of %s takes %d", v.group, free, v.name, want)
	}
	return []string{"--extents", strconv.Itoa(want)}, nil
}

// ours are the views of the homes' volume.
func (v *volume) ours(list []logical) (views []logical) {
	for _, l := range list {
		if strings.HasPrefix(l.Name, viewPrefix) && slices.Contains(strings.Split(l.Tags, ","), viewTag) && l.Origin == v.name {
			views = append(views, l)
		}
	}
	return views
}

func (v *volume) find(ctx context.Context, account state.AccountName) (logical, error) {
	list, err := listVolumes(ctx, v.group)
	if err != nil {
		return logical{}, err
	}
	for _, l := range v.ours(list) {
		if l.Name == viewName(account) {
			return l, nil
		}
	}
	return logical{}, fmt.Errorf("the snapshot %s/%s is gone", v.group, viewName(account))
}

// whole tells whether everything that was read from a snapshot so far was of its moment. One that is full is invalid: reads fail, and
// where dmeventd runs it unmounts it, so that a backup may have found an empty directory and no error.
func (v *volume) whole(ctx context.Context, account state.AccountName) error {
	l, err := v.find(ctx, account)
	if err != nil {
		return err
	}
	if len(l.Attributes) > 4 && l.Attributes[4] == 'a' {
		return nil
	}
	v.mu.Lock()
	v.overflowed[account] = true
	v.mu.Unlock()
	return fmt.Errorf("the LVM snapshot that files were read from is not valid any more (%s, %s %% full): more was written meanwhile than it could keep; the next backup reads files live", l.Attributes, l.Data)
}

// remove removes the view of an account, or of all, and returns what lvs said before.
func (v *volume) remove(ctx context.Context, accounts ...state.AccountName) (list []logical, err error) {
	if list, err = listVolumes(ctx, v.group); err != nil {
		return nil, err
	}
	for _, l := range v.ours(list) {
		if len(accounts) > 0 && !slices.Contains(accounts, state.AccountName(strings.TrimPrefix(l.Name, viewPrefix))) {
			continue
		}
		if _, failed := runLVM(ctx, "lvremove", "--yes", l.Group+"/"+l.Name); failed != nil {
			err = errors.Join(err, fmt.Errorf("remove snapshot %s/%s: %w", l.Group, l.Name, failed))
		}
	}
	return list, err
}

// snapshotVolume makes the view one of a snapshot of the volume. When it fails, nothing of that is left.
func (v *View) snapshotVolume(ctx context.Context) (err error) {
	vol := v.store.volume
	before := time.Now()
	defer func() {
		if err != nil {
			err = errors.Join(err, v.dropVolume())
		}
	}()
	device, err := vol.create(ctx, v.account, v.store.ViewPercent)
	if err != nil {
		return err
	}
	// The whole volume is to be seen for a moment only, and by nobody else: the home is bound to its place out of it.
	whole := v.path("volume")
	if err := os.Mkdir(whole, 0o700); err != nil {
		return err
	}
	options := ""
	if vol.filesystem == "xfs" { // which does not mount two of one uuid
		options = "nouuid"
	}
	if err := unix.Mount(device, whole, vol.filesystem, unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("mount %s: %w", device, err)
	}
	err = v.bindFrom(filepath.Join(whole, vol.within))
	if err := errors.Join(err, unmountAll(whole)); err != nil {
		return err
	}
	v.Kind, v.Moment = "lvm", before
	return os.Remove(whole)
}

// bindFrom puts the home of a snapshot of all homes into its place, when it is the one that is here.
func (v *View) bindFrom(root string) error {
	home, err := openDir(filepath.Join(root, string(v.account), "home"))
	if err != nil {
		return err
	}
	defer home.Close()
	now, err := os.Stat(v.store.Path(v.account))
	if err != nil {
		return err
	}
	then, err := home.Stat()
	if err != nil {
		return err
	}
	if now.Sys().(*syscall.Stat_t).Ino != then.Sys().(*syscall.Stat_t).Ino {
		return fmt.Errorf("what the snapshot holds in %s is another home", root)
	}
	files := v.path("files")
	if err := os.Mkdir(files, 0o700); err != nil {
		return err
	}
	return bind(home, files)
}

// dropVolume takes a snapshot out of the view and removes it.
func (v *View) dropVolume() error {
	for _, name := range []string{"files", "volume"} {
		if err := unmountAll(v.path(name)); err != nil {
			return err
		}
		if err := os.Remove(v.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	_, err := v.store.volume.remove(context.Background(), v.account)
	return err
}
