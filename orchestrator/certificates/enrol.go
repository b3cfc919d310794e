package certificates

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"drp/orchestrator"
	"drp/raftstore/identity"
	"drp/raftstore/state"
)

// EnrolmentRequest asks for a one-time token: POST /v1/enrolments.
type EnrolmentRequest struct {
	Role   identity.Role  `json:"role" enum:"coordinator,agent,gateway,worker,operator,support"`
	Holder string         `json:"holder" doc:"the name that the certificate will bear: of a server, a site, a coordinator or a person"`
	Hosts  []string       `json:"hosts,omitempty" maxItems:"16" doc:"names and addresses at which it is reached"`
	Site   state.SiteName `json:"site,omitempty"`
}

// EnrolmentToken shows a token, this once.
type EnrolmentToken struct {
	Token        string    `json:"token"`
	Expires      time.Time `json:"expires"`
	Fingerprint  string    `json:"fingerprint" doc:"SHA-256 of the root certificate, by which the newcomer knows the platform"`
	Coordinators []string  `json:"coordinators" nullable:"false"`
	Notes        []string  `json:"notes,omitempty"`
}

// EnrolRequest is a newcomer's: POST /v1/enrol.
type EnrolRequest struct {
	Token   string        `json:"token" maxLength:"100"`
	Role    identity.Role `json:"role" doc:"what the newcomer takes itself for"`
	Request string        `json:"request" maxLength:"4096" doc:"certificate request, PEM"`
}

// Enrolled is what a newcomer gets.
type Enrolled struct {
	Certificate  string         `json:"certificate" doc:"with its chain, PEM"`
	Authority    string         `json:"authority" doc:"whom to trust, PEM"`
	Role         identity.Role  `json:"role"`
	Holder       string         `json:"holder"`
	Site         state.SiteName `json:"site,omitempty"`
	Coordinators []string       `json:"coordinators" nullable:"false" doc:"URLs"`
	// For a coordinator: all that are known, and everybody that secrets are sealed to.
	Others     []KnownCoordinator `json:"others,omitempty"`
	Recipients []string           `json:"recipients,omitempty"`
}

// KnownCoordinator is where a coordinator is reached.
type KnownCoordinator struct {
	Name string         `json:"name"`
	Site state.SiteName `json:"site"`
	Raft string         `json:"raft"`
	API  string         `json:"api"`
	// Recipient is its age recipient, where that is known.
	Recipient string `json:"recipient,omitempty"`
}

// CreateEnrolment makes a one-time token. The state keeps its SHA-256.
func (r *Registrar) CreateEnrolment(ctx context.Context, by string, q EnrolmentRequest) (*EnrolmentToken, error) {
	fail := func(err error) (*EnrolmentToken, error) {
		return nil, fmt.Errorf("enrol %s/%s: %w", q.Role, q.Holder, err)
	}
	v, err := r.view(ctx)
	if err != nil {
		return fail(err)
	}
	if err := CheckHolder(q.Role, q.Holder); err != nil {
		return fail(err)
	}
	if err := checkHosts(q.Role, q.Hosts); err != nil {
		return fail(err)
	}
	notes, err := aboutHolder(v, &q)
	if err != nil {
		return fail(err)
	}
	if _, err := r.issuer(v); err != nil {
		return fail(err) // better now than on the new machine
	}
	roots, err := identity.DecodeCertificates(r.Credentials.AuthorityPEM())
	if err != nil {
		return fail(err)
	}
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails: crypto/rand ends the program instead
	token := tokenPrefix + base64.RawURLEncoding.EncodeToString(secret)
	sum := sha256.Sum256([]byte(token))
	now := r.now()
	e := state.Enrolment{
		Name: fmt.Sprintf("%s-%s-%s", q.Role, q.Holder, hex.EncodeToString(sum[:4])), SHA256: sum[:], Role: string(q.Role), Holder: q.Holder,
		Hosts: q.Hosts, Site: q.Site, By: by, Created: now, Expires: now.Add(tokenValidity),
	}
	if err := r.propose(ctx, "enrolment-"+hex.EncodeToString(sum[:]), by, state.EnrolmentCreate, state.EnrolmentCreateData{Enrolment: e}); err != nil {
		return fail(err)
	}
	t := &EnrolmentToken{Token: token, Expires: e.Expires, Fingerprint: identity.Fingerprint(roots[0]), Coordinators: r.urls(), Notes: notes}
	return t, nil
}

// aboutHolder compares with the inventory. A name that is not in it yet may be on its way there.
func aboutHolder(v *state.View, q *EnrolmentRequest) (notes []string, err error) {
	switch q.Role {
	case identity.Agent:
		if v.Server(state.ServerName(q.Holder)) == nil {
			notes = append(notes, fmt.Sprintf("server %s is not in the inventory: its agent is told nothing until drp apply has added it", q.Holder))
		}
	case identity.Gateway, identity.Worker:
		if q.Site != "" && string(q.Site) != q.Holder {
			return nil, fmt.Errorf("a %s bears the name of its site: enrol %s %s: %w", q.Role, q.Role, q.Site, state.ErrInvalid)
		}
		q.Site = state.SiteName(q.Holder)
		if v.Site(q.Site) == nil {
			notes = append(notes, fmt.Sprintf("site %s is not in the inventory; a %s bears the name of its site", q.Holder, q.Role))
		}
	case identity.Coordinator:
		if q.Site == "" {
			return nil, fmt.Errorf("a coordinator needs --site: %w", state.ErrInvalid)
		}
	}
	return notes, nil
}

// Enrol lets a newcomer in: it uses the token up, and only then hands the certificate out.
func (r *Registrar) Enrol(ctx context.Context, q EnrolRequest) (*Enrolled, error) {
	fail := func(err error) (*Enrolled, error) { return nil, fmt.Errorf("join: %w", err) }
	v, err := r.view(ctx)
	if err != nil {
		return fail(err)
	}
	e := findEnrolment(v, q.Token)
	if e == nil {
		return fail(fmt.Errorf("this token is not known here: it is mistyped, of another platform, or has expired. "+
			"Make a new one with drp ca enrol: %w", orchestrator.ErrRefused))
	}
	role := identity.Role(e.Role)
	if !fits(q.Role, role) {
		return fail(fmt.Errorf("this token is for %s/%s, and not for a machine of role %s: %w", e.Role, e.Holder, q.Role, orchestrator.ErrRefused))
	}
	again := fmt.Sprintf("make a new one with drp ca enrol %s %s", e.Role, e.Holder)
	serial, err := identity.SerialFor([]byte(q.Token), []byte(q.Request))
	if err != nil {
		return fail(fmt.Errorf("%w: %w", err, state.ErrInvalid))
	}
	known := issued(v, serial.Text(16)) != nil
	switch {
	case known: // asked again with the same key, because the answer was lost
	case !e.UsedAt.IsZero():
		return fail(fmt.Errorf("this token was used already, at %s and with another key: %s. If it was not you who used it, "+
			"revoke what it was used for: drp ca revoke %s/%s: %w", e.UsedAt.UTC().Format(time.RFC3339), again, e.Role, e.Holder, orchestrator.ErrRefused))
	case !r.now().Before(e.Expires):
		return fail(fmt.Errorf("this token expired at %s (the clock of coordinator %s says %s): %s: %w",
			e.Expires.UTC().Format(time.RFC3339), r.Name, r.now().UTC().Format(time.RFC3339), again, orchestrator.ErrRefused))
	}
	chain, err := r.issue(ctx, v, order{request: []byte(q.Request), secret: []byte(q.Token), role: role, holder: e.Holder,
		hosts: e.Hosts, enrolment: e.Name, commandFor: "enrol"})
	if err != nil {
		return fail(err)
	}
	r.log().Info("certificate issued to a newcomer", "for", e.Role+"/"+e.Holder, "serial", serial.Text(16), "token_by", e.By, "again", known)
	j := &Enrolled{Certificate: string(chain), Authority: string(r.Credentials.AuthorityPEM()), Role: role, Holder: e.Holder, Site: e.Site,
		Coordinators: r.urls()}
	if role == identity.Coordinator {
		j.Recipients = r.offline(v)
		for _, m := range r.members() {
			j.Others = append(j.Others, KnownCoordinator{Name: m.Name, Site: m.Site, Raft: m.Raft, API: m.API, Recipient: m.Recipient})
			j.Recipients = append(j.Recipients, m.Recipient)
		}
	}
	return j, nil
}

// offline is whom a new coordinator's file seals to beside the coordinators. The keyring says it: a configuration file also
// names coordinators that were removed since, and in a file that has no such peer those would pass for offline ones.
func (r *Registrar) offline(v *state.View) []string {
	if keys := v.Keys(); len(keys) > 0 {
		return slices.Clone(keys[0].Offline)
	}
	return slices.Clone(r.Recipients())
}

// fits lets drp operator join be both kinds of people.
func fits(asked, enrolled identity.Role) bool {
	return asked == enrolled || asked == identity.Operator && enrolled == identity.Support
}

func findEnrolment(v *state.View, token string) *state.Enrolment {
	if !strings.HasPrefix(token, tokenPrefix) {
		return nil
	}
	sum := sha256.Sum256([]byte(token))
	for _, e := range v.Enrolments() {
		if subtle.ConstantTimeCompare(e.SHA256, sum[:]) == 1 {
			return e
		}
	}
	return nil
}
