package raftstoretest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// Disk is what one node has written. A process that starts mounts it; what it writes is sure when it is synced, which
// the log's store does before each write returns. A crash loses the rest.
type Disk struct {
	mu      sync.Mutex
	mounted *volume
	faults  diskFaults
	change  chan struct{} // closed when the faults change
}

type diskFaults struct {
	hangs  bool
	full   bool
	slow   time.Duration
	refuse func() error // of appends to the log
	lies   bool         // writes return before they are synced, and are synced never
}

func newDisk() *Disk {
	return &Disk{mounted: &volume{now: newContent(), sure: newContent()}, change: make(chan struct{})}
}

// Hang makes all writes wait, until it is called with false.
func (d *Disk) Hang(yes bool) { d.set(func(f *diskFaults) { f.hangs = yes }) }

// Full makes all writes fail, until it is called with false: not even a vote finds room.
func (d *Disk) Full(yes bool) { d.set(func(f *diskFaults) { f.full = yes }) }

// Slow makes each write take so long.
func (d *Disk) Slow(by time.Duration) { d.set(func(f *diskFaults) { f.slow = by }) }

// Refuse makes appends to the log fail with what f returns, if it is an error. Nil ends that.
func (d *Disk) Refuse(f func() error) { d.set(func(faults *diskFaults) { faults.refuse = f }) }

// Lie makes a disk that does not keep what it has promised.
func (d *Disk) Lie(yes bool) { d.set(func(f *diskFaults) { f.lies = yes }) }

func (d *Disk) set(f func(*diskFaults)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f(&d.faults)
	close(d.change)
	d.change = make(chan struct{})
}

// mount gives the disk to a process. The one before it must have ended, or be dead.
func (d *Disk) mount() *mount {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &mount{disk: d, volume: d.mounted}
}

// crash is the end of the process, or of the power: what was not synced is gone. Whoever still holds the mount of before
// goes on writing into nowhere, without a fault.
func (d *Disk) crash() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mounted = &volume{now: d.mounted.sure.clone(), sure: d.mounted.sure.clone()}
	close(d.change)
	d.change = make(chan struct{})
}

// Replace changes each command in the log that holds one text, while no process has the disk mounted: a flipped bit, say.
func (d *Disk) Replace(t testing.TB, old, with string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	found := 0
	for i, e := range d.mounted.now.logs {
		if e.Type == raft.LogCommand && bytes.Contains(e.Data, []byte(old)) {
			changed := *e
			changed.Data = bytes.ReplaceAll(e.Data, []byte(old), []byte(with))
			d.mounted.now.logs[i] = &changed
			found++
		}
	}
	if found == 0 {
		t.Fatalf("no entry of the log holds %q", old)
	}
	d.mounted.sure = d.mounted.now.clone()
}

// Commands of the log, in its order.
func (d *Disk) Commands() (indexes []uint64, data [][]byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, i := range slices.Sorted(maps.Keys(d.mounted.now.logs)) {
		if e := d.mounted.now.logs[i]; e.Type == raft.LogCommand {
			indexes, data = append(indexes, i), append(data, e.Data)
		}
	}
	return indexes, data
}

// volume is what is written: now, and surely.
type volume struct {
	now, sure *content
	pending   []func(*content)
}

type content struct {
	logs        map[uint64]*raft.Log
	first, last uint64
	values      map[string][]byte
	numbers     map[string]uint64
	snapshots   []*snapshot // newest first
}

func newContent() *content {
	return &content{logs: map[uint64]*raft.Log{}, values: map[string][]byte{}, numbers: map[string]uint64{}}
}

func (c *content) clone() *content {
	next := *c
	next.logs, next.values, next.numbers = maps.Clone(c.logs), maps.Clone(c.values), maps.Clone(c.numbers)
	next.snapshots = slices.Clone(c.snapshots)
	return &next
}

// mount is a disk as one process has it.
type mount struct {
	disk   *Disk
	volume *volume
}

// syncTime is what a write takes on a good disk. Without it a bubble's clock would stand still as long as clients write.
const syncTime = time.Millisecond

// errDiskFull is what the kernel says.
var errDiskFull = fmt.Errorf("write raft.db: %w", syscall.ENOSPC)

// write carries out one transaction: it waits as the disk makes it wait, changes and syncs.
func (m *mount) write(appends bool, f func(*content)) error {
	d := m.disk
	d.mu.Lock()
	slept := false
	for m.volume == d.mounted { // whoever is dead meets no fault
		if d.faults.hangs {
			change := d.change
			d.mu.Unlock()
			<-change
			d.mu.Lock()
			continue
		}
		if slow := d.faults.slow + syncTime; !slept {
			slept = true
			change := d.change
			d.mu.Unlock()
			t := time.NewTimer(slow)
			select {
			case <-t.C:
			case <-change:
				t.Stop()
			}
			d.mu.Lock()
			continue
		}
		break
	}
	defer d.mu.Unlock()
	alive := m.volume == d.mounted
	if alive && d.faults.full {
		return errDiskFull
	}
	if alive && appends && d.faults.refuse != nil {
		if err := d.faults.refuse(); err != nil {
			return err
		}
	}
	f(m.volume.now)
	m.volume.pending = append(m.volume.pending, f)
	if !d.faults.lies {
		for _, f := range m.volume.pending {
			f(m.volume.sure)
		}
		m.volume.pending = nil
	}
	return nil
}

func (m *mount) look(f func(*content)) {
	m.disk.mu.Lock()
	defer m.disk.mu.Unlock()
	f(m.volume.now)
}

func (m *mount) Close() error { return nil }

func (m *mount) FirstIndex() (first uint64, err error) {
	m.look(func(c *content) { first = c.first })
	return first, nil
}

func (m *mount) LastIndex() (last uint64, err error) {
	m.look(func(c *content) { last = c.last })
	return last, nil
}

func (m *mount) GetLog(index uint64, into *raft.Log) (err error) {
	m.look(func(c *content) {
		if l := c.logs[index]; l != nil {
			*into = *l
		} else {
			err = raft.ErrLogNotFound
		}
	})
	return err
}

func (m *mount) StoreLog(entry *raft.Log) error { return m.StoreLogs([]*raft.Log{entry}) }

func (m *mount) StoreLogs(entries []*raft.Log) error {
	var copies []*raft.Log
	for _, e := range entries {
		c := *e
		copies = append(copies, &c)
	}
	return m.write(true, func(c *content) {
		for _, e := range copies {
			c.logs[e.Index] = e
			if c.first == 0 {
				c.first = e.Index
			}
			c.last = max(c.last, e.Index)
		}
	})
}

func (m *mount) DeleteRange(first, last uint64) error {
	return m.write(false, func(c *content) {
		for i := first; i <= last; i++ {
			delete(c.logs, i)
		}
		if first <= c.first {
			c.first = last + 1
		}
		if last >= c.last {
			c.last = first - 1
		}
		if c.first > c.last {
			c.first, c.last = 0, 0
		}
	})
}

func (m *mount) Set(key, value []byte) error {
	value = slices.Clone(value)
	return m.write(false, func(c *content) { c.values[string(key)] = value })
}

func (m *mount) Get(key []byte) (value []byte, err error) {
	m.look(func(c *content) { value = slices.Clone(c.values[string(key)]) })
	if value == nil {
		return nil, errors.New("not found") // the words that raft looks for
	}
	return value, nil
}

func (m *mount) SetUint64(key []byte, value uint64) error {
	return m.write(false, func(c *content) { c.numbers[string(key)] = value })
}

func (m *mount) GetUint64(key []byte) (value uint64, err error) {
	m.look(func(c *content) { value = c.numbers[string(key)] })
	return value, nil
}

// snapshot is one that was written whole.
type snapshot struct {
	meta raft.SnapshotMeta
	data []byte
}

// Create begins a snapshot, that is there when its sink was closed.
func (m *mount) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration, configurationIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	return &sink{mount: m, snapshot: snapshot{meta: raft.SnapshotMeta{
		Version: version, ID: fmt.Sprintf("%d-%d-%d", term, index, time.Now().UnixMilli()), Index: index, Term: term,
		Configuration: configuration, ConfigurationIndex: configurationIndex,
	}}}, nil
}

func (m *mount) List() (list []*raft.SnapshotMeta, err error) {
	m.look(func(c *content) {
		for _, s := range c.snapshots {
			meta := s.meta
			list = append(list, &meta)
		}
	})
	return list, nil
}

func (m *mount) Open(id string) (meta *raft.SnapshotMeta, r io.ReadCloser, err error) {
	m.look(func(c *content) {
		for _, s := range c.snapshots {
			if s.meta.ID == id {
				copied := s.meta
				meta, r = &copied, io.NopCloser(bytes.NewReader(s.data))
			}
		}
	})
	if meta == nil {
		return nil, nil, fmt.Errorf("open snapshot %s: it is not there", id)
	}
	return meta, r, nil
}

type sink struct {
	mount *mount
	snapshot
	over bool
}

func (s *sink) ID() string    { return s.meta.ID }
func (s *sink) Cancel() error { s.over = true; return nil }

func (s *sink) Write(b []byte) (int, error) {
	if err := s.mount.write(false, func(*content) {}); err != nil {
		return 0, err
	}
	s.data = append(s.data, b...)
	return len(b), nil
}

func (s *sink) Close() error {
	if s.over {
		return nil
	}
	s.over = true
	s.meta.Size = int64(len(s.data))
	done := &s.snapshot
	return s.mount.write(false, func(c *content) {
		c.snapshots = append([]*snapshot{done}, c.snapshots...)
		slices.SortStableFunc(c.snapshots, func(a, b *snapshot) int { return int(b.meta.Index) - int(a.meta.Index) })
		if len(c.snapshots) > 2 {
			c.snapshots = c.snapshots[:2]
		}
	})
}
