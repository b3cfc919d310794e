package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"
	"github.com/goccy/go-yaml"
	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"drp/orchestrator/certificates"
	"drp/raftstore/identity"
)

const caInitLong = `Make the certificates of a new platform: a root, whose key is encrypted to the --recipient's and is not needed from day to day; an
issuing authority, whose key only the coordinators can open; and a folder for each of the first coordinators.

Make the offline key first, on a machine that is on no network: age-keygen -o offline.key. Its recipient is the age1… that
age-keygen prints. Give two, kept in two places.`

const (
	defaultRaftPort = "7400"
	defaultAPIPort  = "7443"
	etc             = "/etc/drp"
)

type caInit struct {
	dir, cluster             string
	recipients, coordinators []string
}

func newCAInitCommand() *cobra.Command {
	var i caInit
	cmd := &cobra.Command{
		Use: "init", Short: "Make the certificates of a new platform", Long: caInitLong, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return i.run(cmd.OutOrStdout()) },
	}
	f := cmd.Flags()
	f.StringVar(&i.dir, "dir", "", "`directory` to make")
	f.StringArrayVar(&i.recipients, "recipient", nil, "offline `recipient` age1…, who can open the root and everything that coordinators seal; may be repeated")
	f.StringArrayVar(&i.coordinators, "coordinator", nil, "a first coordinator, `NAME[@SITE]=HOST[,HOST…]`; may be repeated. The first HOST is where the others reach it; the site is NAME where none is given")
	f.StringVar(&i.cluster, "cluster", "", "make another root for the `cluster` that there is, because the key of its root was lost")
	for _, name := range []string{"dir", "recipient"} {
		_ = cmd.MarkFlagRequired(name)
	}
	return cmd
}

// firstCoordinator is one that is there from the beginning.
type firstCoordinator struct {
	name, site string
	hosts      []string
	age        *age.X25519Identity
}

func (f firstCoordinator) peer() peerConfig {
	return peerConfig{Name: f.name, Site: f.site, Raft: net.JoinHostPort(f.hosts[0], defaultRaftPort),
		API: "https://" + net.JoinHostPort(f.hosts[0], defaultAPIPort), Recipient: f.age.Recipient().String()}
}

func (i *caInit) run(out io.Writer) error {
	coordinators, err := i.parse()
	if err != nil {
		return usageError{err}
	}
	if err := absent(i.dir); err != nil {
		return err
	}
	// Made beside it and renamed, so that there is all of it or nothing.
	if err := os.MkdirAll(filepath.Dir(filepath.Clean(i.dir)), 0o755); err != nil {
		return fmt.Errorf("make authority: %w", err)
	}
	draft, err := os.MkdirTemp(filepath.Dir(filepath.Clean(i.dir)), ".drp-ca-*")
	if err != nil {
		return fmt.Errorf("make authority: %w", err)
	}
	defer os.RemoveAll(draft) // gone already when all went well
	fingerprint, err := i.make(draft, coordinators)
	if err != nil {
		return err
	}
	_ = os.Remove(i.dir) // an empty one
	if err := os.Rename(draft, i.dir); err != nil {
		return fmt.Errorf("make authority: %w", err)
	}
	i.explain(out, coordinators, fingerprint)
	return nil
}

func (i *caInit) parse() ([]firstCoordinator, error) {
	for _, r := range i.recipients {
		if _, err := identity.ParseAgeRecipient(r); err != nil {
			return nil, err
		}
	}
	if i.cluster != "" {
		if len(i.coordinators) > 0 {
			return nil, errors.New("--cluster makes a root for a cluster that has coordinators: give no --coordinator with it")
		}
		return nil, nil
	}
	if len(i.coordinators) == 0 {
		return nil, errors.New("give the first coordinators: --coordinator NAME@SITE=HOST, three of them at three sites")
	}
	var list []firstCoordinator
	seen := map[string]bool{}
	for _, text := range i.coordinators {
		who, hosts, ok := strings.Cut(text, "=")
		name, site, given := strings.Cut(who, "@")
		if !given {
			site = name
		}
		f := firstCoordinator{name: name, site: site, hosts: strings.Split(hosts, ",")}
		if !ok || name == "" || site == "" || hosts == "" || strings.ContainsAny(name, "/\\ .") {
			return nil, fmt.Errorf("coordinator %q: want NAME[@SITE]=HOST[,HOST…]", text)
		}
		for _, h := range f.hosts {
			if err := checkHost(h); err != nil {
				return nil, fmt.Errorf("coordinator %q: %w", text, err)
			}
		}
		if err := certificates.CheckHolder(identity.Coordinator, name); err != nil {
			return nil, fmt.Errorf("coordinator %q: %w", text, err) // it could never be enrolled again, nor revoked
		}
		for _, key := range []string{name, f.hosts[0]} {
			if seen[key] {
				return nil, fmt.Errorf("coordinator %q: %s is given twice", text, key)
			}
			seen[key] = true
		}
		var err error
		if f.age, err = age.GenerateX25519Identity(); err != nil {
			return nil, err
		}
		list = append(list, f)
	}
	return list, nil
}

// checkHost refuses what is no host alone: ports are added to it, and certificates compare it.
func checkHost(host string) error {
	if ip, err := netip.ParseAddr(host); err == nil && !ip.IsUnspecified() {
		return nil
	} else if err == nil {
		return fmt.Errorf("host %q: the others cannot reach it there", host)
	}
	if host == "" || strings.ContainsAny(host, ":/[]@ ") {
		return fmt.Errorf("host %q: want a name or an IP address, without scheme, brackets and port (they are %s for Raft and %s for the API; change server.yaml for others)",
			host, defaultRaftPort, defaultAPIPort)
	}
	return nil
}

// absent refuses where anything is: an authority that is written over is a platform that nobody can join any more.
func absent(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("make authority: %w", err)
	}
	for _, e := range entries {
		if e.Name() == identity.RootName {
			return fmt.Errorf("%s holds an authority already: with another one nothing of its platform would trust what is made here. "+
				"For a new platform give another directory", dir)
		}
	}
	return fmt.Errorf("%s is not empty (it holds %s): give a directory that does not exist yet", dir, entries[0].Name())
}

func (i *caInit) make(dir string, coordinators []firstCoordinator) (fingerprint string, err error) {
	cluster := i.cluster
	if cluster == "" {
		cluster = uuid.NewString()
	}
	root, err := identity.NewAuthority(cluster)
	if err != nil {
		return "", err
	}
	if err := root.SaveOffline(dir, i.recipients); err != nil {
		return "", err
	}
	fingerprint = identity.Fingerprint(root.Certificate())
	if len(coordinators) == 0 {
		return fingerprint, nil
	}
	issuing, err := root.NewIssuing()
	if err != nil {
		return "", err
	}
	var recipients []string
	var peers []peerConfig
	for _, f := range coordinators {
		recipients, peers = append(recipients, f.age.Recipient().String()), append(peers, f.peer())
	}
	recipients = append(recipients, i.recipients...)
	sealed, err := issuing.SealedKey(recipients)
	if err != nil {
		return "", err
	}
	issuer, err := json.MarshalIndent(certificates.IssuingAuthority{Certificate: string(issuing.CertificatePEM()), SealedKey: sealed}, "", "  ")
	if err != nil {
		return "", err
	}
	for _, f := range coordinators {
		if err := f.write(filepath.Join(dir, f.name), root, issuing, issuer, peers, recipients); err != nil {
			return "", err
		}
	}
	return fingerprint, nil
}

func (f firstCoordinator) write(dir string, root, issuing *identity.Authority, issuer []byte, peers []peerConfig, recipients []string) error {
	chain, key, err := issuing.Issue(identity.Coordinator, f.name, f.hosts, identity.MaxValidity)
	if err != nil {
		return err
	}
	config, err := yaml.Marshal(newServerConfig(f.peer(), etc, peers, recipients, filepath.Join(etc, "issuer.json")))
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("make folder of coordinator %s: %w", f.name, err)
	}
	for name, data := range map[string][]byte{
		identity.RootName: root.CertificatePEM(), "server.pem": chain, "server.key": key, "age.key": []byte(f.age.String() + "\n"),
		"issuer.json": issuer, "server.yaml": config,
	} {
		mode := fs.FileMode(0o644)
		if filepath.Ext(name) == ".key" {
			mode = 0o600
		}
		if err := identity.WriteFile(filepath.Join(dir, name), data, mode); err != nil {
			return fmt.Errorf("write folder of coordinator %s: %w", f.name, err)
		}
	}
	return nil
}

// newServerConfig is what a coordinator starts from.
func newServerConfig(self peerConfig, dir string, peers []peerConfig, recipients []string, issuer string) serverConfig {
	in := func(name string) string { return filepath.Join(dir, name) }
	_, raftPort, _ := net.SplitHostPort(self.Raft)
	_, apiPort, _ := net.SplitHostPort(strings.TrimPrefix(self.API, "https://"))
	return serverConfig{
		Name: self.Name, Site: self.Site, Data: "/var/lib/drp/server", Raft: net.JoinHostPort("::", raftPort), API: net.JoinHostPort("::", apiPort),
		Socket: defaultSocket, Peers: peers, AgeIdentity: in("age.key"), Recipients: recipients, Issuer: issuer,
		Certificates: identity.Files{Certificate: in("server.pem"), Key: in("server.key"), Authority: in(identity.RootName)},
	}
}

func (i *caInit) explain(out io.Writer, coordinators []firstCoordinator, fingerprint string) {
	fmt.Fprintf(out, "%s: root of a platform, fingerprint %s\n", i.dir, fingerprint)
	if len(coordinators) == 0 {
		fmt.Fprintf(out, `It is another root for cluster %s. Until it is on every machine, nobody trusts it:
- append %s to the root.pem of every machine, below the present one, and restart drp there, coordinators last, one at a time
- then: drp ca issuer renew --dir %s --identity OFFLINE.KEY
- when every certificate was renewed (30 days), remove the old root from each root.pem
Lock away %s, on two media.
`, clean(i.cluster), filepath.Join(i.dir, identity.RootName), i.dir, i.dir)
		return
	}
	fmt.Fprintln(out, "Copy to each coordinator, and remove from here:")
	for _, f := range coordinators {
		fmt.Fprintf(out, "- %s/* to %s:%s, readable by the coordinator's user alone; check server.yaml; then there: drp server init\n",
			filepath.Join(i.dir, f.name), f.name, etc)
	}
	fmt.Fprintf(out, `Lock away, on two media and on no machine of the platform: %s and %s.
They are needed once a year (drp ca issuer renew), and when all coordinators are lost. So is the offline key: apart from them.
`, filepath.Join(i.dir, identity.RootName), filepath.Join(i.dir, "root.key.age"))
	if len(coordinators) < 3 {
		fmt.Fprintf(out, "Note: with %d coordinators the loss of any one ends every decision; three at three sites outlive one.\n", len(coordinators))
	}
}
