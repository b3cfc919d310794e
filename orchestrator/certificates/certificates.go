// Package certificates is the leader's part in who somebody is: it lets newcomers in with a one-time token, renews
// what expires, and revokes. Each certificate is committed to the state before it is handed out, so that none is good
// for anything that no record tells of.
package certificates

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"regexp"
	"slices"
	"sync"
	"time"

	"drp/orchestrator"
	"drp/raftstore/identity"
	"drp/raftstore/state"
)

// Store is what of the replicated state is needed here.
type Store interface {
	Propose(ctx context.Context, c state.Command) (state.Result, error)
	View() *state.View
	Read(ctx context.Context) (*state.View, error)
	Leader() (name string, ok bool)
}

// Sealer seals the key of an issuing authority, and opens it here: that of drp ca init too, which was sealed to the
// coordinators before they had a keyring.
type Sealer interface {
	Seal(plain []byte) ([]byte, error)
	Open(sealed []byte) ([]byte, error)
}

// Registrar answers on a coordinator. Everything but CheckRevoked is the leader's, and orchestrator.ErrNotLeader elsewhere.
type Registrar struct {
	Name        string // of this coordinator
	Store       Store
	Sealer      Sealer
	Credentials *identity.Credentials
	// Voters are the coordinators that elect. It is asked before one of them is revoked.
	Voters func() []string
	// Members are the coordinators of the configuration, and Recipients everybody that it seals to: what a newcomer is told
	// as long as the state does not know better.
	Members    func() []state.Member
	Recipients func() []string
	Clock      func() time.Time
	Log        *slog.Logger

	mu     sync.Mutex
	opened *identity.Authority // of sealed
	sealed string
}

const (
	tokenPrefix   = "drpe_"
	tokenValidity = 15 * time.Minute
	maxHosts      = 16
	// mostAtOnce bounds the certificates that one holder may have renewed without any of them having expired.
	mostAtOnce = 20
)

func (r *Registrar) now() time.Time {
	if r.Clock != nil {
		return r.Clock()
	}
	return time.Now()
}

func (r *Registrar) log() *slog.Logger {
	if r.Log != nil {
		return r.Log
	}
	return slog.Default()
}

// view is linearizable, and so only the leader's.
func (r *Registrar) view(ctx context.Context) (*state.View, error) {
	if name, ok := r.Store.Leader(); !ok || name != r.Name {
		return nil, orchestrator.ErrNotLeader
	}
	return r.Store.Read(ctx)
}

// members are those of the state, and those that only the configuration knows.
func (r *Registrar) members() []state.Member {
	var all []state.Member
	for _, m := range r.Store.View().Members() {
		all = append(all, *m)
	}
	for _, m := range r.Members() {
		if !slices.ContainsFunc(all, func(known state.Member) bool { return known.Name == m.Name }) {
			all = append(all, m)
		}
	}
	return all
}

func (r *Registrar) urls() []string {
	urls := []string{}
	for _, m := range r.members() {
		urls = append(urls, m.API)
	}
	slices.Sort(urls)
	return urls
}

// propose repeats harmlessly: every id here is derived from what is asked.
func (r *Registrar) propose(ctx context.Context, id, by string, name state.Name, payload any) error {
	result, err := r.Store.Propose(ctx, state.NewCommand(name, id, r.now(), by, payload))
	if err != nil {
		return err
	}
	return result.Err
}

// holderForm is what names in certificates look like. There is no slash in it: callers that have no certificate bear
// names with one, and can so ask for none.
var (
	holderForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)
	hostForm   = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$`)
)

var enrollable = []identity.Role{identity.Coordinator, identity.Agent, identity.Gateway, identity.Worker, identity.Operator, identity.Support}

// CheckHolder says why no certificate of the platform bears this name.
func CheckHolder(role identity.Role, holder string) error {
	if !slices.Contains(enrollable, role) {
		return fmt.Errorf("there is no role %q; roles are %v: %w", role, enrollable, state.ErrInvalid)
	}
	if !holderForm.MatchString(holder) {
		return fmt.Errorf("%q is no name for a certificate: small letters, digits, dots, hyphens and underscores: %w", holder, state.ErrInvalid)
	}
	return nil
}

func checkHosts(role identity.Role, hosts []string) error {
	if role == identity.Gateway && len(hosts) == 0 {
		return fmt.Errorf("a gateway needs --host: restic compares the name or address at which it is reached: %w", state.ErrInvalid)
	}
	if len(hosts) > maxHosts {
		return fmt.Errorf("%d hosts are too many for one certificate, %d are the most: %w", len(hosts), maxHosts, state.ErrInvalid)
	}
	for _, h := range hosts {
		if _, err := netip.ParseAddr(h); err != nil && !hostForm.MatchString(h) {
			return fmt.Errorf("host %q is neither a name nor an address: %w", h, state.ErrInvalid)
		}
	}
	return nil
}

// issuer opens the issuing authority.
func (r *Registrar) issuer(v *state.View) (*identity.Authority, error) {
	row := v.Issuer()
	if row == nil {
		return nil, fmt.Errorf("this platform has no issuing authority: drp ca init makes one for a new platform, and "+
			"drp ca issuer renew for one that is there: %w", orchestrator.ErrRefused)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.opened == nil || r.sealed != string(row.SealedKey) {
		a, err := r.open(row.Certificate, row.SealedKey)
		if err != nil {
			return nil, err
		}
		r.opened, r.sealed = a, string(row.SealedKey)
	}
	end := r.opened.Certificate().NotAfter
	switch left := end.Sub(r.now()); {
	case left <= 0:
		return nil, fmt.Errorf("the issuing authority has expired at %s: renew it with drp ca issuer renew: %w", end.UTC().Format(time.RFC3339), orchestrator.ErrRefused)
	case left < 2*identity.MaxValidity:
		r.log().Warn("the issuing authority expires soon; renew it with drp ca issuer renew", "at", end)
	}
	return r.opened, nil
}

func (r *Registrar) open(certificate, sealedKey []byte) (*identity.Authority, error) {
	key, err := r.Sealer.Open(sealedKey)
	if err != nil {
		return nil, fmt.Errorf("open the key of the issuing authority: %w", err)
	}
	return identity.OpenAuthority(certificate, key)
}

// order is one certificate to be made.
type order struct {
	request    []byte // PEM
	secret     []byte // from which the serial number follows, with the key
	role       identity.Role
	holder     string
	hosts      []string
	enrolment  string // that it uses up
	commandFor string // prefix of the command's id
}

// issue commits and signs. Who asks again with the same secret and key gets the same certificate again.
func (r *Registrar) issue(ctx context.Context, v *state.View, o order) ([]byte, error) {
	authority, err := r.issuer(v)
	if err != nil {
		return nil, err
	}
	serial, err := identity.SerialFor(o.secret, o.request)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, state.ErrInvalid)
	}
	revoked := orchestrator.Revocations(v, r.now())
	earliest := revoked.NotBefore(o.role, o.holder)
	leaf := identity.Leaf{Role: o.role, Name: o.holder, Hosts: o.hosts, Serial: serial}
	if row := issued(v, serial.Text(16)); row != nil {
		// The answer was lost. Whoever was revoked meanwhile does not get round it by asking again.
		if row.Issued.Before(earliest) {
			return nil, fmt.Errorf("%s/%s was revoked: make a new token with drp ca enrol %s %s: %w", o.role, o.holder, o.role, o.holder, orchestrator.ErrRefused)
		}
		leaf.Issued, leaf.NotAfter = row.Issued, row.NotAfter
		return authority.Sign(o.request, leaf)
	}
	leaf.Issued = r.now()
	if leaf.Issued.Before(earliest) { // or it would be revoked from the start
		leaf.Issued = earliest
	}
	if wait := leaf.Issued.Sub(r.now()); wait > time.Hour {
		return nil, fmt.Errorf("%s/%s was revoked at a time that is %s ahead of the clock of coordinator %s: set that clock: %w",
			o.role, o.holder, wait.Round(time.Minute), r.Name, orchestrator.ErrRefused)
	}
	leaf.NotAfter = leaf.Issued.Add(identity.MaxValidity)
	if end := authority.Certificate().NotAfter; leaf.NotAfter.After(end) {
		leaf.NotAfter = end
	}
	chain, err := authority.Sign(o.request, leaf) // before the commit: what cannot be signed uses no token up
	if err != nil {
		return nil, err
	}
	id := serial.Text(16)
	err = r.propose(ctx, o.commandFor+"-"+id, string(o.role)+"/"+o.holder, state.CertificateIssue, state.CertificateIssueData{
		Certificate: state.Certificate{Serial: id, Role: string(o.role), Holder: o.holder, Issued: leaf.Issued, NotAfter: leaf.NotAfter}, Enrolment: o.enrolment})
	if err != nil {
		return nil, err
	}
	return chain, nil
}

func issued(v *state.View, serial string) *state.Certificate {
	for _, c := range v.Certificates() {
		if c.Serial == serial {
			return c
		}
	}
	return nil
}
