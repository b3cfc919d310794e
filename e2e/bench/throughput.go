package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"drp/e2e/verdict"
	"drp/raftstore"
	"drp/raftstore/identity"
	"drp/raftstore/raftstoretest/bare"
	"drp/raftstore/state"
)

const members = 3

// side is one of the two clusters that are held against each other. Both run in this process, with real TLS and disks.
type side struct {
	name   string
	commit func(c state.Command) error
}

// pairOfClusters opens both, each with a leader.
type pairOfClusters struct {
	drp, bare side
	closers   []func() error
}

func (p *pairOfClusters) close() error {
	var all []error
	for _, c := range p.closers {
		all = append(all, c())
	}
	return errors.Join(all...)
}

func openPair(ctx context.Context, dir string) (*pairOfClusters, error) {
	authority, err := identity.NewAuthority("7d1f6e0a-2f1b-4c55-9d3e-5a0c1e8b7f42")
	if err != nil {
		return nil, err
	}
	p := &pairOfClusters{}
	if err := errors.Join(p.openDrp(ctx, authority, dir), p.openBare(ctx, authority, dir)); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

func memberName(i int) string { return fmt.Sprintf("m%d", i) }

func credentials(a *identity.Authority, name string) (*identity.Credentials, error) {
	certificate, key, err := a.Issue(identity.Coordinator, name, nil, time.Hour)
	if err != nil {
		return nil, err
	}
	return identity.New(certificate, key, a.CertificatePEM())
}

func (p *pairOfClusters) openDrp(ctx context.Context, a *identity.Authority, dir string) error {
	var peers []raftstore.Peer
	for i := range members {
		peers = append(peers, raftstore.Peer{Name: memberName(i), Address: fmt.Sprintf("127.91.%d.1:7400", i)})
	}
	led := make(chan *raftstore.Store, members)
	for _, peer := range peers {
		c, err := credentials(a, peer.Name)
		if err != nil {
			return err
		}
		data := filepath.Join(dir, "drp-"+peer.Name)
		if err := raftstore.Prepare(data); err != nil {
			return err
		}
		s, err := raftstore.Open(raftstore.Config{
			Name: peer.Name, Dir: data, Peers: peers, Logger: slog.New(slog.DiscardHandler),
			Server: c.Server(identity.Coordinator), Client: c.Client(identity.Coordinator),
			Snapshots: raftstore.Snapshots{Interval: time.Hour}, // neither side writes any while it is measured
		})
		if err != nil {
			return err
		}
		p.closers = append(p.closers, s.Close)
		go func() {
			_ = s.Lead(ctx, func(ctx context.Context) error { // until ctx ends
				led <- s
				<-ctx.Done()
				return nil
			})
		}()
	}
	select {
	case leader := <-led:
		p.drp = side{"drp", func(c state.Command) error {
			r, err := leader.Propose(ctx, c)
			return errors.Join(err, r.Err)
		}}
		return nil
	case <-ctx.Done():
		return errors.New("nobody leads")
	}
}

func (p *pairOfClusters) openBare(ctx context.Context, a *identity.Authority, dir string) error {
	peers := map[string]string{}
	for i := range members {
		peers[memberName(i)] = fmt.Sprintf("127.92.%d.1:7400", i)
	}
	var nodes []*bare.Node
	for name := range peers {
		c, err := credentials(a, name)
		if err != nil {
			return err
		}
		data := filepath.Join(dir, "bare-"+name)
		if err := os.Mkdir(data, 0o700); err != nil {
			return err
		}
		n, err := bare.Open(bare.Config{
			Name: name, Dir: data, Peers: peers, Server: c.Server(identity.Coordinator), Client: c.Client(identity.Coordinator),
		})
		if err != nil {
			return err
		}
		p.closers, nodes = append(p.closers, n.Close), append(nodes, n)
	}
	for ctx.Err() == nil {
		for _, n := range nodes {
			if n.Leading() {
				p.bare = side{"bare", func(c state.Command) error {
					data, err := json.Marshal(c) // the same bytes, made on the same side of the clock
					if err != nil {
						return err
					}
					return n.Apply(data)
				}}
				return nil
			}
		}
		wait(ctx, 20*time.Millisecond)
	}
	return errors.New("nobody leads the bare cluster")
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// payload is the command that a platform commits most often: what one pass of replication found. It has about 512 bytes.
func payload(i uint64) state.Command {
	account := accountName(int(i % 1000))
	return state.NewCommand(state.ReplicationRecord, fmt.Sprintf("018f2f0a-6c1e-7000-8000-%012x", i), time.Now(), "worker/par2",
		state.ReplicationRecordData{
			Account: account, From: "par1", To: "par2", Objects: int64(i), Bytes: int64(i) << 10,
			Snapshots: []state.SnapshotID{snapshotID(int(i%1000), 0), snapshotID(int(i%1000), 1)},
		})
}

// settle gives the drp side what the payload is about.
func settle(s side) error {
	founding := state.ClusterInitData{UUID: "7d1f6e0a-2f1b-4c55-9d3e-5a0c1e8b7f42", Incarnation: 1, Level: state.Level} // with an audit trail
	if err := s.commit(state.NewCommand(state.ClusterInit, "settle-cluster", time.Now(), "coordinator/m0", founding)); err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	base := state.InventoryData{
		Provider: &state.Provider{Name: "bench", AS: 64512, Prefixes: []netip.Prefix{netip.MustParsePrefix("2001:db8:a::/48")}},
		Sites:    []state.Site{{Name: "par1"}, {Name: "par2"}},
		Policies: []state.Policy{{Name: "p", Schedule: "@hourly", Replicas: []state.SiteName{"par1", "par2"}}},
	}
	for i := range 1000 {
		base.Accounts = append(base.Accounts, state.Account{Name: accountName(i), Tier: state.Silver, Policy: "p"})
	}
	if err := s.commit(state.NewCommand(state.InventoryApply, "settle-inventory", time.Now(), "operator/bench", base)); err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	for i := range 1000 {
		c := state.NewCommand(state.RepositoryCreate, fmt.Sprintf("settle-%d", i), time.Now(), "operator/bench",
			state.RepositoryCreateData{Account: accountName(i), Site: "par1", SealedPassword: []byte("sealed")})
		if err := s.commit(c); err != nil {
			return fmt.Errorf("settle: %w", err)
		}
	}
	return nil
}

// rate is what one round gave.
type rate struct {
	commits float64 // a second
	cpu     float64 // microseconds of processor time for each commit, on all three members and the clients
}

// round commits with so many clients for so long.
func (s side) round(clients int, length time.Duration, next *atomic.Uint64) (rate, error) {
	var (
		done    atomic.Int64
		group   sync.WaitGroup
		failure atomic.Pointer[error]
	)
	began, cpu := time.Now(), processorTime()
	for range clients {
		group.Go(func() {
			for time.Since(began) < length && failure.Load() == nil {
				if err := s.commit(payload(next.Add(1))); err != nil {
					failure.Store(&err)
					return
				}
				done.Add(1)
			}
		})
	}
	group.Wait()
	if err := failure.Load(); err != nil {
		return rate{}, fmt.Errorf("commit on the %s side: %w", s.name, *err)
	}
	commits := float64(done.Load())
	return rate{commits / time.Since(began).Seconds(), float64((processorTime() - cpu).Microseconds()) / commits}, nil
}

// processorTime that this process has used.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0 // it only informs
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// throughput holds the two against each other, in short rounds by turns: what else the machine does hits both.
func throughput(ctx context.Context, dir string, pairs int, length time.Duration, say func(verdict.Verdict)) error {
	opening, cancel := context.WithCancel(ctx)
	defer cancel()
	p, err := openPair(opening, dir)
	if err != nil {
		return fmt.Errorf("open clusters: %w", err)
	}
	err = errors.Join(settle(p.drp), measurePairs(p, pairs, length, say))
	cancel()
	return errors.Join(err, p.close())
}

func measurePairs(p *pairOfClusters, pairs int, length time.Duration, say func(verdict.Verdict)) error {
	var next atomic.Uint64
	for _, clients := range []int{1, 64, 256} {
		rates := map[string][]rate{}
		var ratios []float64
		for n := range pairs + 1 {
			both := []side{p.drp, p.bare}
			if n%2 == 1 {
				both[0], both[1] = both[1], both[0]
			}
			now := map[string]rate{}
			for _, s := range both {
				r, err := s.round(clients, length, &next)
				if err != nil {
					return err
				}
				now[s.name] = r
			}
			if n == 0 {
				continue // to warm up
			}
			for name, r := range now {
				rates[name] = append(rates[name], r)
			}
			ratios = append(ratios, now["drp"].commits/now["bare"].commits)
		}
		ours, theirs := middle(rates["drp"]), middle(rates["bare"])
		v := verdict.Verdict{Text: fmt.Sprintf("commits-%d drp=%.0f/s bare=%.0f/s ratio=%.2f cpu=%.0fµs/%.0fµs",
			clients, ours.commits, theirs.commits, verdict.Median(ratios), ours.cpu, theirs.cpu)}
		if clients == 64 {
			v.Limit, v.OK = fmt.Sprintf("%.2f", leastRatio), verdict.Median(ratios) >= leastRatio
		}
		say(v)
	}
	return nil
}

const leastRatio = 0.85

func middle(list []rate) rate {
	var commits, cpu []float64
	for _, r := range list {
		commits, cpu = append(commits, r.commits), append(cpu, r.cpu)
	}
	return rate{verdict.Median(commits), verdict.Median(cpu)}
}
