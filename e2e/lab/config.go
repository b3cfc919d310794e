package lab

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"filippo.io/age"
	"github.com/goccy/go-yaml"

	"drp/e2e/lab/host"
	"drp/raftstore/identity"
)

// Ports of the platform's processes.
const (
	raftPort    = 7400
	apiPort     = 7443
	gatewayPort = 7460
	storePort   = 7480
)

const (
	region   = "us-east-1"
	validity = 30 * 24 * time.Hour // of certificates; a lab does not live longer
)

// storeKey is what opens a store, in the form of the file that processes read.
type storeKey struct {
	AccessKey string `yaml:"access_key"`
	SecretKey string `yaml:"secret_key"`
}

// storeKeys are the keys of one site's store: its root's, its site's own, and what other sites read it with.
type storeKeys struct{ root, write, read storeKey }

// secrets are made at each start and known to nobody else.
type secrets struct {
	authority  *identity.Authority
	identities map[string]*age.X25519Identity // of each coordinator
	offline    *age.X25519Identity
	stores     map[string]storeKeys // by site
}

func newSecrets(t *topology) (*secrets, error) {
	authority, err := identity.NewAuthority("drp-dev")
	if err != nil {
		return nil, err
	}
	s := &secrets{authority: authority, identities: make(map[string]*age.X25519Identity), stores: make(map[string]storeKeys)}
	if s.offline, err = age.GenerateX25519Identity(); err != nil {
		return nil, fmt.Errorf("make offline key: %w", err)
	}
	for _, h := range t.withRole(Coordinator) {
		if s.identities[h.Name], err = age.GenerateX25519Identity(); err != nil {
			return nil, fmt.Errorf("make key of %s: %w", h.Name, err)
		}
	}
	for _, h := range t.withRole(Data) {
		s.stores[h.Site] = storeKeys{root: newStoreKey(), write: newStoreKey(), read: newStoreKey()}
	}
	return s, nil
}

func newStoreKey() storeKey { return storeKey{AccessKey: "DRP" + random(8), SecretKey: random(20)} }

func random(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// recipients are everybody to whom the coordinators seal: they themselves, and the offline key.
func (s *secrets) recipients(t *topology) []string {
	var list []string
	for _, h := range t.withRole(Coordinator) {
		list = append(list, s.identities[h.Name].Recipient().String())
	}
	return append(list, s.offline.Recipient().String())
}

// writer writes configuration and remembers the first error, so that what is written reads as a list.
type writer struct {
	dir string
	err error
}

func (w *writer) file(name string, data []byte, mode os.FileMode) {
	if w.err != nil {
		return
	}
	if err := os.WriteFile(filepath.Join(w.dir, name), data, mode); err != nil {
		w.err = fmt.Errorf("write configuration: %w", err)
	}
}

func (w *writer) yaml(name string, value any, mode os.FileMode) {
	data, err := yaml.Marshal(value)
	if err != nil && w.err == nil {
		w.err = fmt.Errorf("write configuration %s: %w", name, err)
	}
	w.file(name, data, mode)
}

// certificate writes NAME.pem and NAME.key for one process of a host.
func (w *writer) certificate(s *secrets, role identity.Role, file, name string, at string) {
	cert, key, err := s.authority.Issue(role, name, []string{at}, validity)
	if err != nil && w.err == nil {
		w.err = err
	}
	w.file(file+".pem", cert, 0o644)
	w.file(file+".key", key, 0o600)
}

type (
	fileNames struct {
		Certificate string `yaml:"certificate"`
		Key         string `yaml:"key"`
		Authority   string `yaml:"authority"`
	}
	peer struct {
		Name      string `yaml:"name"`
		Site      string `yaml:"site"`
		Raft      string `yaml:"raft"`
		API       string `yaml:"api"`
		Recipient string `yaml:"recipient"`
	}
	storeConfig struct {
		Endpoint    string `yaml:"endpoint"`
		Bucket      string `yaml:"bucket"`
		Region      string `yaml:"region"`
		Credentials string `yaml:"credentials"`
	}
	sourceConfig struct {
		Site        string `yaml:"site"`
		Credentials string `yaml:"credentials"`
	}
)

func certificates(file string) fileNames {
	return fileNames{Certificate: inEtc(file + ".pem"), Key: inEtc(file + ".key"), Authority: inEtc("ca.pem")}
}

func inEtc(name string) string { return filepath.Join(hostEtc, name) }

func at(h Host, port int) string { return net.JoinHostPort(h.Address.String(), strconv.Itoa(port)) }

// configure writes what is in a host's /etc/drp.
func configure(t *topology, s *secrets, p paths, h Host) error {
	w := &writer{dir: p.etc(h.Name)}
	w.file("ca.pem", s.authority.CertificatePEM(), 0o644)
	switch h.Role {
	case Router, Transit:
		text, err := t.birdConfig(h)
		if err != nil {
			return err
		}
		w.file("bird.conf", []byte(text), 0o644)
	case Coordinator:
		t.configureCoordinator(w, s, h)
	case Data:
		t.configureData(w, s, h)
	case Server:
		t.configureServer(w, s, h)
	}
	return w.err
}

func (t *topology) configureCoordinator(w *writer, s *secrets, h Host) {
	w.certificate(s, identity.Coordinator, "server", h.Name, h.Address.String())
	w.file("age.key", []byte(s.identities[h.Name].String()+"\n"), 0o600)
	var peers []peer
	for _, c := range t.withRole(Coordinator) {
		peers = append(peers, peer{Name: c.Name, Site: c.Site, Raft: at(c, raftPort), API: "https://" + at(c, apiPort),
			Recipient: s.identities[c.Name].Recipient().String()})
	}
	w.yaml("server.yaml", struct {
		Name         string    `yaml:"name"`
		Site         string    `yaml:"site"`
		Data         string    `yaml:"data"`
		Raft         string    `yaml:"raft"`
		API          string    `yaml:"api"`
		Socket       string    `yaml:"socket"`
		Peers        []peer    `yaml:"peers"`
		Certificates fileNames `yaml:"certificates"`
		AgeIdentity  string    `yaml:"age_identity"`
		Recipients   []string  `yaml:"recipients"`
	}{h.Name, h.Site, hostData + "/server", at(h, raftPort), at(h, apiPort), hostRun + "/server.sock", peers,
		certificates("server"), inEtc("age.key"), s.recipients(t)}, 0o644)
}

func (t *topology) configureData(w *writer, s *secrets, h Host) {
	own := t.storeOf(h, inEtc("store.yaml"))
	w.yaml("store.yaml", s.stores[h.Site].write, 0o600)
	gateway, worker := h.Site+"-gw", h.Site+"-w"
	w.certificate(s, identity.Gateway, "gateway", h.Site, h.Address.String())
	w.certificate(s, identity.Worker, "worker", h.Site, h.Address.String())
	w.yaml("gateway.yaml", struct {
		Name         string      `yaml:"name"`
		Site         string      `yaml:"site"`
		Listen       string      `yaml:"listen"`
		Coordinators []string    `yaml:"coordinators"`
		Certificates fileNames   `yaml:"certificates"`
		Store        storeConfig `yaml:"store"`
	}{gateway, h.Site, at(h, gatewayPort), t.coordinatorsFrom(h.Site), certificates("gateway"), own}, 0o644)
	var sources []sourceConfig
	for _, other := range t.withRole(Data) {
		if other.Site == h.Site {
			continue
		}
		file := "store-" + other.Site + "-read.yaml"
		w.yaml(file, s.stores[other.Site].read, 0o600)
		sources = append(sources, sourceConfig{Site: other.Site, Credentials: inEtc(file)})
	}
	w.yaml("worker.yaml", struct {
		Name         string         `yaml:"name"`
		Site         string         `yaml:"site"`
		Coordinators []string       `yaml:"coordinators"`
		Certificates fileNames      `yaml:"certificates"`
		Data         string         `yaml:"data"`
		Restic       string         `yaml:"restic"`
		Store        storeConfig    `yaml:"store"`
		Sources      []sourceConfig `yaml:"sources"`
		Concurrency  int            `yaml:"concurrency"`
	}{worker, h.Site, t.coordinatorsFrom(h.Site), certificates("worker"), hostData + "/worker", hostBin + "/restic", own, sources, 4}, 0o644)
}

func (t *topology) configureServer(w *writer, s *secrets, h Host) {
	own, _ := t.site(h.Site)
	w.certificate(s, identity.Agent, "agent", h.Name, h.Address.String())
	type ids struct {
		First int `yaml:"first"`
		Size  int `yaml:"size"`
		Count int `yaml:"count"`
	}
	w.yaml("agent.yaml", struct {
		Server       string    `yaml:"server"`
		Site         string    `yaml:"site"`
		Coordinators []string  `yaml:"coordinators"`
		Certificates fileNames `yaml:"certificates"`
		Data         string    `yaml:"data"`
		Homes        string    `yaml:"homes"`
		Run          string    `yaml:"run"`
		Guard        string    `yaml:"guard"`
		Restic       string    `yaml:"restic"`
		Runc         string    `yaml:"runc"`
		CgroupParent string    `yaml:"cgroup_parent"`
		Uplink       string    `yaml:"uplink"`
		Identities   ids       `yaml:"identities"`
	}{h.Name, h.Site, t.coordinatorsFrom(h.Site), certificates("agent"), hostData + "/agent", homes, hostRun + "/agent",
		hostRun + "/guard.sock", hostBin + "/restic", runcPath(), "/" + cgroupParent + "/" + h.Name, "eth0",
		ids{First: 1_000_000_000, Size: 65536, Count: 30_000}}, 0o644)
	w.yaml("guard.yaml", struct {
		Server   string   `yaml:"server"`
		Socket   string   `yaml:"socket"`
		Data     string   `yaml:"data"`
		Run      string   `yaml:"run"`
		AS       int      `yaml:"as"`
		RouterID string   `yaml:"router_id"`
		Local    string   `yaml:"local"`
		Routers  []string `yaml:"routers"`
	}{h.Name, hostRun + "/guard.sock", hostData + "/guard", hostRun + "/guard", platformAS, h.Identifier.String(),
		h.Address.String(), []string{own.address(1).String()}}, 0o644)
}

func runcPath() string {
	if path, err := findProgram("runc"); err == nil {
		return path
	}
	return "/usr/sbin/runc" // preflight has looked for it
}

// coordinatorsFrom lists their URLs, those of the site itself first.
func (t *topology) coordinatorsFrom(site string) []string {
	var near, far []string
	for _, c := range t.withRole(Coordinator) {
		url := "https://" + at(c, apiPort)
		if c.Site == site {
			near = append(near, url)
		} else {
			far = append(far, url)
		}
	}
	return append(near, far...)
}

func (t *topology) storeOf(h Host, credentials string) storeConfig {
	s, _ := t.site(h.Site)
	return storeConfig{Endpoint: "http://" + at(h, storePort), Bucket: s.bucket(), Region: region, Credentials: credentials}
}

// writeKeys leaves what a person would keep in a safe: the authority, and the offline key.
func (s *secrets) writeKeys(p paths) error {
	if err := s.authority.Save(p.keys()); err != nil {
		return err
	}
	w := &writer{dir: p.keys()}
	w.file("offline-age.key", []byte(s.offline.String()+"\n"), 0o600)
	return w.err
}

// platformServices is what a host of the real platform runs.
func platformServices(h Host, s *secrets) []host.Service {
	drp := func(name string) host.Service {
		return host.Service{Name: name, Command: []string{hostBin + "/drp", name, "--config", inEtc(name + ".yaml")}}
	}
	switch h.Role {
	case Router, Transit:
		return []host.Service{birdService()}
	case Coordinator:
		return []host.Service{drp("server")}
	case Data:
		return []host.Service{storeService(h, s.stores[h.Site].root), drp("gateway"), drp("worker")}
	case Server:
		return []host.Service{drp("guard"), drp("agent")}
	}
	return nil
}

func birdService() host.Service {
	bird, err := findProgram("bird")
	if err != nil {
		bird = "/usr/sbin/bird" // preflight has looked for it
	}
	return host.Service{Name: "bird", Command: []string{bird, "-f", "-c", inEtc("bird.conf"), "-s", birdSocket, "-P", "/run/bird/bird.pid"}}
}
