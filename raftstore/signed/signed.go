// Package signed is the form of a coordinator's word that outlives its cluster: one line of JSON, signed with the coordinator's
// certificate, and with it the certificates that lead to the root. It is verified with the root alone, offline, also when
// the certificate has expired since.
//
// A line is only good in the very bytes that this package writes: what is decoded is encoded again and compared, so that a
// changed byte is a fault wherever it is, though it be a blank or the case of a letter.
package signed

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Signer signs with a coordinator's certificate: ECDSA (ASN.1) over the SHA-256 of text. chain is that certificate and
// those above it, in DER.
type Signer func(text []byte) (chain [][]byte, signature []byte, err error)

// Proof is the signature of a word.
type Proof struct {
	Chain     [][]byte `json:"chain"`     // DER, the coordinator's first
	Signature []byte   `json:"signature"` // ECDSA over the SHA-256 of the kind and the word
}

// Kind is what a word is. Certificates sign words of several kinds, and other things: it is signed with the word, so that
// nothing else is ever taken for one. It ends with a line feed.
type Kind string

func (k Kind) text(word any) ([]byte, error) {
	line, err := Encode(word)
	if err != nil {
		return nil, err
	}
	return append([]byte(k), line...), nil
}

// Sign signs a word.
func (k Kind) Sign(word any, sign Signer) (Proof, error) {
	text, err := k.text(word)
	if err != nil {
		return Proof{}, err
	}
	var p Proof
	p.Chain, p.Signature, err = sign(text)
	return p, err
}

// Check tells whether a coordinator of a cluster has signed the word, under one of these roots, and which one. Its certificate has
// to have been valid at the time that the word bears.
func (k Kind) Check(word any, p Proof, cluster string, at time.Time, roots *x509.CertPool) (coordinator string, err error) {
	if len(p.Chain) == 0 {
		return "", errors.New("it names no certificate")
	}
	leaf, err := x509.ParseCertificate(p.Chain[0])
	if err != nil {
		return "", fmt.Errorf("read its certificate: %w", err)
	}
	between := x509.NewCertPool()
	for _, der := range p.Chain[1:] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return "", fmt.Errorf("read its certificates: %w", err)
		}
		between.AddCert(c)
	}
	_, err = leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return "", fmt.Errorf("its certificate does not lead to the root: %w", err)
	}
	coordinator, err = ofCoordinator(leaf, cluster)
	if err != nil {
		return "", err
	}
	key, ok := leaf.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return "", fmt.Errorf("its certificate has a key of type %T, want ECDSA", leaf.PublicKey)
	}
	text, err := k.text(word)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	if !ecdsa.VerifyASN1(key, sum[:], p.Signature) {
		return "", errors.New("its signature is wrong: somebody changed it")
	}
	return coordinator, nil
}

// ofCoordinator holds the signer to its role and cluster: the certificate of any other part of the platform leads to the
// same root.
func ofCoordinator(c *x509.Certificate, cluster string) (name string, err error) {
	if len(c.URIs) == 1 {
		u := c.URIs[0]
		name, ok := strings.CutPrefix(u.Path, "/coordinator/")
		if ok && u.Scheme == "drp" && u.Host == cluster && name != "" {
			return name, nil
		}
	}
	return "", fmt.Errorf("it was signed by %.80q (%v), and not by a coordinator of cluster %.80q", c.Subject.CommonName, c.URIs, cluster)
}

// Encode gives a line's only good form.
func Encode(v any) ([]byte, error) {
	line, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return append(line, '\n'), nil
}

// errForm is a line that says what it says in other bytes than ours.
var errForm = errors.New("it is not in the form that drp writes, byte for byte: somebody changed it")

// Decode reads a line that has to be in its only good form.
func Decode(line []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("it cannot be read: %s", plain(err))
	}
	again, err := Encode(into)
	if err != nil {
		return fmt.Errorf("it cannot be read: %s", plain(err))
	}
	if !bytes.Equal(again, line) {
		return errForm
	}
	return nil
}

// plain makes an error of a decoder one line for a person, without what a hostile file may want a terminal to do.
func plain(err error) string {
	s := strings.TrimPrefix(err.Error(), "json: ")
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		s = "it ends too early"
	}
	if len(s) > 200 {
		s = s[:200] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) || r == '\uFFFD' {
			return '?'
		}
		return r
	}, s)
}
