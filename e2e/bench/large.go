package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"drp/e2e/coordinators"
	"drp/e2e/verdict"
	"drp/raftstore/raftstoretest/bare"
	"drp/raftstore/state"
)

const (
	pauseLimit    = 50 * time.Millisecond
	writeLimit    = 5 * time.Second
	restoreLimit  = 10 * time.Second
	readyLimit    = 10 * time.Second
	residentLimit = 600 << 20
)

// large measures a state of 100,000 accounts on 1,000 servers: in this process, and in a real coordinator.
func large(ctx context.Context, program, dir string, say func(verdict.Verdict)) error {
	const name, address = "l1", "127.94.0.1"
	data := filepath.Join(dir, "data-l1")
	if err := os.Mkdir(data, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	cluster, err := coordinators.New(coordinators.Config{Program: program, Dir: dir, Places: []coordinators.Place{{Name: name, Address: address, Data: data}}})
	if err != nil {
		return err
	}
	sealed, err := cluster.Seal(make([]byte, 43))
	if err != nil {
		return err
	}
	// Garbage is cheap here, and building the platform makes much of it. It is put back for what is measured.
	before := debug.SetGCPercent(400)
	p := newPlatform(sealed)
	if err := p.build(); err != nil {
		return err
	}
	debug.SetGCPercent(before)
	runtime.GC()
	var written time.Duration
	pause, err := p.whileApplying(func(v *state.View) error {
		return bare.WriteSnapshot(data, name, address+":"+coordinators.RaftPort, p.index, func(w io.Writer) error {
			began := time.Now()
			defer func() { written = time.Since(began) }()
			return v.Persist(w)
		})
	})
	if err != nil {
		return err
	}
	say(verdict.Verdict{Text: fmt.Sprintf("snapshot-pause drp=%s accounts=%d servers=%d", pause.Round(10*time.Microsecond), platformAccounts, platformServers), Limit: pauseLimit.String(), OK: pause <= pauseLimit})
	say(verdict.Verdict{Text: fmt.Sprintf("snapshot-write drp=%s", written.Round(10*time.Millisecond)), Limit: writeLimit.String(), OK: written <= writeLimit})
	p.state = nil
	runtime.GC()
	if err := measureRestore(data, say); err != nil {
		return err
	}
	debug.FreeOSMemory()
	return measureProcess(ctx, cluster, say)
}

// whileApplying does what a member does when it takes a snapshot: capture the state between two entries, and write it
// beside the entries that follow. It returns how long the capture held them up.
func (p *platform) whileApplying(write func(*state.View) error) (time.Duration, error) {
	began := time.Now()
	v := p.state.View()
	pause := time.Since(began)
	done := make(chan error, 1)
	var over atomic.Bool
	go func() {
		done <- write(v)
		over.Store(true)
	}()
	for i := 0; !over.Load(); i++ {
		if _, err := p.apply(state.RepositoryReady, state.RepositoryReadyData{Account: accountName(i % platformAccounts), Home: state.Home{Site: siteOf(i % platformServers), Epoch: 1}}); err != nil {
			return 0, err
		}
		time.Sleep(2 * time.Millisecond) // a busy platform: 500 commands a second
	}
	return pause, <-done
}

func measureRestore(data string, say func(verdict.Verdict)) error {
	files, err := filepath.Glob(filepath.Join(data, "snapshots", "*", "state.bin"))
	if err != nil || len(files) != 1 {
		return fmt.Errorf("find the snapshot in %s: %w (%d there)", data, err, len(files))
	}
	f, err := os.Open(files[0])
	if err != nil {
		return fmt.Errorf("open snapshot: %w", err)
	}
	defer f.Close()
	began := time.Now()
	s, err := state.Restore(f)
	if err != nil {
		return err
	}
	took := time.Since(began)
	if got := len(s.View().Accounts()); got != platformAccounts {
		return fmt.Errorf("restored %d accounts, want %d", got, platformAccounts)
	}
	say(verdict.Verdict{Text: fmt.Sprintf("snapshot-restore drp=%s", took.Round(10*time.Millisecond)), Limit: restoreLimit.String(), OK: took <= restoreLimit})
	return nil
}

const leadFor = 20 * time.Second

// measureProcess starts a real coordinator where the snapshot is, and lets it lead for a while: then all servers have
// been silent long enough to be down, which is as much as a leader can have to think about.
func measureProcess(ctx context.Context, cluster *coordinators.Cluster, say func(verdict.Verdict)) error {
	defer cluster.Kill()
	began := time.Now()
	if err := cluster.Start(); err != nil {
		return err
	}
	if err := answers(ctx, cluster); err != nil {
		return errors.Join(err, cluster.Logs())
	}
	ready := time.Since(began)
	say(verdict.Verdict{Text: fmt.Sprintf("restart-ready drp=%s", ready.Round(10*time.Millisecond)), Limit: readyLimit.String(), OK: ready <= readyLimit})
	wait(ctx, leadFor)
	now, most, err := resident(cluster.Nodes[0].Pid())
	if err != nil {
		return errors.Join(err, cluster.Logs())
	}
	say(verdict.Verdict{Text: fmt.Sprintf("resident drp=%dMiB peak=%dMiB", now>>20, most>>20), Limit: fmt.Sprintf("%dMiB", residentLimit>>20), OK: most < residentLimit})
	return nil
}

// answers waits until the coordinator says a linearizable thing about its state.
func answers(ctx context.Context, cluster *coordinators.Cluster) error {
	client, err := cluster.Operator("bench", 2*time.Minute, 0)
	if err != nil {
		return err
	}
	defer client.Close()
	_, err = client.Account(ctx, accountName(platformAccounts-1))
	return err
}

// resident is the memory that a process has, and the most that it had.
func resident(pid int) (now, most int64, err error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, fmt.Errorf("read memory of process %d: %w", pid, err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ":")
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		switch {
		case err != nil:
		case field == "VmRSS":
			now = kib << 10
		case field == "VmHWM":
			most = kib << 10
		}
	}
	return now, most, lines.Err()
}
