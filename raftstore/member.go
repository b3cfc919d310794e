package raftstore

import (
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

const voter = raft.Voter

// Member is one coordinator of the cluster, as this node knows it.
type Member struct {
	Name        string        `json:"name"`
	Address     string        `json:"address"`
	Voter       bool          `json:"voter"` // a new one has no vote before it was healthy for 10 s
	Leader      bool          `json:"leader,omitempty"`
	Self        bool          `json:"self,omitempty"`
	Level       int           `json:"level"` // of commands that it can apply; 0: not heard yet
	Last        uint64        `json:"last"`  // newest index in its log
	Applied     uint64        `json:"applied"`
	LastContact time.Time     `json:"last_contact,omitzero"` // when this node last heard it
	Healthy     time.Time     `json:"healthy,omitzero"`      // since when it answers and has what is committed
	Quarantined string        `json:"quarantined,omitempty"` // why
	DiskFull    string        `json:"disk_full,omitempty"`
	Clock       time.Duration `json:"clock"` // theirs − ours
}

// Members of raft's configuration, in its order. One that is dead is among them until a person removes it.
func (s *Store) Members() []Member {
	leader, _ := s.Leader()
	var list []Member
	for _, server := range s.roster.servers() {
		name := string(server.ID)
		address, _ := s.roster.address(name)
		m := Member{Name: name, Address: address, Voter: server.Suffrage == voter, Leader: name == leader, Self: name == s.cfg.Name}
		switch o := s.peers.of(name); {
		case m.Self:
			m.Level, m.Last, m.Applied, m.DiskFull = s.cfg.Level, s.raft.LastIndex(), s.raft.AppliedIndex(), s.space.full()
			m.LastContact, m.Healthy = time.Now(), s.started
			if err := s.Err(); err != nil {
				m.Healthy = time.Time{}
				if errors.Is(err, ErrQuarantined) {
					m.Quarantined = err.Error()
				}
			}
		case o != nil:
			m.Level, m.Last, m.Applied, m.LastContact, m.Healthy = o.Level, o.Last, o.Applied, o.at, o.healthy
			m.Quarantined, m.DiskFull, m.Clock = o.Quarantined, o.Full, o.clock
			switch {
			case s.estranged(o):
				m.Healthy, m.Quarantined = time.Time{}, fmt.Sprintf("it is of incarnation %d of this cluster, and %s of %d: one of them is from before a recovery",
					o.Incarnation, s.cfg.Name, s.parts.history.incarnation())
			case s.leadsAnother(&o.hello):
				m.Healthy, m.Quarantined = time.Time{}, "it leads a cluster of its own"
			}
		}
		list = append(list, m)
	}
	return list
}

// estranged reports whether another one is of the time before a recovery, or we are: it hears us, and no vote and no entry
// passes between us. While a new incarnation is being committed that is so for a moment.
func (s *Store) estranged(o *heard) bool {
	ours := s.parts.history.incarnation()
	return o.Incarnation != 0 && ours != 0 && o.Incarnation != ours
}
