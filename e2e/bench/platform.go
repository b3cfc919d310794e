package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"drp/raftstore/state"
)

// The platform of the bench: as large as the largest that drp is made for.
const (
	platformAccounts = 100_000
	platformServers  = 1_000
	accountsAtOnce   = 500 // in one inventory.apply
)

// platform makes a large state, with the commands that a real one comes from.
type platform struct {
	state *state.State
	index uint64
	at    time.Time
	// sealed is every repository's password: sealing one takes as long as ten commands, and all are of one size.
	sealed []byte
}

func newPlatform(sealed []byte) *platform {
	return &platform{state: state.New(), sealed: sealed, at: time.Now().Add(-24 * time.Hour).UTC().Truncate(time.Second)}
}

func (p *platform) apply(name state.Name, payload any) (state.Result, error) {
	p.index++
	p.at = p.at.Add(10 * time.Millisecond)
	c := state.NewCommand(name, fmt.Sprintf("018f2f0a-6c1e-7000-8000-%012x", p.index), p.at, "coordinator/par1-c", payload)
	r, err := p.state.Apply(p.index, c)
	if err == nil {
		err = r.Err
	}
	if err != nil {
		return r, fmt.Errorf("make platform: %s: %w", name, err)
	}
	return r, nil
}

func siteOf(server int) state.SiteName { return state.SiteName(fmt.Sprintf("par%d", 1+server%2)) }

// build applies everything.
func (p *platform) build() error {
	if _, err := p.apply(state.ClusterInit, state.ClusterInitData{UUID: "7d1f6e0a-2f1b-4c55-9d3e-5a0c1e8b7f42", Incarnation: 1, Level: state.Level}); err != nil {
		return err
	}
	base := state.InventoryData{
		Provider: &state.Provider{Name: "bench", AS: 64512, Prefixes: []netip.Prefix{netip.MustParsePrefix("2001:db8:a::/48")}},
		Policies: []state.Policy{{Name: "hourly-two-sites", Schedule: "@hourly", Replicas: []state.SiteName{"par1", "par2"}, Retention: 7 * 24 * time.Hour, RPO: time.Hour}},
	}
	for _, site := range []state.SiteName{"par1", "par2"} {
		base.Sites = append(base.Sites, state.Site{Name: site, Gateways: []string{"https://[2001:db8:f001::30]:7460"}, Store: &state.Store{Endpoint: "https://s3.example", Bucket: "drp-" + string(site)}})
	}
	for i := range platformServers {
		base.Servers = append(base.Servers, state.Server{
			Name: serverName(i), Site: siteOf(i), Rack: fmt.Sprintf("r%d", i/20), Power: fmt.Sprintf("f%d", i/200),
			Capacity: state.Resources{Memory: 256 << 30, Processes: 100_000, CPU: 64, Disk: 20 << 40},
		})
	}
	if _, err := p.apply(state.InventoryApply, base); err != nil {
		return err
	}
	for from := 0; from < platformAccounts; from += accountsAtOnce {
		if err := p.accounts(from, from+accountsAtOnce); err != nil {
			return err
		}
	}
	return nil
}

func serverName(i int) state.ServerName {
	return state.ServerName(fmt.Sprintf("par%d-s%03d", 1+i%2, i))
}

func accountName(i int) state.AccountName { return state.AccountName(fmt.Sprintf("customer-%06d", i)) }

func snapshotID(account, n int) state.SnapshotID {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d/%d", account, n))
	return state.SnapshotID(hex.EncodeToString(sum[:]))
}

func (p *platform) accounts(from, to int) error {
	var d state.InventoryData
	for i := from; i < to; i++ {
		address := netip.MustParsePrefix("2001:db8:a::/48").Addr().As16()
		address[13], address[14], address[15] = byte(i>>16), byte(i>>8), byte(i)
		d.Accounts = append(d.Accounts, state.Account{
			Name: accountName(i), Plan: state.Resources{Memory: 256 << 20, Processes: 100, CPU: 1, Disk: 1 << 30},
			Tier: state.Silver, Policy: "hourly-two-sites", Addresses: []netip.Addr{netip.AddrFrom16(address)},
			Services: []state.Service{{
				Program: state.Program{Name: "web", Command: []string{"php", "-S", "[::]:80", "-t", "/home/" + string(accountName(i)) + "/www"}, User: 1000},
				Check:   &state.Check{HTTP: "http://[::1]:80/health", Every: 5 * time.Second},
			}},
		})
	}
	if _, err := p.apply(state.InventoryApply, d); err != nil {
		return err
	}
	for i := from; i < to; i++ {
		if err := p.live(i); err != nil {
			return err
		}
	}
	return nil
}

// live gives an account what one has that runs: a repository, a server, a backup and the keys to it at two sites.
func (p *platform) live(i int) error {
	account, server := accountName(i), i%platformServers
	home := siteOf(server)
	other := siteOf(server + 1)
	if _, err := p.apply(state.RepositoryCreate, state.RepositoryCreateData{Account: account, Site: home, SealedPassword: p.sealed}); err != nil {
		return err
	}
	if _, err := p.apply(state.RepositoryReady, state.RepositoryReadyData{Account: account, Home: state.Home{Site: home, Epoch: 1}}); err != nil {
		return err
	}
	r, err := p.apply(state.Assign, state.AssignData{Account: account, Server: serverName(server)})
	if err != nil {
		return err
	}
	if _, err := p.apply(state.AssignmentReady, state.AssignmentReadyData{Account: account, Token: r.Token}); err != nil {
		return err
	}
	task := state.TaskID(fmt.Sprintf("backup-%06d", i))
	if _, err := p.apply(state.TaskCreate, state.TaskCreateData{Task: state.Task{
		ID: task, Kind: state.TaskBackup, Account: account, Server: serverName(server), Token: r.Token, Due: p.at}}); err != nil {
		return err
	}
	id := snapshotID(i, 0)
	if _, err := p.apply(state.TaskFinish, state.TaskFinishData{Task: task, Snapshot: &state.Snapshot{
		ID: id, Start: p.at, Finished: p.at.Add(time.Millisecond), View: "btrfs", Files: 2000, Bytes: 110 << 20}}); err != nil {
		return err
	}
	if _, err := p.apply(state.ReplicationRecord, state.ReplicationRecordData{
		Account: account, From: home, To: other, Snapshots: []state.SnapshotID{id}, Objects: 40, Bytes: 100 << 20}); err != nil {
		return err
	}
	if _, err := p.apply(state.KeysMade, state.KeysMadeData{
		Account: account, Repository: string(account), Home: state.Home{Site: home, Epoch: 1}, Purpose: state.KeyBreakGlass,
		Key: string(snapshotID(i, 1)), Asked: offline, Sealed: offline, File: state.Sum([]byte(account))}); err != nil {
		return err
	}
	for _, site := range []state.SiteName{home, other} {
		if _, err := p.apply(state.KeysSeen, state.KeysSeenData{Account: account, Repository: string(account), Site: site, Version: 1}); err != nil {
			return err
		}
	}
	return nil
}

// offline is what three recipients look like.
var offline = []string{"age1" + strings.Repeat("a", 58), "age1" + strings.Repeat("b", 58), "age1" + strings.Repeat("c", 58)}
