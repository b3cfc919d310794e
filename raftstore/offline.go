package raftstore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"

	"drp/raftstore/state"
)

// Recovery says who recovers a cluster into what.
type Recovery struct {
	Self Peer // the one voter of what comes out
	// Recover is the command that begins the new incarnation and holds the cluster. It is in the new directory's first state:
	// no coordinator ever runs from that without it.
	Recover state.ClusterRecoverData
	At      time.Time
	By      string // role/name of who does it
}

// Report says what a recovery has made.
type Report struct {
	Cluster     string `json:"cluster"`
	Incarnation uint64 `json:"incarnation"` // the new one
	Before      uint64 `json:"before"`      // the one before
	Term        uint64 `json:"term"`
	Last        uint64 `json:"last"` // index of the new state, cluster.recover in it
	// Snapshot is the index of the newest snapshot of the survivor, and Replayed how many commands after it were in its log.
	// Nobody can tell of the last of these whether a majority had them: they are kept. None after an export.
	Snapshot uint64  `json:"snapshot,omitempty"`
	Replayed int     `json:"replayed,omitempty"`
	Tail     []Entry `json:"tail,omitempty"` // the newest of them, oldest first
	Kept     string  `json:"kept,omitempty"` // where the survivor's directory is now
}

// Entry is one command of a log, without its payload.
type Entry struct {
	Index uint64     `json:"index"`
	Term  uint64     `json:"term"`
	Name  state.Name `json:"name"`
	ID    string     `json:"id"`
	At    time.Time  `json:"at"`
	By    string     `json:"by"`
}

const (
	keptTail      = 100
	seedingSuffix = ".seeding"
	firstTerm     = 1
)

// Seed makes a coordinator's directory from an exported state: a cluster of one voter, in a new incarnation. The
// directory has to be empty or absent, and nothing is there before all of it is. Other coordinators join it with empty
// directories.
func Seed(dir string, r Recovery, exported io.Reader) (Report, error) {
	fail := func(err error) (Report, error) { return Report{}, fmt.Errorf("seed %s: %w", dir, err) }
	if err := wantEmpty(dir); err != nil {
		return fail(err)
	}
	s, err := state.Restore(exported)
	if err != nil {
		return fail(err)
	}
	report := Report{Term: firstTerm}
	if err := r.begin(s, s.View().Index()+1, &report); err != nil {
		return fail(err)
	}
	if err := r.write(dir, s, report); err != nil {
		return fail(err)
	}
	return report, nil
}

// begin applies the command of the recovery.
func (r *Recovery) begin(s *state.State, index uint64, report *Report) error {
	if c := s.View().Cluster(); c != nil {
		report.Before = c.Incarnation
		if c.Incarnation >= r.Recover.Incarnation { // the state itself would take it for a retry
			return fmt.Errorf("it is of incarnation %d: a recovery begins a higher one than that, and not %d", c.Incarnation, r.Recover.Incarnation)
		}
	}
	id := fmt.Sprintf("recover-%s-%d", r.Recover.UUID, r.Recover.Incarnation)
	result, err := s.Apply(index, state.NewCommand(state.ClusterRecover, id, r.At, r.By, r.Recover))
	if err := errors.Join(err, result.Err); err != nil {
		return err
	}
	c := s.View().Cluster()
	report.Cluster, report.Incarnation, report.Last = c.UUID, c.Incarnation, index
	return nil
}

// write makes the directory beside its place, and moves it there when it is whole.
func (r *Recovery) write(dir string, s *state.State, report Report) error {
	dir = filepath.Clean(dir)
	building := dir + seedingSuffix
	if err := os.RemoveAll(building); err != nil { // of an attempt that was cut short
		return err
	}
	if err := os.MkdirAll(building, 0o700); err != nil {
		return err
	}
	if err := r.fill(building, s, report); err != nil {
		return errors.Join(err, os.RemoveAll(building))
	}
	if err := syncDirectory(building); err != nil {
		return err
	}
	if err := os.Rename(building, dir); err != nil { // over an empty directory, or none
		return err
	}
	return syncDirectory(filepath.Dir(dir))
}

func (r *Recovery) fill(dir string, s *state.State, report Report) (err error) {
	bolt, err := openBolt(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bolt.Close()) }()
	snapshots, err := raft.NewFileSnapshotStore(dir, retainSnapshots, io.Discard)
	if err != nil {
		return err
	}
	address := raft.ServerAddress(r.Self.Address)
	_, naming := raft.NewInmemTransport(address) // it only writes the address down
	voters := raft.Configuration{Servers: []raft.Server{{Suffrage: raft.Voter, ID: raft.ServerID(r.Self.Name), Address: address}}}
	sink, err := snapshots.Create(raft.SnapshotVersionMax, report.Last, report.Term, voters, report.Last, naming)
	if err != nil {
		return err
	}
	if err := (captured{s.View()}).Persist(sink); err != nil {
		return err
	}
	if err := bolt.SetUint64(incarnationKey, report.Incarnation); err != nil {
		return err
	}
	return bolt.SetUint64([]byte(currentTerm), report.Term)
}

func wantEmpty(dir string) error {
	if dir == "" {
		return errors.New("no directory")
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("it holds %s: a recovery begins in an empty directory", entries[0].Name())
	}
	return nil
}
