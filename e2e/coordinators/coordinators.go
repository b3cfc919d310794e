// Package coordinators runs real drp server processes as one cluster: those that the chaos runs torment, and those that
// the benchmarks measure. Where they run (a network, a disk) is the caller's.
package coordinators

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"filippo.io/age"
	"github.com/goccy/go-yaml"

	"drp/orchestrator/api"
	"drp/raftstore/identity"
)

// Ports of each coordinator.
const (
	RaftPort = "7400"
	APIPort  = "7443"
)

const validity = 24 * time.Hour

// Config says what to run and where.
type Config struct {
	Program string  // drp
	Dir     string  // for certificates, configuration and logs
	Places  []Place // one for each coordinator
	// Enter runs start with a process of this coordinator about to begin: in another network, say. Nil: here.
	Enter func(place int, start func() error) error
}

// Place is where one coordinator is.
type Place struct {
	Name    string
	Address string // IP address at which the others reach it
	Listen  string // IP address that it listens at; empty: Address
	Data    string // its data directory
	Client  string // IP address at which clients reach it; empty: Address
}

// Cluster is a set of coordinators.
type Cluster struct {
	Nodes     []*Node
	cfg       Config
	authority *identity.Authority
	sealedTo  []age.Recipient // the coordinators, and a key that is kept offline
}

// New writes what coordinators need before their first start. None runs yet.
func New(cfg Config) (*Cluster, error) {
	authority, err := identity.NewAuthority("7d1f6e0a-2f1b-4c55-9d3e-5a0c1e8b7f42")
	if err != nil {
		return nil, err
	}
	offline, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, fmt.Errorf("make offline key: %w", err)
	}
	c := &Cluster{cfg: cfg, authority: authority, sealedTo: []age.Recipient{offline.Recipient()}}
	recipients := []string{offline.Recipient().String()}
	var keys []*age.X25519Identity
	for range cfg.Places {
		key, err := age.GenerateX25519Identity()
		if err != nil {
			return nil, fmt.Errorf("make coordinator's key: %w", err)
		}
		keys, recipients = append(keys, key), append(recipients, key.Recipient().String())
		c.sealedTo = append(c.sealedTo, key.Recipient())
	}
	for i, p := range cfg.Places {
		n := newNode(c, i, p)
		if err := n.configure(keys[i], recipients); err != nil {
			return nil, fmt.Errorf("configure coordinator %s: %w", p.Name, err)
		}
		c.Nodes = append(c.Nodes, n)
	}
	return c, nil
}

type peer struct {
	Name string `yaml:"name"`
	Site string `yaml:"site"`
	Raft string `yaml:"raft"`
	API  string `yaml:"api"`
}

type serverFile struct {
	Name         string            `yaml:"name"`
	Site         string            `yaml:"site"`
	Data         string            `yaml:"data"`
	Raft         string            `yaml:"raft"`
	API          string            `yaml:"api"`
	Socket       string            `yaml:"socket"`
	Peers        []peer            `yaml:"peers"`
	Certificates map[string]string `yaml:"certificates"`
	AgeIdentity  string            `yaml:"age_identity"`
	Recipients   []string          `yaml:"recipients"`
}

func (n *Node) configure(key *age.X25519Identity, recipients []string) error {
	if err := os.MkdirAll(n.dir, 0o700); err != nil {
		return err
	}
	certificate, private, err := n.cluster.authority.Issue(identity.Coordinator, n.place.Name, []string{n.place.Address}, validity)
	if err != nil {
		return err
	}
	file := serverFile{
		Name: n.place.Name, Site: siteOf(n.place.Name), Data: n.place.Data,
		Raft: net.JoinHostPort(n.place.Listen, RaftPort), API: net.JoinHostPort(n.place.Listen, APIPort),
		Socket: filepath.Join(n.dir, "sock"), AgeIdentity: filepath.Join(n.dir, "age.key"), Recipients: recipients,
		Certificates: map[string]string{
			"certificate": filepath.Join(n.dir, "tls.pem"), "key": filepath.Join(n.dir, "tls.key"), "authority": filepath.Join(n.dir, "ca.pem"),
		},
	}
	for _, p := range n.cluster.cfg.Places {
		file.Peers = append(file.Peers, peer{
			Name: p.Name, Site: siteOf(p.Name), Raft: net.JoinHostPort(p.Address, RaftPort), API: "https://" + net.JoinHostPort(p.Address, APIPort),
		})
	}
	text, err := yaml.Marshal(file)
	if err != nil {
		return err
	}
	for name, data := range map[string][]byte{
		"tls.pem": certificate, "tls.key": private, "ca.pem": n.cluster.authority.CertificatePEM(),
		"age.key": []byte(key.String() + "\n"), "server.yaml": text,
	} {
		if err := os.WriteFile(filepath.Join(n.dir, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// siteOf gives each coordinator a site of its own.
func siteOf(name string) string { return "site-" + name }

// Init readies the data directories of all coordinators for their first start.
func (c *Cluster) Init(ctx context.Context) error {
	for _, n := range c.Nodes {
		out, err := exec.CommandContext(ctx, c.cfg.Program, "server", "init", "--config", n.config()).CombinedOutput()
		if err != nil {
			return fmt.Errorf("init coordinator %s: %w: %s", n.place.Name, err, out)
		}
	}
	return nil
}

// Seal seals a secret as coordinators did before they had a keyring.
func (c *Cluster) Seal(plain []byte) ([]byte, error) {
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, c.sealedTo...)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	if _, err := w.Write(plain); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return sealed.Bytes(), nil
}

// Start begins all coordinators.
func (c *Cluster) Start() error {
	for _, n := range c.Nodes {
		if err := n.Start(); err != nil {
			return err
		}
	}
	return nil
}

// Kill ends all coordinators, at once.
func (c *Cluster) Kill() {
	for _, n := range c.Nodes {
		n.signalKill()
	}
	for _, n := range c.Nodes {
		n.Kill()
	}
}

// Operator makes a client with an operator's certificate. It asks these coordinators in this order.
func (c *Cluster) Operator(name string, patience time.Duration, order ...int) (*api.Client, error) {
	certificate, key, err := c.authority.Issue(identity.Operator, name, nil, validity)
	if err != nil {
		return nil, err
	}
	credentials, err := identity.New(certificate, key, c.authority.CertificatePEM())
	if err != nil {
		return nil, err
	}
	return api.NewClient(api.ClientConfig{Coordinators: c.urls(order), Credentials: credentials, Patience: patience})
}

// Bearer makes a client that shows a token.
func (c *Cluster) Bearer(token string, patience time.Duration, order ...int) (*api.Client, error) {
	credentials, err := identity.Anonymous(c.authority.CertificatePEM())
	if err != nil {
		return nil, err
	}
	return api.NewClient(api.ClientConfig{Coordinators: c.urls(order), Credentials: credentials, Token: token, Patience: patience})
}

func (c *Cluster) urls(order []int) []string {
	var urls []string
	for _, i := range order {
		urls = append(urls, "https://"+net.JoinHostPort(c.Nodes[i].place.Client, APIPort))
	}
	return urls
}

// Logs are the ends of what the coordinators wrote, for whoever looks into a failure.
func (c *Cluster) Logs() error {
	var all []error
	for _, n := range c.Nodes {
		all = append(all, fmt.Errorf("%s: %s", n.place.Name, n.log()))
	}
	return errors.Join(all...)
}
