package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"drp/orchestrator"
	"drp/orchestrator/api"
	"drp/raftstore/identity"
)

const (
	defaultSocket = "/run/drp/server.sock"
	// patience is how long a command goes on asking while nobody answers or leads: an election after the loss of a
	// site takes seconds, and a person who types at that moment should not have to type twice.
	patience = 20 * time.Second
)

// connection says how commands reach coordinators, and how they print.
type connection struct {
	sockets, servers            []string
	certificate, key, authority string
	tokenFile                   string
	json                        bool
	patience                    time.Duration
	stale                       bool // reads are answered by the coordinator that is asked
	// notice prints one line about the connection itself. Nil: to stderr.
	notice func(string)
}

func (c *connection) addFlags(f *pflag.FlagSet) {
	f.StringSliceVar(&c.sockets, "socket", nil, "a coordinator's local `socket`; may be repeated ($DRP_SOCKET; default "+defaultSocket+" where it exists)")
	f.StringSliceVar(&c.servers, "server", nil, "a coordinator's `URL` https://HOST:PORT; may be repeated, nearest first ($DRP_SERVERS)")
	f.StringVar(&c.certificate, "certificate", os.Getenv("DRP_CERTIFICATE"), "`file` with the certificate to show ($DRP_CERTIFICATE)")
	f.StringVar(&c.key, "key", os.Getenv("DRP_KEY"), "`file` with its key ($DRP_KEY)")
	f.StringVar(&c.authority, "authority", os.Getenv("DRP_AUTHORITY"), "`file` with the platform's authority certificate ($DRP_AUTHORITY)")
	f.StringVar(&c.tokenFile, "token-file", "", "`file` with the token to show ($DRP_TOKEN has a token itself)")
	f.BoolVar(&c.json, "json", false, "print JSON")
	f.DurationVar(&c.patience, "patience", patience, "how long to go on asking while no coordinator answers or leads")
}

// client makes the client that a command asks with.
func (c *connection) client() (*api.Client, error) {
	coordinators, err := c.coordinators()
	if err != nil {
		return nil, err
	}
	token, err := c.token()
	if err != nil {
		return nil, usageError{err}
	}
	credentials, err := c.credentials(token)
	if err != nil {
		return nil, usageError{err}
	}
	client, err := api.NewClient(api.ClientConfig{
		Coordinators: coordinators, Credentials: credentials, Token: token, Patience: c.patience, Moved: c.moved,
	})
	if err != nil {
		return nil, usageError{err}
	}
	return client, nil
}

func (c *connection) moved(from, to string, cause error) {
	c.say(fmt.Sprintf("coordinator %s has no answer (%v); now asking %s", from, cause, to))
}

func (c *connection) say(line string) {
	if c.notice != nil {
		c.notice(line)
		return
	}
	fmt.Fprintln(os.Stderr, "drp: "+clean(line))
}

// coordinators are those of the flags; without any those of the environment; without any the local socket.
func (c *connection) coordinators() ([]string, error) {
	sockets, servers := c.sockets, c.servers
	if len(sockets)+len(servers) == 0 {
		sockets, servers = split(os.Getenv("DRP_SOCKET")), split(os.Getenv("DRP_SERVERS"))
	}
	if len(sockets)+len(servers) == 0 {
		if _, err := os.Stat(defaultSocket); err == nil {
			sockets = []string{defaultSocket}
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("look for the local socket: %w", err)
		}
	}
	var all []string
	for _, s := range sockets {
		path := strings.TrimPrefix(s, "unix://")
		if !strings.HasPrefix(path, "/") {
			return nil, usageError{fmt.Errorf("socket %q: want an absolute path", s)}
		}
		all = append(all, "unix://"+path)
	}
	all = append(all, servers...)
	if len(all) == 0 {
		return nil, usageError{fmt.Errorf("no coordinator is known here: give --socket PATH, or --server https://HOST:PORT with --certificate, --key and --authority")}
	}
	return all, nil
}

func split(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

func (c *connection) token() (string, error) {
	if c.tokenFile == "" {
		return strings.TrimSpace(os.Getenv("DRP_TOKEN")), nil
	}
	b, err := os.ReadFile(c.tokenFile)
	if err != nil {
		return "", fmt.Errorf("read token: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

func (c *connection) credentials(token string) (*identity.Credentials, error) {
	switch {
	case c.certificate != "" || c.key != "":
		if c.certificate == "" || c.key == "" || c.authority == "" {
			return nil, errors.New("--certificate, --key and --authority go together")
		}
		return identity.Load(identity.Files{Certificate: c.certificate, Key: c.key, Authority: c.authority})
	case c.authority != "":
		if token == "" {
			return nil, errors.New("--authority alone says whom to trust, not who you are: give a certificate or a token too")
		}
		pem, err := os.ReadFile(c.authority)
		if err != nil {
			return nil, fmt.Errorf("read authority: %w", err)
		}
		return identity.Anonymous(pem)
	}
	return nil, nil
}

// run makes a command's function that has a client.
func (c *connection) run(f func(cmd *cobra.Command, client *api.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		client, err := c.client()
		if err != nil {
			return err
		}
		defer client.Close()
		if c.stale {
			client = client.Stale(func(m orchestrator.StaleMark) { printStaleMark(cmd, m, c.json) })
		}
		return f(cmd, client, args)
	}
}

// newID makes the id under which a request may be repeated.
func newID() string { return uuid.NewString() }

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
