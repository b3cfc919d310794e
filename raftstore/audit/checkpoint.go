package audit

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"drp/raftstore/state"
)

// Checkpoint is a coordinator's word on what the hash of one entry was. Who holds one finds any later change of that entry
// and of all before it, also when every hash was made anew.
type Checkpoint struct {
	Cluster     string       `json:"cluster"`
	Incarnation uint64       `json:"incarnation"`
	Seq         uint64       `json:"seq"`
	Hash        state.Digest `json:"hash"`
	At          time.Time    `json:"at"`
}

// Signed is a checkpoint with the signature of a coordinator's certificate and the certificates that lead to the root. It
// is verified with the root alone, also when the certificate has expired since.
type Signed struct {
	Checkpoint Checkpoint `json:"checkpoint"`
	Chain      [][]byte   `json:"chain"`     // DER, the coordinator's first
	Signature  []byte     `json:"signature"` // ECDSA over the SHA-256 of the signed text
}

// Signer signs with a coordinator's certificate: ECDSA (ASN.1) over the SHA-256 of text. chain is that certificate and
// those above it, in DER.
type Signer func(text []byte) (chain [][]byte, signature []byte, err error)

// Certificates may sign other things, too: this makes sure that nothing else is taken for a checkpoint.
const signedPrefix = "drp audit checkpoint 1\n"

func (c Checkpoint) text() ([]byte, error) {
	line, err := encode(c)
	if err != nil {
		return nil, err
	}
	return append([]byte(signedPrefix), line...), nil
}

// Sign gives a checkpoint as the text that ReadCheckpoint reads.
func Sign(c Checkpoint, sign Signer) ([]byte, error) {
	c.At = c.At.UTC().Round(0)
	text, err := c.text()
	if err != nil {
		return nil, fmt.Errorf("sign checkpoint: %w", err)
	}
	s := Signed{Checkpoint: c}
	if s.Chain, s.Signature, err = sign(text); err != nil {
		return nil, fmt.Errorf("sign checkpoint: %w", err)
	}
	body, err := encode(s)
	if err != nil {
		return nil, fmt.Errorf("sign checkpoint: %w", err)
	}
	return body, nil
}

// ReadCheckpoint reads what Sign gave. It does not look at the signature: Check does.
func ReadCheckpoint(body []byte) (*Signed, error) {
	if len(body) > maxLine {
		return nil, fmt.Errorf("read checkpoint: it has more than %d bytes", maxLine)
	}
	var s Signed
	if err := decode(body, &s); err != nil {
		return nil, fmt.Errorf("read checkpoint: %w", err)
	}
	if s.Checkpoint.Cluster == "" || s.Checkpoint.Seq == 0 || len(s.Chain) == 0 {
		return nil, errors.New("read checkpoint: it names no cluster, no entry or no certificate")
	}
	return &s, nil
}

// Check tells whether a coordinator of the checkpoint's cluster has signed it, under one of these roots. The certificate
// has to have been valid at the time that the checkpoint bears.
func (s *Signed) Check(roots *x509.CertPool) error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("checkpoint of entry %d: %w", s.Checkpoint.Seq, fmt.Errorf(format, args...))
	}
	leaf, err := x509.ParseCertificate(s.Chain[0])
	if err != nil {
		return fail("read its certificate: %w", err)
	}
	between := x509.NewCertPool()
	for _, der := range s.Chain[1:] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return fail("read its certificates: %w", err)
		}
		between.AddCert(c)
	}
	_, err = leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: s.Checkpoint.At, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return fail("its certificate does not lead to the root: %w", err)
	}
	if err := ofCoordinator(leaf, s.Checkpoint.Cluster); err != nil {
		return fail("%w", err)
	}
	key, ok := leaf.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return fail("its certificate has a key of type %T, want ECDSA", leaf.PublicKey)
	}
	text, err := s.Checkpoint.text()
	if err != nil {
		return fail("%w", err)
	}
	sum := sha256.Sum256(text)
	if !ecdsa.VerifyASN1(key, sum[:], s.Signature) {
		return fail("its signature is wrong: somebody changed it")
	}
	return nil
}

// ofCoordinator holds the signer to its role and cluster: the certificate of any other part of the platform leads to the
// same root.
func ofCoordinator(c *x509.Certificate, cluster string) error {
	if len(c.URIs) == 1 {
		u := c.URIs[0]
		name, ok := strings.CutPrefix(u.Path, "/coordinator/")
		if ok && u.Scheme == "drp" && u.Host == cluster && name != "" {
			return nil
		}
	}
	return fmt.Errorf("it was signed by %.80q (%v), and not by a coordinator of cluster %.80q", c.Subject.CommonName, c.URIs, cluster)
}

// IsCheckpoint tells a checkpoint from a segment by its first bytes.
func IsCheckpoint(start []byte) bool { return bytes.HasPrefix(start, []byte(`{"checkpoint":`)) }
