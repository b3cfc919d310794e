// Package scenario plays an operator, customers and their visitors on a platform in the lab. The demo and the tests
// from end to end are told in its words.
package scenario

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"drp/e2e/lab"
	"drp/orchestrator"
	"drp/raftstore/state"
)

// Platform is a lab, the CLI that talks to it, and a client outside of it.
type Platform struct {
	Lab    *lab.Lab
	Binary string // drp
	client *http.Client
}

// New takes a lab that is up.
func New(l *lab.Lab, binary string) *Platform {
	return &Platform{Lab: l, Binary: binary, client: l.Client()}
}

// CommandError is a drp command that did not exit 0.
type CommandError struct {
	Args     []string
	Code     int
	Messages string
}

func (e *CommandError) Error() string {
	return fmt.Sprintf("drp %s: exit code %d: %s", strings.Join(e.Args, " "), e.Code, e.Messages)
}

// Command is a drp command of an operator: the ordinary CLI, through the coordinators' local sockets.
func (p *Platform) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, p.Binary, args...)
	cmd.Env = append(os.Environ(), "DRP_SOCKET="+p.Lab.Sockets())
	return cmd
}

// Run runs a drp command and returns what it printed.
func (p *Platform) Run(ctx context.Context, args ...string) (string, error) {
	cmd := p.Command(ctx, args...)
	var out, messages bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &messages
	if err := cmd.Run(); err != nil {
		return out.String(), &CommandError{Args: args, Code: cmd.ProcessState.ExitCode(), Messages: strings.TrimSpace(messages.String())}
	}
	return out.String(), nil
}

// Status is drp status.
func (p *Platform) Status(ctx context.Context) (*orchestrator.StatusReport, error) {
	report := &orchestrator.StatusReport{}
	err := p.decode(ctx, report, "status", "--json")
	return report, err
}

// Snapshots are an account's, newest first.
func (p *Platform) Snapshots(ctx context.Context, account string) ([]*state.Snapshot, error) {
	var list []*state.Snapshot
	err := p.decode(ctx, &list, "snapshots", account, "--json")
	return list, err
}

func (p *Platform) decode(ctx context.Context, into any, args ...string) error {
	out, err := p.Run(ctx, args...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		return fmt.Errorf("read drp %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// Until asks until there is no error, or ctx ends; then it returns the last error. It is how everything here waits.
func Until(ctx context.Context, ask func(context.Context) error) error {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return last
		case <-tick.C:
		}
	}
}

// Within is Until with a limit of its own.
func Within(ctx context.Context, limit time.Duration, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return Until(ctx, ask)
}

// Get fetches a page of an account as a visitor of the internet would.
func (p *Platform) Get(ctx context.Context, address netip.Addr, path string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://["+address.String()+"]"+path, nil)
	if err != nil {
		return "", err
	}
	return answer(p.client, request)
}

func answer(client *http.Client, request *http.Request) (string, error) {
	ctx, cancel := context.WithTimeout(request.Context(), 5*time.Second)
	defer cancel()
	response, err := client.Do(request.WithContext(ctx))
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 16<<20))
	if err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s %s: %s", request.Method, request.URL, response.Status)
	}
	return string(body), nil
}

// CheckCopies runs restic check --read-data straight at a site's store, on each account's repository.
func (p *Platform) CheckCopies(ctx context.Context, site string, passwords map[string]string) error {
	for account, password := range passwords {
		if err := p.restic(ctx, site, account, password, "check", "--read-data"); err != nil {
			return err
		}
	}
	return nil
}

// RestoreByHand restores a snapshot straight from a site's store into a new folder of this machine.
func (p *Platform) RestoreByHand(ctx context.Context, site, account, password string, id state.SnapshotID, into string) error {
	store, err := p.Lab.Store(site)
	if err != nil {
		return err
	}
	inside := filepath.Join("/tmp", filepath.Base(into))
	if err := p.restic(ctx, site, account, password, "restore", string(id), "--target", inside); err != nil {
		return err
	}
	return os.CopyFS(into, os.DirFS(filepath.Join(p.Lab.Root(store.Host), inside)))
}

// restic runs inside a site's data host, since its store listens there, and without a cache, which would answer for
// what the store has lost. A key file that is exchanged in this moment is listed, and then gone: restic gives up where another look would do.
func (p *Platform) restic(ctx context.Context, site, account, password string, args ...string) error {
	store, err := p.Lab.Store(site)
	if err != nil {
		return err
	}
	command := append([]string{"env",
		"AWS_ACCESS_KEY_ID=" + store.AccessKey, "AWS_SECRET_ACCESS_KEY=" + store.SecretKey, "AWS_DEFAULT_REGION=" + store.Region,
		"RESTIC_PASSWORD=" + password, filepath.Join(p.Lab.State(), "bin", "restic"),
		"--no-cache", "--no-lock", "-r", "s3:" + store.Endpoint + "/" + store.Bucket + "/" + account}, args...)
	out, err := p.Lab.Exec(ctx, store.Host, command...)
	for again := 0; again < 3 && err == nil && out.Status != 0 && keyGone.Match(out.Stderr); again++ {
		out, err = p.Lab.Exec(ctx, store.Host, command...)
	}
	if err != nil {
		return fmt.Errorf("restic %s of %s at %s: %w", args[0], account, site, err)
	}
	if out.Status != 0 {
		return fmt.Errorf("restic %s of %s at %s: exit status %d: %s%s", args[0], account, site, out.Status, out.Stdout, out.Stderr)
	}
	return nil
}

var keyGone = regexp.MustCompile(`Load\(<key/[0-9a-f]+>, 0, 0\) failed: The specified key does not exist`)
