package certificates

import (
	"context"
	"fmt"

	"drp/orchestrator"
	"drp/raftstore/identity"
	"drp/raftstore/state"
)

// RenewRequest asks for the next certificate: POST /v1/renew, with the present one in the handshake.
type RenewRequest struct {
	Request string `json:"request" maxLength:"4096" doc:"certificate request of a new key, PEM"`
	Present string `json:"present" maxLength:"16384" doc:"the present certificate with its chain, PEM; its hosts are taken over"`
}

// Renewed has the next certificate, with its chain.
type Renewed struct {
	Certificate string `json:"certificate"`
}

// Renew gives a holder its next certificate, for the same role and name alone. By is who was authenticated by a
// certificate, here or at the coordinator that passed the request on; the certificate in the request says more about
// it, and has to be one of the same holder that is still good.
func (r *Registrar) Renew(ctx context.Context, by string, q RenewRequest) (*Renewed, error) {
	fail := func(err error) (*Renewed, error) { return nil, fmt.Errorf("renew certificate of %s: %w", by, err) }
	v, err := r.view(ctx)
	if err != nil {
		return fail(err)
	}
	present, id, err := r.Credentials.VerifyLeaf([]byte(q.Present))
	if err != nil {
		return fail(fmt.Errorf("%w: %w", err, orchestrator.ErrRefused))
	}
	if id.String() != by {
		return fail(fmt.Errorf("the certificate in the request is of %s: %w", id, orchestrator.ErrRefused))
	}
	if err := orchestrator.Revocations(v, r.now()).Check(present); err != nil { // by what the leader knows for sure
		return fail(fmt.Errorf("%w: make a new token with drp ca enrol %s %s if it may come back: %w", err, id.Role, id.Name, orchestrator.ErrRefused))
	}
	if n := unexpired(v, id, r); n >= mostAtOnce {
		return fail(fmt.Errorf("it has %d certificates that are good: a process that asks again and again is broken, or somebody else asks. "+
			"Look at drp ca certificates: %w", n, orchestrator.ErrRefused))
	}
	hosts := append([]string{}, present.DNSNames...)
	for _, ip := range present.IPAddresses {
		hosts = append(hosts, ip.String())
	}
	chain, err := r.issue(ctx, v, order{request: []byte(q.Request), secret: []byte("renewal of " + identity.SerialOf(present)),
		role: id.Role, holder: id.Name, hosts: hosts, commandFor: "renew"})
	if err != nil {
		return fail(err)
	}
	return &Renewed{Certificate: string(chain)}, nil
}

func unexpired(v *state.View, id identity.Identity, r *Registrar) int {
	n := 0
	for _, c := range v.CertificatesOf(string(id.Role), id.Name) {
		if c.NotAfter.After(r.now()) {
			n++
		}
	}
	return n
}

// IssuedCertificate is one certificate that was issued through the platform, as people see it.
type IssuedCertificate struct {
	state.Certificate
	Revoked bool `json:"revoked"`
}

// List has every certificate that was issued through the platform and has not been forgotten since.
func (r *Registrar) List(ctx context.Context) ([]IssuedCertificate, error) {
	v, err := r.view(ctx)
	if err != nil {
		return nil, err
	}
	list := []IssuedCertificate{}
	for _, c := range v.Certificates() {
		list = append(list, IssuedCertificate{Certificate: *c, Revoked: revokedRow(v, c)})
	}
	return list, nil
}

func revokedRow(v *state.View, c *state.Certificate) bool {
	for _, x := range v.Revocations() {
		if x.Role == c.Role && x.Holder == c.Holder && (x.Serial == c.Serial || x.Serial == "" && c.Issued.Before(x.Before)) {
			return true
		}
	}
	return false
}
