package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"drp/raftstore/identity"
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
	w := &worker.Worker{
		Site: c.Site, Store: store, Sources: sources, Leader: workerLeader{client, credentials}, Concurrency: c.Concurrency,
		Initialiser: worker.Restic{Runner: &restic.Runner{Binary: c.Restic, Log: log}},
		Poll:        5 * time.Second, Logger: log,
	}
	log.Info("worker is ready", "name", c.Name, "site", c.Site)
	go keepRenewed(ctx, credentials, client.Renew, log)
	return w.Run(ctx)
}
