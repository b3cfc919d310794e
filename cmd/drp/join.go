package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"drp/orchestrator"
	"drp/orchestrator/api"
	"drp/orchestrator/certificates"
	"drp/raftstore/identity"
)

const joinLong = `Get a first certificate, with a one-time token that drp ca enrol made.

The key is made here and never leaves this machine. The platform is known by the fingerprint of its root: nothing is told to
a coordinator that cannot prove to be one of that platform. When no answer comes the same command can be typed again.`

// joiner is one newcomer.
type joiner struct {
	role                    identity.Role
	dir, token, fingerprint string
	coordinators            []string
	replace                 bool
	raft, api               string // of a coordinator
	patience                time.Duration
	connection              *connection
	out                     io.Writer
}

func newJoinCommand(role identity.Role, c *connection) *cobra.Command {
	j := joiner{role: role, connection: c}
	cmd := &cobra.Command{
		Use: "join", Short: "Get a first certificate with a one-time token", Long: joinLong, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			j.out, j.patience = cmd.OutOrStdout(), c.patience
			return j.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&j.coordinators, "coordinator", nil, "`URL` of a coordinator, https://HOST:PORT; may be repeated")
	f.StringVar(&j.token, "token", "", "the one-time `token`; better in $DRP_TOKEN or --token-file, where no other user of this machine sees it")
	f.StringVar(&j.fingerprint, "fingerprint", "", "SHA-256 `fingerprint` of the platform's root, as drp ca enrol printed it")
	f.StringVar(&j.dir, "dir", joinDir(role), "`directory` for certificate, key and root")
	f.BoolVar(&j.replace, "replace", false, "replace the identity that this machine has")
	if role == identity.Coordinator {
		f.StringVar(&j.raft, "raft", "", "`HOST:PORT` at which the other coordinators reach this one")
		f.StringVar(&j.api, "api", "", "`URL` at which everybody reaches its API, https://HOST:PORT")
		_ = cmd.MarkFlagRequired("raft")
		_ = cmd.MarkFlagRequired("api")
	}
	_ = cmd.MarkFlagRequired("coordinator")
	_ = cmd.MarkFlagRequired("fingerprint")
	return cmd
}

func joinDir(role identity.Role) string {
	if role == identity.Operator {
		if dir, err := os.UserConfigDir(); err == nil {
			return filepath.Join(dir, "drp")
		}
	}
	return etc
}

// newOperatorCommand is for people: they have certificates too.
func newOperatorCommand(c *connection) *cobra.Command {
	cmd := &cobra.Command{Use: "operator", Short: "The certificate of a person: get one, and renew it", RunE: group}
	renew := &cobra.Command{
		Use: "renew", Short: "Replace the certificate that is shown by the next one, good for 30 days", Args: cobra.NoArgs,
		RunE: c.run(func(cmd *cobra.Command, client *api.Client, _ []string) error {
			if c.certificate == "" {
				return usageError{errors.New("give --certificate, --key and --authority: those are renewed")}
			}
			credentials, err := identity.Load(c.files())
			if err != nil {
				return usageError{err}
			}
			credentials.SetLogger(slog.New(slog.DiscardHandler)) // this command says it
			if err := (&identity.Renewer{Credentials: credentials, Ask: client.Renew}).Renew(cmd.Context()); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "the certificate of %s is good %s\n", credentials.Identity(), validFor(credentials.Certificate().NotAfter))
			return nil
		}),
	}
	cmd.AddCommand(newJoinCommand(identity.Operator, c), renew)
	return cmd
}

func (j *joiner) base() string {
	if j.role == identity.Coordinator {
		return "server"
	}
	return string(j.role)
}

func (j *joiner) files() identity.Files {
	in := func(name string) string { return filepath.Join(j.dir, name) }
	return identity.Files{Certificate: in(j.base() + ".pem"), Key: in(j.base() + ".key"), Authority: in(identity.RootName)}
}

func (j *joiner) run(ctx context.Context) error {
	token, err := j.secret()
	if err != nil {
		return usageError{err}
	}
	if j.role == identity.Coordinator { // before the token is used up
		if err := orchestrator.CheckPlace(j.raft, j.api); err != nil {
			return usageError{fmt.Errorf("join: %w", err)}
		}
	}
	if j.dir, err = filepath.Abs(j.dir); err != nil { // what is printed and written is used from anywhere
		return fmt.Errorf("join: %w", err)
	}
	mode := fs.FileMode(0o755)
	if j.role == identity.Operator {
		mode = 0o700
	}
	if err := os.MkdirAll(j.dir, mode); err != nil {
		return fmt.Errorf("join: make directory: %w", err)
	}
	if err := j.files().Free(j.replace); err != nil {
		return usageError{fmt.Errorf("join: %w", err)}
	}
	client, err := j.client(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	key, err := kept(filepath.Join(j.dir, "."+j.base()+".joining"), func() ([]byte, error) {
		_, key, err := identity.NewRequest()
		return key, err
	})
	if err != nil {
		return err
	}
	request, err := identity.RequestFor(key)
	if err != nil {
		return err
	}
	recipient := ""
	if j.role == identity.Coordinator {
		if recipient, err = j.recipient(); err != nil {
			return err
		}
	}
	joined, err := client.Enrol(ctx, certificates.EnrolRequest{Token: token, Role: j.role, Request: string(request)})
	if err != nil {
		return err
	}
	return j.take(joined, key, recipient)
}

func (j *joiner) secret() (string, error) {
	token := j.token
	if token == "" {
		var err error
		if token, err = j.connection.token(); err != nil {
			return "", err
		}
	}
	switch {
	case token == "":
		return "", errors.New("join: no token: drp ca enrol prints what to type here")
	case !strings.HasPrefix(token, "drpe_"):
		return "", errors.New("join: this is not a token to join with, which begins with drpe_; drp ca enrol makes one")
	}
	return token, nil
}

// client knows the root by its fingerprint before it tells anybody anything.
func (j *joiner) client(ctx context.Context) (*api.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, max(j.patience, time.Second))
	defer cancel()
	var root []byte
	var last error
	for _, u := range j.coordinators {
		if root, last = api.FetchRoot(ctx, u, j.fingerprint); last == nil {
			break
		}
		if errors.Is(last, api.ErrForbidden) {
			return nil, last // not the platform: asking the next one would hide that
		}
	}
	if last != nil {
		return nil, fmt.Errorf("join: %w", last)
	}
	trust, err := identity.Anonymous(root)
	if err != nil {
		return nil, err
	}
	return api.NewClient(api.ClientConfig{Coordinators: j.coordinators, Credentials: trust, Patience: j.patience, Moved: j.connection.moved})
}

// kept reads a secret that an earlier try left, or makes one: a token is good for one key.
func kept(path string, make func() ([]byte, error)) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err == nil {
		return data, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("join: %w", err)
	}
	if data, err = make(); err != nil {
		return nil, err
	}
	if err := identity.WriteFile(path, data, 0o600); err != nil {
		return nil, fmt.Errorf("join: keep key: %w", err)
	}
	return data, nil
}

// recipient is to whom the platform seals for this coordinator.
func (j *joiner) recipient() (string, error) {
	file := filepath.Join(j.dir, "age.key")
	_, err := kept(file, func() ([]byte, error) {
		own, err := age.GenerateX25519Identity()
		if err != nil {
			return nil, err
		}
		return []byte(own.String() + "\n"), nil
	})
	if err != nil {
		return "", err
	}
	own, err := ownRecipient(file)
	if err != nil {
		return "", fmt.Errorf("join: %w", err)
	}
	return own, nil
}

// take writes what was handed out, and says what is next.
func (j *joiner) take(joined *certificates.Enrolled, key []byte, recipient string) error {
	credentials, err := identity.New([]byte(joined.Certificate), key, []byte(joined.Authority))
	if err != nil {
		return fmt.Errorf("join: %w", err)
	}
	if err := j.files().WriteNew([]byte(joined.Certificate), key, []byte(joined.Authority), j.replace); err != nil {
		return fmt.Errorf("join: %w", err)
	}
	if err := os.Remove(filepath.Join(j.dir, "."+j.base()+".joining")); err != nil {
		return fmt.Errorf("join: %w", err)
	}
	if _, _, err := credentials.VerifyLeaf([]byte(joined.Certificate)); err != nil {
		return fmt.Errorf("the certificate is in %s, but is no good on this machine: %w: %s", j.files().Certificate, err, clockHint(credentials.Certificate()))
	}
	who, renewal := "this machine is", "; it renews by itself while it runs"
	if j.role == identity.Operator {
		who, renewal = "you are", ""
	}
	fmt.Fprintf(j.out, "%s %s/%s, %s%s\n", who, joined.Role, clean(joined.Holder), validFor(credentials.Certificate().NotAfter), renewal)
	return j.explain(joined, recipient)
}

func clockHint(c *x509.Certificate) string {
	if now := time.Now(); now.Before(c.NotBefore) || now.After(c.NotAfter) {
		return "set the clock here (it says " + now.UTC().Format(time.RFC3339) + "), nothing else is to do"
	}
	return "look at the clocks of this machine and of the coordinators"
}

func (j *joiner) explain(joined *certificates.Enrolled, recipient string) error {
	files := j.files()
	switch j.role {
	case identity.Operator:
		fmt.Fprintf(j.out, "export DRP_SERVERS=%s DRP_CERTIFICATE=%s DRP_KEY=%s DRP_AUTHORITY=%s\n",
			clean(strings.Join(joined.Coordinators, ",")), files.Certificate, files.Key, files.Authority)
		fmt.Fprintln(j.out, "Renew it before it ends: drp operator renew")
		return nil
	case identity.Coordinator:
		return j.explainServer(joined, recipient)
	}
	lines, err := yaml.Marshal(struct {
		Coordinators []string       `yaml:"coordinators"`
		Certificates identity.Files `yaml:"certificates"`
	}{joined.Coordinators, files})
	if err != nil {
		return err
	}
	fmt.Fprintf(j.out, "in %s:\n%s", filepath.Join(j.dir, j.base()+".yaml"), lines)
	return nil
}

// explainServer writes a first configuration where there is none: a coordinator has to know of all others.
func (j *joiner) explainServer(joined *certificates.Enrolled, recipient string) error {
	self := peerConfig{Name: joined.Holder, Site: string(joined.Site), Raft: j.raft, API: j.api, Recipient: recipient}
	var peers []peerConfig
	recipients := slices.Clone(joined.Recipients)
	for _, m := range joined.Others {
		if m.Name != self.Name {
			peers = append(peers, peerConfig{Name: m.Name, Site: string(m.Site), Raft: m.Raft, API: m.API, Recipient: m.Recipient})
		}
	}
	peers = append(peers, self)
	recipients = append(recipients, recipient)
	slices.Sort(recipients)
	recipients = slices.DeleteFunc(slices.Compact(recipients), func(r string) bool { return r == "" })
	slices.SortFunc(peers, func(a, b peerConfig) int { return cmp.Compare(a.Name, b.Name) })
	config := newServerConfig(self, j.dir, peers, recipients, "")
	text, err := yaml.Marshal(config)
	if err != nil {
		return err
	}
	path := filepath.Join(j.dir, "server.yaml")
	if _, err := os.Lstat(path); err == nil {
		fmt.Fprintf(j.out, "%s is there and was left as it is; it needs:\n%s", path, text)
	} else if err := identity.WriteFile(path, text, 0o644); err != nil {
		return fmt.Errorf("join: write configuration: %w", err)
	}
	fmt.Fprintf(j.out, "Look at %s; it votes and knows nothing yet. Next, as the user that it runs as: drp server init --join --config %s\n", path, path)
	return nil
}
