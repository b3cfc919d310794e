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
	err = decodeYAML(path, f, into)
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("read configuration %s: the file is empty", path)
	}
	if at := yaml.Error(nil); errors.As(err, &at) && at.GetToken() != nil {
		place := at.GetToken().Position
		return fmt.Errorf("read configuration: %s:%d:%d: %s", path, place.Line, place.Column, at.GetMessage())
	}
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	return nil
}

// misread is what is wrong with a file, and where. It shows no line of the file: a secret may have slipped into it.
type misread struct {
	file         string
	line, column int
	message      string // the parser's; it may name a field
}

func (m misread) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", m.file, m.line, m.column, m.message)
}

func decodeYAML(path string, from io.Reader, into any) error {
	err := yaml.NewDecoder(from, yaml.Strict()).Decode(into)
	var e yaml.Error
	if !errors.As(err, &e) {
		return err
	}
	m := misread{file: path, line: 1, column: 1, message: e.GetMessage()}
	if t := e.GetToken(); t != nil && t.Position != nil {
		m.line, m.column = t.Position.Line, max(1, t.Position.Column)
	}
	return m
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
	const want = "want two lines, access_key: … and secret_key: …"
	var keys storeKeys
	f, err := os.Open(path)
	if err != nil {
		return keys, fmt.Errorf("read store credentials: %w", err)
	}
	defer f.Close()
	if err := decodeYAML(path, f, &keys); err != nil {
		m := misread{file: path, line: 1, column: 1}
		errors.As(err, &m)
		m.message = want + " (what stands there is not shown)" // the parser names what it took for a field, or a number
		return storeKeys{}, fmt.Errorf("read store credentials: %w", m)
	}
	if keys.AccessKey == "" || keys.SecretKey == "" {
		return keys, fmt.Errorf("read store credentials: %w", misread{path, 1, 1, want})
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
