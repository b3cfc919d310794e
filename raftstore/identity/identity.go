// Package identity says who a process or a person is: certificates of the platform's own authority, with cluster,
// role and name in the URI SAN drp://CLUSTER/ROLE/NAME. The role is checked at both ends of every connection.
package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Role is what a certificate's holder may be.
type Role string

const (
	Coordinator Role = "coordinator"
	Agent       Role = "agent"
	Gateway     Role = "gateway"
	Worker      Role = "worker"
	Operator    Role = "operator"
	Support     Role = "support"
)

var roles = []Role{Coordinator, Agent, Gateway, Worker, Operator, Support}

// ErrRefused means that a peer is not who it has to be.
var ErrRefused = errors.New("peer refused")

// Identity is one certificate's holder.
type Identity struct {
	Cluster string
	Role    Role
	Name    string
}

// String gives role/name, the form used in logs and records.
func (i Identity) String() string { return string(i.Role) + "/" + i.Name }

func (i Identity) uri() *url.URL {
	return &url.URL{Scheme: "drp", Host: i.Cluster, Path: "/" + string(i.Role) + "/" + i.Name}
}

// Of returns the verified client of a connection, as a server sees it.
func Of(cs *tls.ConnectionState) (Identity, error) {
	if cs == nil || len(cs.VerifiedChains) == 0 {
		return Identity{}, fmt.Errorf("read peer identity: no verified certificate: %w", ErrRefused)
	}
	return ofCertificate(cs.VerifiedChains[0][0])
}

func ofCertificate(c *x509.Certificate) (Identity, error) {
	if len(c.URIs) != 1 || c.URIs[0].Scheme != "drp" {
		return Identity{}, fmt.Errorf("read certificate %q: no drp:// identity in it: %w", c.Subject.CommonName, ErrRefused)
	}
	u := c.URIs[0]
	role, name, ok := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if !ok || u.Host == "" || name == "" || !slices.Contains(roles, Role(role)) {
		return Identity{}, fmt.Errorf("read certificate identity %q: want drp://CLUSTER/ROLE/NAME: %w", u, ErrRefused)
	}
	return Identity{Cluster: u.Host, Role: Role(role), Name: name}, nil
}
