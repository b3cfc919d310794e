package raftstore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"
	"golang.org/x/sys/unix"

	"drp/raftstore/state"
)

// survivor is a coordinator's directory whose cluster has lost its majority.
type survivor struct {
	state  *state.State
	report Report
}

// RecoverQuorum makes a cluster of one voter from the directory of one survivor, in a new incarnation: everything in its
// snapshot and its log, to the end. The old directory is kept beside it, with a name of its own. It is refused while a
// coordinator runs from the directory.
func RecoverQuorum(dir string, r Recovery) (Report, error) {
	fail := func(err error) (Report, error) { return Report{}, fmt.Errorf("recover from %s: %w", dir, err) }
	dir = filepath.Clean(dir)
	bolt, s, err := openSurvivor(dir)
	if err != nil {
		return fail(err)
	}
	s.report.Term++ // above whatever the survivor has seen
	s.report.Kept = fmt.Sprintf("%s.incarnation-%d", dir, s.report.Incarnation)
	err = clearUnfinishedRecovery(s.report.Kept, s.report.Incarnation)
	if err == nil {
		err = r.begin(s.state, s.report.Last+1, &s.report)
	}
	if err == nil {
		err = r.write(s.report.Kept, s.state, s.report)
	}
	if err == nil {
		err = exchangeDirectories(dir, s.report.Kept)
	}
	if err := errors.Join(err, bolt.Close()); err != nil { // locked until now: nobody starts from it meanwhile
		return fail(err)
	}
	return s.report, nil
}

// Survey reads a survivor's directory and changes nothing: what RecoverQuorum would make of it, before the new
// incarnation begins. The state is as its log ends.
func Survey(dir string) (*state.View, Report, error) {
	bolt, s, err := openSurvivor(filepath.Clean(dir))
	if err != nil {
		return nil, Report{}, fmt.Errorf("look at %s: %w", dir, err)
	}
	if err := bolt.Close(); err != nil {
		return nil, Report{}, fmt.Errorf("look at %s: %w", dir, err)
	}
	return s.state.View(), s.report, nil
}

// clearUnfinishedRecovery removes what an attempt has made that was cut short before it was put into its place: it is of a
// later incarnation than the survivor. Anything else there is not ours to touch.
func clearUnfinishedRecovery(kept string, survivor uint64) error {
	papers := folder{kept}
	if _, err := os.Lstat(kept); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	taken := fmt.Errorf("%s is there already: this directory was recovered before, or somebody has put one there", kept)
	if there, err := papers.has(logName); err != nil || !there {
		return errors.Join(taken, err)
	}
	bolt, err := openBolt(kept)
	if err != nil {
		return errors.Join(taken, err)
	}
	h, err := openHistory(bolt)
	if err := errors.Join(err, bolt.Close()); err != nil {
		return errors.Join(taken, err)
	}
	if h.incarnation() <= survivor {
		return taken
	}
	return os.RemoveAll(kept)
}

// exchangeDirectories lets two directories trade places, in one step where the file system can.
func exchangeDirectories(a, b string) error {
	err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		aside := a + ".aside"
		if err = os.Rename(a, aside); err != nil {
			return err
		}
		if err = os.Rename(b, a); err != nil {
			return errors.Join(err, os.Rename(aside, a))
		}
		err = os.Rename(aside, b)
	}
	if err != nil {
		return fmt.Errorf("put the recovered directory into its place: %w", err)
	}
	return syncDirectory(filepath.Dir(a))
}

func openSurvivor(dir string) (io.Closer, *survivor, error) {
	papers := folder{dir}
	if there, err := papers.has(logName); err != nil {
		return nil, nil, err
	} else if !there {
		return nil, nil, fmt.Errorf("it has no %s: it is not the directory of a coordinator that has run", logName)
	}
	if waits, err := papers.has(joiningName); err != nil {
		return nil, nil, err
	} else if waits {
		return nil, nil, errors.New("it is the directory of a coordinator that was never a member")
	}
	if err := refuseQuarantined(papers); err != nil {
		return nil, nil, fmt.Errorf("its state is wrong; recover from another survivor, or from an export: %w", err)
	}
	bolt, err := openBolt(dir)
	if errors.Is(err, ErrInUse) {
		return nil, nil, fmt.Errorf("a coordinator runs from it; stop that first: %w", err)
	}
	if err != nil {
		return nil, nil, err
	}
	snapshots, err := raft.NewFileSnapshotStore(dir, retainSnapshots, io.Discard)
	if err != nil {
		return nil, nil, errors.Join(err, bolt.Close())
	}
	s := &survivor{}
	if err := s.read(bolt, bolt, snapshots); err != nil {
		return nil, nil, errors.Join(err, bolt.Close())
	}
	return bolt, s, nil
}

// read takes the newest snapshot that can be read, and all of the log after it.
func (s *survivor) read(logs raft.LogStore, stable raft.StableStore, snapshots raft.SnapshotStore) error {
	term, err := stable.GetUint64([]byte(currentTerm))
	if err != nil {
		return fmt.Errorf("read its term: %w", err)
	}
	s.report.Term = term
	if err := s.restore(snapshots); err != nil {
		return err
	}
	last, err := logs.LastIndex()
	if err != nil {
		return fmt.Errorf("find the end of its log: %w", err)
	}
	s.report.Last = max(s.report.Snapshot, last)
	for index := s.report.Snapshot + 1; index <= last; index++ {
		if err := s.replay(logs, index); err != nil {
			return err
		}
	}
	v := s.state.View()
	if c := v.Cluster(); c != nil {
		s.report.Cluster, s.report.Incarnation = c.UUID, c.Incarnation
	}
	if q, err := recomputed(v); err != nil {
		return err
	} else if q != nil {
		return fmt.Errorf("its rows do not give its digest at %d: %w", q.Index, ErrQuarantined)
	}
	return nil
}

func (s *survivor) restore(snapshots raft.SnapshotStore) error {
	list, err := snapshots.List()
	if err != nil {
		return fmt.Errorf("list its snapshots: %w", err)
	}
	var broken error
	for _, meta := range list {
		_, source, err := snapshots.Open(meta.ID)
		if err == nil {
			s.state, err = state.Restore(source)
			_ = source.Close() // only read
		}
		if err == nil {
			s.report.Snapshot = meta.Index
			return nil
		}
		broken = errors.Join(broken, fmt.Errorf("snapshot %s: %w", meta.ID, err))
	}
	if broken != nil {
		return broken
	}
	s.state = state.New()
	return nil
}

func (s *survivor) replay(logs raft.LogStore, index uint64) error {
	var entry raft.Log
	if err := logs.GetLog(index, &entry); err != nil {
		return fmt.Errorf("its log misses entry %d between the snapshot and the end: %w", index, err)
	}
	if entry.Type != raft.LogCommand {
		return nil
	}
	for c, err := range state.Commands(entry.Data) {
		if err != nil {
			return fmt.Errorf("decode entry %d of its log: %w", index, err)
		}
		if _, err := s.state.Apply(index, c); err != nil {
			return err
		}
		s.report.Replayed++
		s.report.Tail = append(s.report.Tail, Entry{Index: index, Term: entry.Term, Name: c.Name, ID: c.ID, At: c.At, By: c.By})
	}
	if extra := len(s.report.Tail) - keptTail; extra > 0 {
		s.report.Tail = s.report.Tail[extra:]
	}
	return nil
}
