package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"drp/orchestrator/export"
	"drp/replicator"
	"drp/replicator/restic"
	"drp/replicator/worker"
)

func newWorkerCommand() *cobra.Command {
	return daemonCommand("worker", "Run a site's copier, pruner and verifier of repositories", runWorker)
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
	scratch, err := c.scratch()
	if err != nil {
		return err
	}
	runner := &restic.Runner{Binary: c.Restic, Log: log}
	keeper, verifier := c.keeper(), c.verifier()
	keeper.Store, keeper.Tool, keeper.Scratch, keeper.Log = store, runner, scratch, log
	verifier.Store, verifier.Tool, verifier.Scratch, verifier.Log = store, runner, scratch, log
	smith, err := c.smith()
	if err != nil {
		return err
	}
	smith.Store, smith.Tool = store, runner
	w := &worker.Worker{
		Site: c.Site, Store: store, Sources: sources, Leader: workerLeader{client, credentials, obedience}, Concurrency: c.Concurrency,
		Bandwidth: c.Bandwidth.open(), Capacity: int64(c.Capacity),
		Initialiser: worker.Restic{Runner: runner}, Keeper: keeper, Verifier: verifier, UpkeepAtOnce: int(c.Upkeep), Smith: smith,
		Poll: 5 * time.Second, Logger: log,
	}
	log.Info("worker is ready", "name", c.Name, "site", c.Site)
	go keepRenewed(ctx, credentials, client.Renew, log)
	go keepExportsThin(ctx, &export.Thinner{Shelf: storeShelf{store}, Vouch: export.SignedBy(credentials)}, log)
	return w.Run(ctx)
}
