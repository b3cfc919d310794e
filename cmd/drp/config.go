package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/goccy/go-yaml"

	"drp/orchestrator/api"
	"drp/raftstore/identity"
	"drp/replicator"
)

// readConfig decodes a process's configuration. An unknown or misspelt field is an error with its place.
func readConfig(path string, into any) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	err = yaml.NewDecoder(f, yaml.Strict()).Decode(into)
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("read configuration %s: the file is empty", path)
	}
	if at := yaml.Error(nil); errors.As(err, &at) && at.GetToken() != nil {
		place := at.GetToken().Position
		return fmt.Errorf("read configuration: %s:%d:%d: %s", path, place.Line, place.Column, at.GetMessage())
	}
	if err != nil {
		return fmt.Errorf("read configuration %s: %w", path, err)
	}
	return nil
}

// storeConfig is a site's S3 bucket in a configuration file. The keys are in a file of their own, so that the rest can
// be shown to anybody.
type storeConfig struct {
	Endpoint    string `yaml:"endpoint"`
	Bucket      string `yaml:"bucket"`
	Region      string `yaml:"region"`
	Credentials string `yaml:"credentials"`
}

type storeKeys struct {
	AccessKey string `yaml:"access_key"`
	SecretKey string `yaml:"secret_key"`
}

func readStoreKeys(path string) (storeKeys, error) {
	var keys storeKeys
	if err := readConfig(path, &keys); err != nil {
		return keys, err
	}
	if keys.AccessKey == "" || keys.SecretKey == "" {
		return keys, fmt.Errorf("read store credentials %s: access_key and secret_key are required", path)
	}
	return keys, nil
}

func (s storeConfig) open() (replicator.StoreConfig, error) {
	keys, err := readStoreKeys(s.Credentials)
	if err != nil {
		return replicator.StoreConfig{}, err
	}
	return replicator.StoreConfig{
		Endpoint: s.Endpoint, Bucket: s.Bucket, Region: s.Region, AccessKey: keys.AccessKey, SecretKey: keys.SecretKey,
	}, nil
}

// newLogger is what every process logs with: text on standard error, which systemd keeps.
func newLogger() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, nil))
}

// leaderClient is how agents, gateways and workers reach the leader: by any coordinator, nearest first.
func leaderClient(coordinators []string, credentials *identity.Credentials, log *slog.Logger) (*api.Client, error) {
	return api.NewClient(api.ClientConfig{Coordinators: coordinators, Credentials: credentials, Logger: log})
}

// retryPause is how long a process waits before it asks again when no coordinator answers.
const retryPause = time.Second

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
