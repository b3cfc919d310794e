// Package erasure is the paper of an account's erasure: what was deleted where, on whose order, and what it does not cover. A
// coordinator signs it; it is verified offline, with the platform's root certificate alone.
package erasure

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"drp/orchestrator/export"
	"drp/raftstore/signed"
	"drp/raftstore/state"
)

// Certificate says that an account was erased.
type Certificate struct {
	Cluster      string            `json:"cluster"` // UUID
	Account      state.AccountName `json:"account"`
	Repositories []string          `json:"repositories"` // those that were known
	By           string            `json:"by"`           // who ordered it
	Reason       string            `json:"reason,omitempty"`
	Ordered      time.Time         `json:"ordered"`
	Begun        time.Time         `json:"begun"` // from then on the coordinators had nothing of the account
	Sites        []Site            `json:"sites"`
	Done         time.Time         `json:"done"`
	Issued       time.Time         `json:"issued"`
	// Remains are sentences on what this does not cover.
	Remains []string `json:"remains"`
}

// Site is what was deleted at one site.
type Site struct {
	Site    state.SiteName `json:"site"`
	Objects int64          `json:"objects"` // where the store keeps versions, each of them is one
	Bytes   int64          `json:"bytes"`
	Empty   time.Time      `json:"empty"` // when nothing of the account was listed there any more
}

// Signed is a certificate with a coordinator's signature.
type Signed struct {
	Certificate Certificate `json:"certificate"`
	signed.Proof
}

const kind signed.Kind = "drp erasure certificate 1\n"

// longest is more than any certificate has.
const longest = 1 << 20

// Of makes the certificate of an erasure. Its error says why there is none yet, and which site is missing.
func Of(cluster string, e *state.Erasure, at time.Time) (Certificate, error) {
	if e.Waiting() {
		return Certificate{}, fmt.Errorf("the erasure of account %s has not begun: its waiting time ends at %s", e.Account, e.NotBefore.UTC().Format(time.RFC3339))
	}
	if missing := Missing(e); len(missing) > 0 {
		return Certificate{}, fmt.Errorf("account %s is not erased everywhere yet: %s", e.Account, strings.Join(missing, "; "))
	}
	c := Certificate{
		Cluster: cluster, Account: e.Account, Repositories: slices.Clone(e.Repositories), By: e.By, Reason: e.Reason,
		Ordered: e.Ordered.UTC(), Begun: e.Begun.UTC(), Done: e.Done.UTC(), Issued: at.UTC().Round(0), Remains: remains(e),
	}
	for _, s := range e.Sites {
		c.Sites = append(c.Sites, Site{Site: s.Site, Objects: s.Objects, Bytes: s.Bytes, Empty: s.Empty.UTC()})
	}
	return c, nil
}

// Missing says of each site that has not told that nothing is left there how far it is.
func Missing(e *state.Erasure) []string {
	var missing []string
	for _, s := range e.Sites {
		if s.Empty.IsZero() {
			missing = append(missing, "site "+string(s.Site)+": "+Stands(s))
		}
	}
	return missing
}

// Stands says how far a site is, for a person.
func Stands(s state.SiteErasure) string {
	switch {
	case !s.Empty.IsZero():
		return "nothing left since " + s.Empty.UTC().Format(time.RFC3339)
	case s.Heard.IsZero():
		return "its worker has not answered yet"
	case s.Error != "":
		return s.Error
	case s.Objects > 0:
		return fmt.Sprintf("%d objects erased so far", s.Objects)
	case !s.Until.IsZero():
		return "its grace is over at " + s.Until.UTC().Format(time.RFC3339)
	}
	return "its worker has begun"
}

// remains is what an erasure does not reach. Names stay where somebody has to be able to say later what was done.
func remains(e *state.Erasure) []string {
	thinned := e.Begun.Add(export.Kept).UTC().Format(time.DateOnly)
	all := []string{
		servers(e),
		unnamed(e),
		fmt.Sprintf("sealed exports of the coordinators' state from before %s hold what the platform knew of the account and the passwords of its backups; they are thinned out by %s, but for the newest %d that each coordinator has signed",
			e.Begun.UTC().Format(time.RFC3339), thinned, export.Least),
		"the coordinators' logs and snapshots hold the same, sealed, until they are compacted",
		"the audit trail, the history of runs, the newest test of break-glass passwords and this row keep the account's name, who ordered what, and when",
		"copies of a site's store that were made by other means than drp, and what a store keeps of deleted objects by itself, are not known to it",
	}
	return slices.DeleteFunc(all, func(s string) bool { return s == "" })
}

func unnamed(e *state.Erasure) string {
	if len(e.Repositories) < state.MostErased {
		return ""
	}
	return fmt.Sprintf("no more than %d of the account's repositories are named here; others, if there were any, were erased as well", state.MostErased)
}

func servers(e *state.Erasure) string {
	if len(e.Servers) == 0 && !e.Many {
		return ""
	}
	names := make([]string, len(e.Servers))
	for i, s := range e.Servers {
		names[i] = string(s)
	}
	list := strings.Join(names, ", ")
	if e.Many {
		list += " and others"
	}
	return "homes and databases of the account, and homes that were set aside, may lie on servers that ran it, until somebody removes them there: " + list
}

// Sign signs a certificate, and gives it as the text that Read reads.
func Sign(c Certificate, sign signed.Signer) ([]byte, error) {
	proof, err := kind.Sign(c, sign)
	if err != nil {
		return nil, fmt.Errorf("sign certificate of erasure: %w", err)
	}
	text, err := signed.Encode(Signed{c, proof})
	if err != nil {
		return nil, fmt.Errorf("sign certificate of erasure: %w", err)
	}
	return text, nil
}

// Read reads what Sign gave. It does not look at the signature: Check does.
func Read(text []byte) (*Signed, error) {
	if len(text) > longest {
		return nil, fmt.Errorf("read certificate of erasure: it has more than %d bytes", longest)
	}
	var s Signed
	if err := signed.Decode(text, &s); err != nil {
		return nil, fmt.Errorf("read certificate of erasure: %w", err)
	}
	if s.Certificate.Cluster == "" || s.Certificate.Account == "" {
		return nil, errors.New("read certificate of erasure: it names no cluster or no account")
	}
	return &s, nil
}

// Check tells which coordinator of the certificate's cluster has signed it, under one of these roots.
func (s *Signed) Check(roots *x509.CertPool) (coordinator string, err error) {
	coordinator, err = kind.Check(s.Certificate, s.Proof, s.Certificate.Cluster, s.Certificate.Issued, roots)
	if err != nil {
		return "", fmt.Errorf("certificate of the erasure of account %s: %w", s.Certificate.Account, err)
	}
	return coordinator, nil
}

// Totals are what was deleted at all sites.
func (c *Certificate) Totals() (objects, bytes int64) {
	for _, s := range c.Sites {
		objects, bytes = objects+s.Objects, bytes+s.Bytes
	}
	return objects, bytes
}
