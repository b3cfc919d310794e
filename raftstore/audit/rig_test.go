package audit

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"drp/raftstore/signed"
	"drp/raftstore/state"
)

const cluster = "7d1f0c52-3c11-4b5e-9f63-0a5b6d0e9a11"

var epoch = time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)

// history is a state that a test writes to.
type history struct {
	tb    testing.TB
	state *state.State
	index uint64
}

func newHistory(tb testing.TB) *history {
	h := &history{tb: tb, state: state.New()}
	h.do(state.ClusterInit, state.ClusterInitData{UUID: cluster, Incarnation: 1, Level: state.Level})
	return h
}

func (h *history) do(name state.Name, payload any) {
	h.tb.Helper()
	h.index++
	at := epoch.Add(time.Duration(h.index) * 1500 * time.Millisecond)
	if _, err := h.state.Apply(h.index, state.NewCommand(name, fmt.Sprintf("c%d", h.index), at, "operator/ada", payload)); err != nil {
		h.tb.Fatal(err)
	}
}

// live does n things that people and daemons do, some of which are refused.
func (h *history) live(n int) *history {
	h.tb.Helper()
	for i := range n {
		switch i % 4 {
		case 0:
			h.do(state.AuditNote, state.AuditNoteData{Action: "read snapshots", Account: "guestbook", Detail: `by "GET /v1/…" <&>` + "\u2028\t"})
		case 1:
			h.do(state.TokenRevoke, state.TokenRevokeData{Name: fmt.Sprintf("nobody-%d", i)}) // refused
		case 2:
			h.do(state.AuditNote, state.AuditNoteData{Action: "list accounts"})
		default:
			h.do(state.TokenRevoke, state.TokenRevokeData{Name: "x"})
		}
	}
	return h
}

// fork is a history that begins with what this one holds now, as after a recovery from an export.
func (h *history) fork() *history {
	h.tb.Helper()
	var b bytes.Buffer
	if err := h.state.View().Persist(&b); err != nil {
		h.tb.Fatal(err)
	}
	s, err := state.Restore(&b)
	if err != nil {
		h.tb.Fatal(err)
	}
	return &history{tb: h.tb, state: s, index: h.index}
}

func (h *history) recover(incarnation uint64) *history {
	h.tb.Helper()
	h.do(state.ClusterRecover, state.ClusterRecoverData{UUID: cluster, Incarnation: incarnation, How: state.RecoveredExport, Source: "par2"})
	return h
}

func (h *history) last() uint64 { return h.state.View().AuditHead().Seq }

// segment exports entries first to last; last 0: to the end.
func (h *history) segment(first, last uint64) []byte {
	h.tb.Helper()
	v := h.state.View()
	if last == 0 {
		last = v.AuditHead().Seq
	}
	header := Header{Cluster: cluster, First: first}
	if first > 1 {
		header.Previous = v.Audit(first-1, 1)[0].Hash
	}
	return write(h.tb, header, v.Audit(first, int(last-first+1)))
}

func write(tb testing.TB, header Header, entries []*state.AuditEntry) []byte {
	tb.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, header)
	if err != nil {
		tb.Fatal(err)
	}
	for _, e := range entries {
		if err := w.Add(e); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// checkpoint is a coordinator's word on an entry; 0: on the newest.
func (h *history) checkpoint(seq uint64) Checkpoint {
	h.tb.Helper()
	v := h.state.View()
	if seq == 0 {
		seq = v.AuditHead().Seq
	}
	return Checkpoint{Cluster: cluster, Incarnation: v.Cluster().Incarnation, Seq: seq, Hash: v.Audit(seq, 1)[0].Hash, At: epoch}
}

func file(name string, text []byte) File {
	return File{Name: name, Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil }}
}

// lines with their ends.
func lines(text []byte) []string {
	all := strings.SplitAfter(string(text), "\n")
	if all[len(all)-1] == "" {
		all = all[:len(all)-1]
	}
	return all
}

// rewritten makes a trail of these entries with right numbers, hashes and trailer, as somebody who can compute would.
func rewritten(tb testing.TB, header Header, entries []*state.AuditEntry) []byte {
	tb.Helper()
	var fresh []*state.AuditEntry
	head := header.Previous
	for i, e := range entries {
		next := *e
		next.Seq = header.First + uint64(i)
		next.Hash = next.Chain(head)
		head = next.Hash
		fresh = append(fresh, &next)
	}
	return write(tb, header, fresh)
}

// summed gives lines a trailer whose SHA-256 is right, though nothing else may be.
func summed(all []string) []byte {
	body := strings.Join(all[:len(all)-1], "")
	var t trailer
	if signed.Decode([]byte(all[len(all)-1]), &t) != nil {
		return []byte(strings.Join(all, ""))
	}
	t.SHA256 = sha256.Sum256([]byte(body))
	line, err := signed.Encode(t)
	if err != nil {
		panic(err)
	}
	return append([]byte(body), line...)
}

// authority is a root with certificates under it.
type authority struct {
	tb   testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(tb testing.TB, parent *authority) *authority {
	tb.Helper()
	a := &authority{tb: tb}
	a.cert, a.key = sign(tb, &x509.Certificate{
		Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: epoch.Add(-time.Hour), NotAfter: epoch.Add(1000 * time.Hour),
	}, parent)
	return a
}

func sign(tb testing.TB, template *x509.Certificate, parent *authority) (*x509.Certificate, *ecdsa.PrivateKey) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template.SerialNumber = big.NewInt(1)
	by, byKey := template, key
	if parent != nil {
		by, byKey = parent.cert, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by, &key.PublicKey, byKey)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return cert, key
}

// holder signs with a certificate.
type holder struct {
	key   *ecdsa.PrivateKey
	chain [][]byte
}

func (a *authority) holder(uri string, chain ...*authority) *holder {
	a.tb.Helper()
	u, err := url.Parse(uri)
	if err != nil {
		a.tb.Fatal(err)
	}
	cert, key := sign(a.tb, &x509.Certificate{
		Subject: pkix.Name{CommonName: uri}, URIs: []*url.URL{u}, NotBefore: epoch.Add(-time.Hour), NotAfter: epoch.Add(30 * 24 * time.Hour),
	}, a)
	h := &holder{key: key, chain: [][]byte{cert.Raw}}
	for _, c := range chain {
		h.chain = append(h.chain, c.cert.Raw)
	}
	return h
}

func (h *holder) sign(text []byte) ([][]byte, []byte, error) {
	sum := sha256.Sum256(text)
	signature, err := ecdsa.SignASN1(rand.Reader, h.key, sum[:])
	return h.chain, signature, err
}
