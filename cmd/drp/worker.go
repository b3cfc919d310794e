package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"drp/orchestrator/obedience"
	"drp/orchestrator/wire"
	"drp/raftstore/identity"
	"drp/raftstore/state"
	"drp/replicator"
	"drp/replicator/restic"
	"drp/replicator/worker"
)

type workerConfig struct {
	Name         string         `yaml:"name"`
	Site         string         `yaml:"site"`
	Coordinators []string       `yaml:"coordinators"`
	Certificates identity.Files `yaml:"certificates"`
	Data         string         `yaml:"data"`
	Restic       string         `yaml:"restic"`
	Store        storeConfig    `yaml:"store"`
	Sources      []sourceConfig `yaml:"sources"`
	Concurrency  int            `yaml:"concurrency"`
}

// sourceConfig is a key that may read another site's store, and should be able to do no more.
type sourceConfig struct {
	Site        string `yaml:"site"`
	Credentials string `yaml:"credentials"`
}

func newWorkerCommand() *cobra.Command {
	return daemonCommand("worker", "Run a site's copier of repositories", runWorker)
}

func runWorker(ctx context.Context, path string) error {
	var c workerConfig
	if err := readConfig(path, &c); err != nil {
		return err
	}
	log := newLogger()
	credentials, err := loadCredentials(c.Certificates, log)
	if err != nil {
		return err
	}
	client, err := leaderClient(c.Coordinators, credentials, log)
	if err != nil {
		return err
	}
	storeConfig, err := c.Store.open()
	if err != nil {
		return err
	}
	store, err := replicator.Open(storeConfig)
	if err != nil {
		return err
	}
	sources := map[string]worker.Key{}
	for _, s := range c.Sources {
		keys, err := readStoreKeys(s.Credentials)
		if err != nil {
			return err
		}
		sources[s.Site] = worker.Key{Access: keys.AccessKey, Secret: keys.SecretKey}
	}
	obedience, err := obedienceOf(c.Certificates, credentials)
	if err != nil {
		return err
	}
	w := &worker.Worker{
		Site: c.Site, Store: store, Sources: sources, Leader: workerLeader{client, credentials, obedience}, Concurrency: c.Concurrency,
		Initialiser: worker.Restic{Runner: &restic.Runner{Binary: c.Restic, Log: log}},
		Poll:        5 * time.Second, Logger: log,
	}
	log.Info("worker is ready", "name", c.Name, "site", c.Site)
	go keepRenewed(ctx, credentials, client.Renew, log)
	return w.Run(ctx)
}

// workerLeader puts the worker's words into those of the wire. The worker stands below both.
type workerLeader struct {
	client interface {
		WorkerSync(context.Context, wire.WorkerReport) (wire.WorkerDesired, error)
	}
	credentials *identity.Credentials
	obedience   *obedience.Obedience
}

func (l workerLeader) Sync(ctx context.Context, r worker.Report) (worker.Desired, error) {
	report := wire.WorkerReport{Site: state.SiteName(r.Site), Revision: r.Revision, Wait: r.Wait, Incarnation: l.obedience.Told()}
	for _, i := range r.Ready {
		report.Ready = append(report.Ready, wire.Initialised{
			Account: state.AccountName(i.Account), Home: state.Home{Site: state.SiteName(i.Home.Site), Epoch: i.Home.Epoch}})
	}
	for _, p := range r.Passes {
		report.Passes = append(report.Passes, wire.PassReport{
			ID: p.ID, Account: state.AccountName(p.Account), From: state.SiteName(p.From),
			Snapshots: convert[state.SnapshotID](p.Snapshots), Objects: p.Objects, Bytes: p.Bytes, Error: p.Error})
	}
	d, err := l.client.WorkerSync(ctx, report)
	if err == nil {
		err = l.obedience.Take(d.Incarnation, d.Recovering)
	}
	if err != nil {
		return worker.Desired{}, err
	}
	l.credentials.SetRevocations(d.Revoked)
	desired := worker.Desired{Revision: d.Revision, New: d.NewSite}
	for _, j := range d.Initial {
		desired.Initial = append(desired.Initial, worker.InitialJob{Account: string(j.Account), Home: workerHome(j.Home), Password: j.Password})
	}
	for _, j := range d.Copy {
		desired.Copy = append(desired.Copy, worker.CopyJob{
			Account: string(j.Account), From: string(j.From), Home: workerHome(j.Home), Snapshots: convert[string](j.Snapshots),
			Store: worker.StoreAddress{Endpoint: j.Store.Endpoint, Bucket: j.Store.Bucket, Region: j.Store.Region}})
	}
	return desired, nil
}

func workerHome(h state.Home) worker.Home { return worker.Home{Site: string(h.Site), Epoch: h.Epoch} }

func convert[To, From ~string](list []From) []To {
	out := make([]To, len(list))
	for i, s := range list {
		out[i] = To(s)
	}
	return out
}
