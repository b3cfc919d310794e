package state

import (
	"errors"
	"testing"
	"time"
)

func TestEnrolment_letsInOnce(t *testing.T) {
	n := newPlatform(t)
	e := Enrolment{Name: "e1", SHA256: make([]byte, 32), Role: "agent", Holder: "par1-s1", By: "operator/ada", Expires: epoch.Add(15 * time.Minute)}
	n.must(EnrolmentCreate, EnrolmentCreateData{Enrolment: e})
	n.refused(ErrConflict, "already", EnrolmentCreate, EnrolmentCreateData{Enrolment: e})
	short := e
	short.Name, short.SHA256 = "e2", nil
	n.refused(ErrInvalid, "SHA-256", EnrolmentCreate, EnrolmentCreateData{Enrolment: short})
	late := e
	late.Name, late.Expires = "e2", epoch
	n.refused(ErrInvalid, "expired", EnrolmentCreate, EnrolmentCreateData{Enrolment: late})

	issue := func(serial, role, holder, enrolment string) CertificateIssueData {
		return CertificateIssueData{
			Certificate: Certificate{Serial: serial, Role: role, Holder: holder, NotAfter: epoch.Add(30 * 24 * time.Hour)}, Enrolment: enrolment,
		}
	}
	n.refused(ErrInvalid, "is for agent/par1-s1", CertificateIssue, issue("01", "agent", "par1-s2", "e1"))
	n.refused(ErrInvalid, "is for agent/par1-s1", CertificateIssue, issue("01", "coordinator", "par1-s1", "e1"))
	n.refused(ErrNotFound, "no enrolment", CertificateIssue, issue("01", "agent", "par1-s1", "e9"))
	n.refused(ErrInvalid, "no serial", CertificateIssue, issue("../1", "agent", "par1-s1", "e1"))
	n.must(CertificateIssue, issue("01", "agent", "par1-s1", "e1"))
	n.refused(ErrConflict, "used already", CertificateIssue, issue("02", "agent", "par1-s1", "e1"))
	n.refused(ErrConflict, "issued already", CertificateIssue, issue("01", "agent", "par1-s1", ""))
	n.must(CertificateIssue, issue("02", "agent", "par1-s1", ""))
	if got, want := len(n.view().CertificatesOf("agent", "par1-s1")), 2; got != want {
		t.Errorf("got %d certificates, want %d", got, want)
	}

	second := e
	second.Name, second.Expires = "e3", epoch.Add(time.Hour)
	n.must(EnrolmentCreate, EnrolmentCreateData{Enrolment: second})
	expired := n.command(CertificateIssue, issue("03", "agent", "par1-s1", "e3"))
	expired.At = epoch.Add(time.Hour)
	if r := n.applyCommand(expired); !errors.Is(r.Err, ErrConflict) {
		t.Errorf("got %v for an enrolment at its end, want a refusal", r.Err)
	}
}

func TestRevocation(t *testing.T) {
	n := newPlatform(t)
	n.must(CertificateRevoke, CertificateRevokeData{Role: "agent", Holder: "par1-s1", Serial: "0a", Reason: "stolen"})
	n.same(CertificateRevoke, CertificateRevokeData{Role: "agent", Holder: "par1-s1", Serial: "0a"})
	n.must(CertificateRevoke, CertificateRevokeData{Role: "agent", Holder: "par1-s1"})
	first := n.view().Revocations()[0]
	behind := n.command(CertificateRevoke, CertificateRevokeData{Role: "agent", Holder: "par1-s1"})
	behind.At = epoch.Add(-time.Hour)
	n.applyCommand(behind)
	if got := n.view().Revocations()[0]; got.Before.Before(first.Before) {
		t.Errorf("got %s after %s: a clock behind made a certificate good again", got.Before, first.Before)
	}
	n.refused(ErrInvalid, "whose", CertificateRevoke, CertificateRevokeData{Serial: "0a"})
	n.refused(ErrInvalid, "serial", CertificateRevoke, CertificateRevokeData{Role: "agent", Holder: "x", Serial: "A"})
}

// A leader whose clock was ahead has signed a certificate; the next one's clock is right. What it revokes is revoked.
func TestRevocation_issuedByAClockAhead(t *testing.T) {
	n := newPlatform(t)
	ahead := n.command(CertificateIssue, CertificateIssueData{
		Certificate: Certificate{Serial: "0a", Role: "agent", Holder: "par1-s1", NotAfter: epoch.Add(30 * 24 * time.Hour)}})
	ahead.At = epoch.Add(10 * time.Minute)
	if r := n.applyCommand(ahead); r.Err != nil {
		t.Fatal(r.Err)
	}
	n.must(CertificateRevoke, CertificateRevokeData{Role: "agent", Holder: "par1-s1"})
	issued := n.view().CertificatesOf("agent", "par1-s1")[0].Issued
	if got := n.view().Revocations()[0].Before; !issued.Before(got) {
		t.Errorf("what was issued before %s is revoked, and the certificate was at %s", got, issued)
	}
	n.must(CertificateIssue, CertificateIssueData{
		Certificate: Certificate{Serial: "0b", Role: "agent", Holder: "par1-s1", Issued: epoch.Add(time.Hour), NotAfter: epoch.Add(30 * 24 * time.Hour)}})
	if got := n.view().CertificatesOf("agent", "par1-s1"); !got[1].Issued.Equal(epoch.Add(time.Hour)) && !got[0].Issued.Equal(epoch.Add(time.Hour)) {
		t.Errorf("got %v, want the moment for which it was signed", got)
	}
}
