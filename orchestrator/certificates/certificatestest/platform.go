// Package certificatestest has a platform with an issuing authority, in memory, for tests of who may join it.
package certificatestest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"drp/orchestrator"
	"drp/orchestrator/certificates"
	"drp/raftstore/identity"
	"drp/raftstore/state"
)

// Cluster is the platform's.
const Cluster = "cluster-a"

// Platform is a replicated state of one, with its root.
type Platform struct {
	Root, Issuing *identity.Authority
	Store         *Store
	Voters        []string
}

// New makes a platform whose leader is called name.
func New(name string) (*Platform, error) {
	root, err := identity.NewAuthority(Cluster)
	if err != nil {
		return nil, err
	}
	return Under(root, name)
}

// Under is a platform of a root that is there already.
func Under(root *identity.Authority, name string) (*Platform, error) {
	issuing, err := root.NewIssuing()
	if err != nil {
		return nil, err
	}
	key, err := issuing.KeyPEM()
	if err != nil {
		return nil, err
	}
	p := &Platform{Root: root, Issuing: issuing, Store: &Store{leader: name, state: state.New()}, Voters: []string{"a", "b", "c"}}
	sealed, err := Sealer{}.Seal(key)
	if err != nil {
		return nil, err
	}
	return p, errors.Join(
		p.Store.Command(state.ClusterInit, state.ClusterInitData{UUID: root.Cluster(), Incarnation: 1, Level: state.Level}),
		p.Store.Command(state.IssuerSet, state.IssuerSetData{Certificate: issuing.CertificatePEM(), SealedKey: sealed}),
	)
}

// Registrar is the leader's.
func (p *Platform) Registrar(name string, credentials *identity.Credentials) *certificates.Registrar {
	return &certificates.Registrar{
		Name: name, Store: p.Store, Sealer: Sealer{}, Credentials: credentials,
		Voters: func() []string { return p.Voters },
		Members: func() []state.Member {
			return []state.Member{{Name: "a", Site: "par1", Raft: "[::1]:7400", API: "https://[::1]:7443"}}
		},
		Recipients: func() []string { return nil },
	}
}

// Sealer only marks what is sealed: what is tested here is not age.
type Sealer struct{}

var mark = []byte("sealed:")

// Seal implements certificates.Sealer.
func (Sealer) Seal(plain []byte) ([]byte, error) { return append(bytes.Clone(mark), plain...), nil }

// Open implements certificates.Sealer.
func (Sealer) Open(sealed []byte) ([]byte, error) {
	plain, ok := bytes.CutPrefix(sealed, mark)
	if !ok {
		return nil, errors.New("open sealed: it is not")
	}
	return plain, nil
}

// Store is a state that is replicated nowhere.
type Store struct {
	mu       sync.Mutex
	leader   string
	state    *state.State
	index    uint64
	loseNext bool
}

var _ certificates.Store = (*Store)(nil)

// LoseReply lets the next command be applied and its proposer not know.
func (s *Store) LoseReply() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loseNext = true
}

// Elect changes the leader.
func (s *Store) Elect(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leader = name
}

// Propose implements certificates.Store.
func (s *Store) Propose(_ context.Context, c state.Command) (state.Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index++
	r, err := s.state.Apply(s.index, c)
	if s.loseNext {
		s.loseNext = false
		return state.Result{}, orchestrator.ErrUnknownOutcome
	}
	return r, err
}

// Command applies one that has to be accepted.
func (s *Store) Command(name state.Name, payload any) error {
	s.mu.Lock()
	id := fmt.Sprintf("test-%d", s.index+1)
	s.mu.Unlock()
	r, err := s.Propose(context.Background(), state.NewCommand(name, id, time.Now(), "coordinator/test", payload))
	return errors.Join(err, r.Err)
}

// View implements certificates.Store.
func (s *Store) View() *state.View {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.View()
}

// Read implements certificates.Store.
func (s *Store) Read(context.Context) (*state.View, error) { return s.View(), nil }

// Leader implements certificates.Store.
func (s *Store) Leader() (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leader, s.leader != ""
}
