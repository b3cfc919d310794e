package raftstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

var (
	// ErrNotMember: there is no such member.
	ErrNotMember = errors.New("not a member of the cluster")
	// ErrRefused: a change of the membership that would do harm.
	ErrRefused = errors.New("refused")
)

// changeTimeout is how long a change of the membership may wait for its turn.
const changeTimeout = 10 * time.Second

// QuorumError is why a member cannot be removed: those that would be left could decide nothing.
type QuorumError struct {
	Name      string
	Voters    int // that would be left
	Answering int // of them
	Needed    int // of them, to decide anything
}

func (e *QuorumError) Error() string {
	if e.Voters == 0 {
		return fmt.Sprintf("%s is the last voter: without it nothing could be decided any more", e.Name)
	}
	return fmt.Sprintf("without %s the cluster has %d voters, of which %d answer and %d have to: it could decide nothing any more. "+
		"Bring the silent ones back first; if they are lost for good, remove those", e.Name, e.Voters, e.Answering, e.Needed)
}

func (e *QuorumError) Unwrap() error { return ErrRefused }

// AddMember adds a coordinator that waits to join, at the leader. It begins without a vote, gets what the others have,
// and becomes a voter when it has been healthy for 10 s. One that is a member already stays as it is.
func (s *Store) AddMember(ctx context.Context, name, address string) error {
	if err := s.addMember(ctx, name, address); err != nil {
		return fmt.Errorf("add coordinator %s: %w", name, err)
	}
	return nil
}

func (s *Store) addMember(ctx context.Context, name, address string) error {
	if name == "" || address == "" {
		return fmt.Errorf("it needs a name and an address: %w", ErrRefused)
	}
	if _, err := s.Read(ctx); err != nil { // we lead, and know what was decided before
		return err
	}
	index, servers, err := s.configuration()
	if err != nil {
		return err
	}
	for _, m := range servers {
		switch {
		case string(m.ID) == name && string(m.Address) == address:
			return nil
		case string(m.ID) == name:
			return fmt.Errorf("it is a member at %s already: %w", m.Address, ErrRefused)
		case string(m.Address) == address:
			return fmt.Errorf("%s has the address %s already: %w", m.ID, address, ErrRefused)
		}
	}
	asking, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	h, err := s.parts.courier.ask(asking, Peer{name, address}, s.hello())
	level := s.View().Level()
	switch {
	case err != nil:
		return fmt.Errorf("it does not answer at %s, where it has to run first (drp server init --join, then drp server): %w: %w", address, err, ErrRefused)
	case h.Level < level:
		return fmt.Errorf("it runs an older drp (level %d, and the cluster is at %d): upgrade it first: %w", h.Level, level, ErrTooNew)
	case !h.Joining:
		return fmt.Errorf("it has a state of its own: empty its data directory and run drp server init --join there: %w", ErrRefused)
	}
	return s.change(ctx, func() raft.IndexFuture {
		return s.raft.AddNonvoter(raft.ServerID(name), raft.ServerAddress(address), index, changeTimeout)
	})
}

// RemoveMember takes a member away, at the leader. It is refused with a *QuorumError where the voters that answer would
// be no quorum without it.
func (s *Store) RemoveMember(ctx context.Context, name string) error {
	if err := s.removeMember(ctx, name); err != nil {
		return fmt.Errorf("remove coordinator %s: %w", name, err)
	}
	return nil
}

func (s *Store) removeMember(ctx context.Context, name string) error {
	if _, err := s.Read(ctx); err != nil {
		return err
	}
	index, servers, err := s.configuration()
	if err != nil {
		return err
	}
	left, member, votes := QuorumError{Name: name}, false, false
	for _, m := range servers {
		if string(m.ID) == name {
			member, votes = true, m.Suffrage == voter
			continue
		}
		if m.Suffrage != voter {
			continue
		}
		left.Voters++
		if s.answers(string(m.ID)) {
			left.Answering++
		}
	}
	left.Needed = left.Voters/2 + 1
	switch {
	case !member:
		return ErrNotMember
	case votes && left.Answering < left.Needed:
		return &left
	}
	return s.change(ctx, func() raft.IndexFuture {
		return s.raft.RemoveServer(raft.ServerID(name), index, changeTimeout)
	})
}

// answers reports whether a member answers now, and can vote.
func (s *Store) answers(name string) bool {
	if name == s.cfg.Name {
		return true
	}
	o := s.peers.of(name)
	return o != nil && time.Since(o.at) <= answering && o.Quarantined == "" && o.Full == "" && !s.estranged(o) && !s.leadsAnother(&o.hello)
}

// configuration returns raft's newest configuration with its index, which raft does not tell. A change names the
// index that it was decided on, so that of two at once one is refused.
func (s *Store) configuration() (uint64, []raft.Server, error) {
	first, err := s.parts.logs.FirstIndex()
	if err != nil {
		return 0, nil, fmt.Errorf("find the configuration: %w", err)
	}
	for index := s.raft.LastIndex(); first > 0 && index >= first; index-- {
		var entry raft.Log
		if err := s.parts.logs.GetLog(index, &entry); errors.Is(err, raft.ErrLogNotFound) {
			continue // between a snapshot and the log
		} else if err != nil {
			return 0, nil, fmt.Errorf("find the configuration: %w", err)
		}
		if entry.Type == raft.LogConfiguration {
			return index, raft.DecodeConfiguration(entry.Data).Servers, nil
		}
	}
	snapshots, err := s.parts.snapshots.List()
	if err != nil || len(snapshots) == 0 {
		return 0, nil, fmt.Errorf("find the configuration: there is none: %w", err)
	}
	return snapshots[0].ConfigurationIndex, snapshots[0].Configuration.Servers, nil
}

// change waits for a change of the configuration.
func (s *Store) change(ctx context.Context, begin func() raft.IndexFuture) error {
	ctx, cancel := withTimeout(ctx, changeTimeout)
	defer cancel()
	return s.translate(s.await(ctx, func() error { return begin().Error() }))
}

func (s *Store) translate(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return ErrNotLeader
	case errors.Is(err, raft.ErrLeadershipLost), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	return err
}

// TransferLeadership makes another voter the leader; empty: the one that has most of the log.
func (s *Store) TransferLeadership(ctx context.Context, to string) error {
	if err := s.transfer(ctx, to); err != nil {
		return fmt.Errorf("transfer leadership to %s: %w", to, err)
	}
	return nil
}

func (s *Store) transfer(ctx context.Context, to string) error {
	if !s.established() {
		return ErrNotLeader
	}
	ctx, cancel := withTimeout(ctx, changeTimeout)
	defer cancel()
	if to == "" {
		return s.translate(s.await(ctx, func() error { return s.raft.LeadershipTransfer().Error() }))
	}
	m, ok := s.roster.server(to)
	switch {
	case !ok:
		return ErrNotMember
	case m.Suffrage != voter:
		return fmt.Errorf("it has no vote yet: %w", ErrRefused)
	case to == s.cfg.Name:
		return nil
	case !s.answers(to):
		return fmt.Errorf("it does not answer: %w", ErrRefused)
	}
	return s.translate(s.await(ctx, func() error { return s.raft.LeadershipTransferToServer(m.ID, m.Address).Error() }))
}

// Snapshot writes the state down and cuts the log, on this node. Where nothing is new it does nothing.
func (s *Store) Snapshot(ctx context.Context) error {
	err := s.await(ctx, func() error { return s.raft.Snapshot().Error() })
	if err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return fmt.Errorf("snapshot: %w", err)
	}
	return nil
}
