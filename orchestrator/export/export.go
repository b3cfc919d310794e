// Package export seals the state to people and coordinators, so that it outlives every coordinator: one store and one
// offline key are then enough to bring the platform's word back.
//
// An export is two objects of one name: NAME.age is the state as state.View.Persist writes it, compressed (gzip) and
// sealed (age); NAME.json is its manifest, which holds no secret. Three sums say that an export is whole: the manifest's
// of the sealed bytes, age's own of each chunk (and of the last one being there), and the state's digest of every row.
// None of them says who made it: anybody can seal to a public key. So the manifest is signed with the certificate of the
// coordinator that made it.
package export

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"filippo.io/age"

	"drp/orchestrator/sealing"
	"drp/raftstore/state"
)

// Errors of an export that is there and cannot be used.
var (
	// ErrDamaged: it is not what was written.
	ErrDamaged = errors.New("damaged")
	// ErrClosed: the key that was given is not among those that it was sealed to.
	ErrClosed = errors.New("sealed to other keys")
	// ErrUnsigned: no coordinator of this platform vouches for it.
	ErrUnsigned = errors.New("not signed by a coordinator of this platform")
	// ErrDisbelieved: what others signed before it speaks against its signer.
	ErrDisbelieved = errors.New("its signer is not believed")
)

// Manifest says what an export holds, in clear.
type Manifest struct {
	Cluster     string       `json:"cluster"` // its UUID
	Incarnation uint64       `json:"incarnation"`
	Index       uint64       `json:"index"`  // of the log: what was committed later is not in it
	Digest      state.Digest `json:"digest"` // of the state
	At          time.Time    `json:"at"`     // by the clock of the coordinator that made it
	By          string       `json:"by"`     // that coordinator
	Sum         state.Digest `json:"sum"`    // SHA-256 of the sealed bytes
	Size        int64        `json:"size"`   // of the sealed bytes
	AuditSeq    uint64       `json:"audit_seq"`
	AuditHash   state.Digest `json:"audit_hash"` // of the newest entry of the audit trail in it

	// Chain is the certificate of the coordinator that made it, and what vouches for that (DER); Signature is over Signed.
	Chain     [][]byte `json:"chain,omitempty"`
	Signature []byte   `json:"signature,omitempty"`
}

// Signed is what a signature is over: the manifest without it.
func (m Manifest) Signed() []byte {
	m.Chain, m.Signature = nil, nil
	data, err := json.Marshal(m)
	if err != nil {
		panic("export: encode manifest: " + err.Error()) // plain values
	}
	return append([]byte("drp export\n"), data...)
}

const nameTime = "20060102T150405Z"

// Name orders exports by what they hold and not by clocks: of two, the one whose name is greater has the newer state.
func (m Manifest) Name() string {
	return fmt.Sprintf("i%06d-%016d-%s-%s", m.Incarnation, m.Index, m.At.UTC().Format(nameTime), m.Digest.String()[:16])
}

// Suffixes of an export's two objects.
const (
	Sealed = ".age"
	Clear  = ".json"
)

// Write seals a view to recipients (age1…). A state that does not give its own digest is not written: nobody could
// read it again.
func Write(w io.Writer, v *state.View, to []string, by string, at time.Time) (Manifest, error) {
	recipients, err := sealing.ParseRecipients(to)
	if err == nil && len(recipients) == 0 {
		err = errors.New("there is nobody to seal it to")
	}
	if err != nil {
		return Manifest{}, fmt.Errorf("export state: %w", err)
	}
	cluster := v.Cluster()
	if cluster == nil {
		return Manifest{}, errors.New("export state: the cluster has no identity yet")
	}
	digest, err := v.Recompute()
	if err != nil {
		return Manifest{}, fmt.Errorf("export state: %w", err)
	}
	if digest != v.Digest() {
		return Manifest{}, fmt.Errorf("export state: its rows give the digest %s, and not %s: this coordinator's memory is damaged: %w", digest, v.Digest(), ErrDamaged)
	}
	sum := &counted{hash: sha256.New()}
	sealed, err := age.Encrypt(io.MultiWriter(w, sum), recipients...)
	if err != nil {
		return Manifest{}, fmt.Errorf("export state: seal: %w", err)
	}
	packed := gzip.NewWriter(sealed)
	if err := errors.Join(v.Persist(packed), packed.Close(), sealed.Close()); err != nil {
		return Manifest{}, fmt.Errorf("export state: %w", err)
	}
	head := v.AuditHead()
	return Manifest{
		Cluster: cluster.UUID, Incarnation: cluster.Incarnation, Index: v.Index(), Digest: digest, At: at.UTC().Truncate(time.Second), By: by,
		Sum: state.Digest(sum.hash.Sum(nil)), Size: sum.size, AuditSeq: head.Seq, AuditHash: head.Hash,
	}, nil
}

// counted is the hash and the number of the bytes written.
type counted struct {
	hash hash.Hash
	size int64
}

func (c *counted) Write(p []byte) (int, error) {
	c.size += int64(len(p))
	return c.hash.Write(p)
}

// Open reads what Write wrote. It refuses what was cut short or changed.
func Open(sealed io.Reader, identities ...age.Identity) (*state.State, error) {
	plain, err := age.Decrypt(sealed, identities...)
	var none *age.NoIdentityMatchError
	switch {
	case errors.As(err, &none):
		return nil, fmt.Errorf("open export: %w", ErrClosed)
	case err != nil:
		return nil, fmt.Errorf("open export: %w: %w", ErrDamaged, err)
	}
	unpacked, err := gzip.NewReader(plain)
	if err != nil {
		return nil, fmt.Errorf("open export: %w: %w", ErrDamaged, err)
	}
	s, err := state.Restore(unpacked)
	if err != nil {
		return nil, fmt.Errorf("open export: %w: %w", ErrDamaged, err)
	}
	if _, err := io.Copy(io.Discard, unpacked); err != nil { // the sums are at the end
		return nil, fmt.Errorf("open export: %w: %w", ErrDamaged, err)
	}
	return s, nil
}

// Check opens an export and holds it against its manifest.
func (m Manifest) Check(sealed []byte, identities ...age.Identity) (*state.State, error) {
	if got := state.Sum(sealed); got != m.Sum || int64(len(sealed)) != m.Size {
		return nil, fmt.Errorf("open export: %w: it has %d bytes with the sum %s, and its manifest says %d and %s", ErrDamaged, len(sealed), got, m.Size, m.Sum)
	}
	s, err := Open(bytes.NewReader(sealed), identities...)
	if err != nil {
		return nil, err
	}
	v := s.View()
	cluster := v.Cluster()
	if cluster == nil || cluster.UUID != m.Cluster || cluster.Incarnation != m.Incarnation || v.Index() != m.Index || v.Digest() != m.Digest {
		return nil, fmt.Errorf("open export: %w: it is not the state that its manifest names", ErrDamaged)
	}
	return s, nil
}
