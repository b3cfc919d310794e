package audit

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"drp/raftstore/signed"
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

// Signed is a checkpoint with the signature of a coordinator's certificate.
type Signed struct {
	Checkpoint Checkpoint `json:"checkpoint"`
	signed.Proof
}

const checkpoint signed.Kind = "drp audit checkpoint 1\n"

// Sign gives a checkpoint as the text that ReadCheckpoint reads.
func Sign(c Checkpoint, sign signed.Signer) ([]byte, error) {
	c.At = c.At.UTC().Round(0)
	proof, err := checkpoint.Sign(c, sign)
	if err != nil {
		return nil, fmt.Errorf("sign checkpoint: %w", err)
	}
	body, err := signed.Encode(Signed{c, proof})
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
	if err := signed.Decode(body, &s); err != nil {
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
	if _, err := checkpoint.Check(s.Checkpoint, s.Proof, s.Checkpoint.Cluster, s.Checkpoint.At, roots); err != nil {
		return fmt.Errorf("checkpoint of entry %d: %w", s.Checkpoint.Seq, err)
	}
	return nil
}

// IsCheckpoint tells a checkpoint from a segment by its first bytes.
func IsCheckpoint(start []byte) bool { return bytes.HasPrefix(start, []byte(`{"checkpoint":`)) }
