package audit

import (
	"bytes"
	"crypto/x509"
	"strings"
	"testing"
	"time"
)

func TestSigned_Check(t *testing.T) {
	root := newAuthority(t, nil)
	issuing := newAuthority(t, root)
	roots := x509.NewCertPool()
	roots.AddCert(root.cert)
	point := newHistory(t).live(5).checkpoint(0)
	coordinator := "drp://" + cluster + "/coordinator/par1-c"
	late := point
	late.At = epoch.Add(31 * 24 * time.Hour)
	for _, c := range []struct {
		name   string
		point  Checkpoint
		signer *holder
		want   string // empty: good
	}{
		{"under the issuing authority", point, issuing.holder(coordinator, issuing), ""},
		{"under the root itself", point, root.holder(coordinator), ""},
		{"without the issuing authority", point, issuing.holder(coordinator), "does not lead to the root"},
		{"under another root", point, newAuthority(t, nil).holder(coordinator), "does not lead to the root"},
		{"by an agent", point, root.holder("drp://" + cluster + "/agent/par1-s1"), "not by a coordinator"},
		{"by an operator", point, root.holder("drp://" + cluster + "/operator/coordinator"), "not by a coordinator"},
		{"by another cluster's coordinator", point, root.holder("drp://other/coordinator/par1-c"), "not by a coordinator of cluster"},
		{"after the certificate had expired", late, issuing.holder(coordinator, issuing), "does not lead to the root"},
	} {
		t.Run(c.name, func(t *testing.T) {
			body, err := Sign(c.point, c.signer.sign)
			if err != nil {
				t.Fatal(err)
			}
			if !IsCheckpoint(body) {
				t.Error("it is not recognised")
			}
			signed, err := ReadCheckpoint(body)
			if err != nil {
				t.Fatal(err)
			}
			switch err := signed.Check(roots); {
			case c.want == "" && err != nil:
				t.Errorf("got %v", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want the words %q", err, c.want)
			}
		})
	}
}

// Every changed byte of a checkpoint is found: by its form, its certificates, or its signature.
func TestSigned_Check_findsEveryChange(t *testing.T) {
	root := newAuthority(t, nil)
	roots := x509.NewCertPool()
	roots.AddCert(root.cert)
	body, err := Sign(newHistory(t).live(5).checkpoint(0), root.holder("drp://"+cluster+"/coordinator/par1-c").sign)
	if err != nil {
		t.Fatal(err)
	}
	for i := range body {
		for bit := range 8 {
			changed := bytes.Clone(body)
			changed[i] ^= 1 << bit
			signed, err := ReadCheckpoint(changed)
			if err == nil {
				err = signed.Check(roots)
			}
			if err == nil {
				t.Fatalf("byte %d, bit %d: the change was not found", i, bit)
			}
		}
	}
}
