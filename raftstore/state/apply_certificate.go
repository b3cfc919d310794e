package state

import (
	"crypto/sha256"
	"regexp"
	"time"
)

var serialForm = regexp.MustCompile(`^[0-9a-f]{1,64}$`)

func applyIssuerSet(c *change, d IssuerSetData) (bool, error) {
	if len(d.Certificate) == 0 || len(d.SealedKey) == 0 {
		return false, refuse(ErrInvalid, "an issuing authority has a certificate and a sealed key")
	}
	if err := c.checkSealed(d.SealedKey, "the key of the issuing authority"); err != nil {
		return false, err
	}
	if old := issuerTable.get(c.Txn, ""); old != nil && string(old.Certificate) == string(d.Certificate) {
		return false, nil
	}
	issuerTable.put(c.Txn, &Issuer{Certificate: d.Certificate, SealedKey: d.SealedKey, At: c.at})
	return true, nil
}

func applyEnrolmentCreate(c *change, d EnrolmentCreateData) (bool, error) {
	e := d.Enrolment
	if err := checkID("enrolment", e.Name); err != nil {
		return false, err
	}
	switch {
	case len(e.SHA256) != sha256.Size:
		return false, refuse(ErrInvalid, "enrolment %s: of its token the SHA-256 is kept, which has %d bytes", e.Name, sha256.Size)
	case e.Role == "" || e.Holder == "":
		return false, refuse(ErrInvalid, "enrolment %s: it has to say for whom it is", e.Name)
	case !e.Expires.After(c.at):
		return false, refuse(ErrInvalid, "enrolment %s would have expired before it exists", e.Name)
	case !e.UsedAt.IsZero():
		return false, refuse(ErrInvalid, "enrolment %s would be used up before it exists", e.Name)
	case enrolmentTable.get(c.Txn, e.Name) != nil:
		return false, refuse(ErrConflict, "there is an enrolment %s already", e.Name)
	}
	e.Created = c.at
	for _, old := range enrolmentTable.list(c.Txn) { // the trail keeps them
		if old.Expires.Before(c.at) {
			enrolmentTable.drop(c.Txn, old)
		}
	}
	enrolmentTable.put(c.Txn, &e)
	return true, nil
}

func applyCertificateIssue(c *change, d CertificateIssueData) (bool, error) {
	next := d.Certificate
	switch {
	case !serialForm.MatchString(next.Serial):
		return false, refuse(ErrInvalid, "certificate of %s/%s: %q is no serial number", next.Role, next.Holder, next.Serial)
	case next.Role == "" || next.Holder == "":
		return false, refuse(ErrInvalid, "certificate %s: it has to say whose it is", next.Serial)
	case !next.NotAfter.After(c.at):
		return false, refuse(ErrInvalid, "certificate of %s/%s would have expired before it is issued", next.Role, next.Holder)
	case certificateTable.get(c.Txn, next.Serial) != nil:
		return false, refuse(ErrConflict, "certificate %s was issued already", next.Serial)
	}
	if d.Enrolment != "" {
		if err := c.useEnrolment(d.Enrolment, next.Role, next.Holder); err != nil {
			return false, err
		}
	}
	next.Issued = later(c.at, next.Issued) // one that follows a revocation is signed for the next second
	for _, old := range certificateTable.find(c.Txn, "holder", compound(next.Role, next.Holder)) {
		if old.NotAfter.Before(c.at) {
			certificateTable.drop(c.Txn, old)
		}
	}
	certificateTable.put(c.Txn, &next)
	return true, nil
}

// useEnrolment is the promise that a token lets in whom it was made for, and once.
func (c *change) useEnrolment(name, role, holder string) error {
	e := enrolmentTable.get(c.Txn, name)
	switch {
	case e == nil:
		return refuse(ErrNotFound, "there is no enrolment %s", name)
	case !e.UsedAt.IsZero():
		return refuse(ErrConflict, "enrolment %s was used already", name)
	case !c.at.Before(e.Expires):
		return refuse(ErrConflict, "enrolment %s has expired", name)
	case e.Role != role || e.Holder != holder:
		return refuse(ErrInvalid, "enrolment %s is for %s/%s, and not for %s/%s", name, e.Role, e.Holder, role, holder)
	}
	used := *e
	used.UsedAt = c.at
	enrolmentTable.put(c.Txn, &used)
	return nil
}

func applyCertificateRevoke(c *change, d CertificateRevokeData) (bool, error) {
	if d.Role == "" || d.Holder == "" {
		return false, refuse(ErrInvalid, "a revocation says whose certificate it is about")
	}
	if d.Serial != "" && !serialForm.MatchString(d.Serial) {
		return false, refuse(ErrInvalid, "%q is no serial number", d.Serial)
	}
	next := Revocation{Role: d.Role, Holder: d.Holder, Serial: d.Serial, Before: c.at, By: c.by, Reason: d.Reason}
	if old := revocationTable.get(c.Txn, revocationKey(&next)); old != nil {
		if d.Serial != "" {
			return false, nil
		}
		next.Before = later(next.Before, old.Before) // what is worthless stays so, whatever a clock says
	}
	if d.Serial == "" {
		next.Before = later(next.Before, c.afterIssued(d.Role, d.Holder))
	}
	revocationTable.put(c.Txn, &next)
	return true, nil
}

// afterIssued is a moment after every certificate of a holder was signed: each was by the clock of who led then, and that
// one may have been ahead.
func (c *change) afterIssued(role, holder string) time.Time {
	var at time.Time
	for _, x := range certificateTable.find(c.Txn, "holder", compound(role, holder)) {
		at = later(at, x.Issued.Add(1))
	}
	return at
}

func revocationKey(r *Revocation) string { return compound(r.Role, r.Holder, r.Serial) }
