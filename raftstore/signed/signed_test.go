package signed

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const kind Kind = "drp test word 1\n"

const cluster = "7d1f0c52-3c11-4b5e-9f63-0a5b6d0e9a11"

var at = time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)

// word is one with a field of each form that words have.
type word struct {
	Cluster string             `json:"cluster"`
	At      time.Time          `json:"at"`
	Count   uint64             `json:"count"`
	Less    int64              `json:"less,omitempty"`
	Hash    []byte             `json:"hash"`
	Names   []string           `json:"names,omitempty"`
	Sites   map[string]int     `json:"sites,omitempty"`
	Reason  *string            `json:"reason,omitempty"`
	Inner   struct{ Yes bool } `json:"inner"`
}

type line struct {
	Word word `json:"word"`
	Proof
}

func drawWord(t *rapid.T) word {
	text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "<&>", "\u2028", "\x00\x7f", "\ufffd", `"\`, "\U0001F600"}))
	w := word{
		Cluster: cluster, At: at.Add(time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "at"))),
		Count: rapid.Uint64().Draw(t, "count"), Less: rapid.Int64().Draw(t, "less"), Hash: rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "hash"),
	}
	w.Inner.Yes = rapid.Bool().Draw(t, "yes")
	if names := rapid.SliceOfN(text, 0, 4).Draw(t, "names"); len(names) > 0 {
		w.Names = names
	}
	if sites := rapid.MapOfN(text, rapid.Int(), 0, 4).Draw(t, "sites"); len(sites) > 0 {
		w.Sites = sites
	}
	if rapid.Bool().Draw(t, "has a reason") {
		reason := text.Draw(t, "reason")
		w.Reason = &reason
	}
	return w
}

// holder has a certificate and its key.
type holder struct {
	chain [][]byte // its own first; without the root's
	cert  *x509.Certificate
	key   crypto.Signer
}

var serial int64

// issued makes a certificate that is good from an hour before until an hour after at. by nil: it is a root.
func issued(t testing.TB, by *holder, authority bool, change func(*x509.Certificate, *crypto.Signer)) *holder {
	t.Helper()
	var key crypto.Signer
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: fmt.Sprint("holder ", serial)}, NotBefore: at.Add(-time.Hour), NotAfter: at.Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if authority {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	}
	if change != nil {
		change(template, &key)
	}
	parent := &holder{cert: template, key: key}
	if by != nil {
		parent = by
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.cert, key.Public(), parent.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	h := &holder{cert: cert, key: key}
	if by != nil {
		h.chain = append([][]byte{der}, by.chain...)
	}
	return h
}

func (h *holder) sign(text []byte) ([][]byte, []byte, error) {
	sum := sha256.Sum256(text)
	signature, err := h.key.Sign(rand.Reader, sum[:], crypto.SHA256)
	return h.chain, signature, err
}

// as names a certificate's holder.
func as(uris ...string) func(*x509.Certificate, *crypto.Signer) {
	return func(c *x509.Certificate, _ *crypto.Signer) {
		for _, text := range uris {
			u, err := url.Parse(text)
			if err != nil {
				panic(err)
			}
			c.URIs = append(c.URIs, u)
		}
	}
}

const coordinator = "drp://" + cluster + "/coordinator/par1-c"

// rig is a root, an authority below it and a coordinator below that.
type rig struct {
	roots     *x509.CertPool
	root      *holder
	authority *holder
	signer    *holder
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{roots: x509.NewCertPool(), root: issued(t, nil, true, nil)}
	r.roots.AddCert(r.root.cert)
	r.authority = issued(t, r.root, true, nil)
	r.signer = issued(t, r.authority, false, as(coordinator))
	return r
}

// failing is what rapid's tests and Go's have in common.
type failing interface {
	Fatal(...any)
	Fatalf(string, ...any)
}

func signedLine(t failing, w word, by Signer) []byte {
	proof, err := kind.Sign(w, by)
	if err != nil {
		t.Fatal(err)
	}
	text, err := Encode(line{w, proof})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// check reads a line as whoever gets one does: by the cluster that is known, at the time that the word bears.
func (r *rig) check(text []byte) (string, error) {
	var l line
	if err := Decode(text, &l); err != nil {
		return "", err
	}
	return kind.Check(l.Word, l.Proof, cluster, l.Word.At, r.roots)
}

// TestDecode: what was written is read, whatever it says, and in one form alone.
func TestDecode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawWord(t)
		text, err := Encode(want)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Count(text, []byte("\n")) != 1 {
			t.Fatalf("%q is not one line", text)
		}
		var got word
		if err := Decode(text, &got); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

// TestDecode_forms: the same, said in other bytes, is refused, and so is more than it.
func TestDecode_forms(t *testing.T) {
	good, err := Encode(word{Cluster: cluster, At: at, Names: []string{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(string) string{
		"no line feed":        func(s string) string { return strings.TrimSuffix(s, "\n") },
		"two":                 func(s string) string { return s + "\n" },
		"a carriage return":   func(s string) string { return strings.TrimSuffix(s, "\n") + "\r\n" },
		"another line":        func(s string) string { return s + s },
		"a blank":             func(s string) string { return strings.Replace(s, ":", ": ", 1) },
		"the case of a field": func(s string) string { return strings.Replace(s, `"cluster"`, `"Cluster"`, 1) },
		"an escape":           func(s string) string { return strings.Replace(s, `["a"]`, `["\u0061"]`, 1) },
		"a field twice":       func(s string) string { return strings.Replace(s, `{"cluster":`, `{"cluster":"x","cluster":`, 1) },
		"an unknown field":    func(s string) string { return strings.Replace(s, `{"cluster":`, `{"who":1,"cluster":`, 1) },
		"an empty field":      func(s string) string { return strings.Replace(s, `"names":`, `"less":0,"names":`, 1) },
		"another order": func(s string) string {
			return strings.Replace(strings.Replace(s, `"count":0,`, "", 1), `"at":`, `"count":0,"at":`, 1)
		},
		"another form of time": func(s string) string { return strings.Replace(s, "03:00:00Z", "03:00:00.0Z", 1) },
		"a byte order mark":    func(s string) string { return "\ufeff" + s },
		"nothing":              func(string) string { return "" },
		"half of it":           func(s string) string { return s[:len(s)/2] },
	} {
		t.Run(name, func(t *testing.T) {
			text := change(string(good))
			if text == string(good) {
				t.Fatal("the same line")
			}
			if err := Decode([]byte(text), new(word)); err == nil {
				t.Errorf("%q was taken", text)
			}
		})
	}
	hostile := Decode([]byte(`{"`+"\x1b[2J\u009b"+strings.Repeat("x", 1000)+`":1}`), new(word))
	if hostile == nil || strings.ContainsAny(hostile.Error(), "\x1b\u009b") || len(hostile.Error()) > 300 {
		t.Errorf("got %q", hostile)
	}
}

// TestCheck_oneByte: of a signed line no byte is changed, put in or taken out unseen: of what it says, of the signature or of the
// certificates.
func TestCheck_oneByte(t *testing.T) {
	r := newRig(t)
	refused := func(t failing, text []byte, what string, n int) {
		if _, err := r.check(text); err == nil {
			t.Fatalf("taken with one byte %s at %d of %d: %q", what, n, len(text), text)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		good := signedLine(t, drawWord(t), r.signer.sign)
		if name, err := r.check(good); err != nil || name != "par1-c" {
			t.Fatalf("got %q, %v", name, err)
		}
		n := rapid.IntRange(0, len(good)-1).Draw(t, "place")
		b := rapid.Byte().Draw(t, "byte")
		if b != good[n] {
			changed := slices.Clone(good)
			changed[n] = b
			refused(t, changed, "changed", n)
		}
		refused(t, slices.Insert(slices.Clone(good), n, b), "put in", n)
		refused(t, append(slices.Clone(good), b), "put in", len(good))
		refused(t, slices.Delete(slices.Clone(good), n, n+1), "taken out", n)
	})
	good := signedLine(t, word{Cluster: cluster, At: at, Count: 7, Hash: []byte("hash"), Names: []string{"a", "b"}}, r.signer.sign)
	for n := range good { // and every place of one
		for _, bits := range []byte{1, ' '} { // the next letter, and the other case
			changed := slices.Clone(good)
			changed[n] ^= bits
			refused(t, changed, "changed", n)
		}
		refused(t, slices.Delete(slices.Clone(good), n, n+1), "taken out", n)
		refused(t, slices.Insert(slices.Clone(good), n, good[n]), "put in", n)
	}
}

// TestCheck_whose: only a coordinator of this cluster vouches, for a word of this kind, by a certificate that was good when it did and
// leads to the root.
func TestCheck_whose(t *testing.T) {
	r := newRig(t)
	w := word{Cluster: cluster, At: at, Reason: new(string)}
	stranger := newRig(t)
	under := func(by *holder, change func(*x509.Certificate, *crypto.Signer)) Signer {
		return issued(t, by, false, change).sign
	}
	valid := func(from, until time.Duration) func(*x509.Certificate, *crypto.Signer) {
		return func(c *x509.Certificate, key *crypto.Signer) {
			as(coordinator)(c, key)
			c.NotBefore, c.NotAfter = at.Add(from), at.Add(until)
		}
	}
	shortly := issued(t, r.root, true, valid(-3*time.Hour, -time.Hour))
	for name, c := range map[string]struct {
		by   Signer
		want string // in the error; empty: the coordinator's name is
	}{
		"its own":               {r.signer.sign, ""},
		"right below the root":  {under(r.root, as(coordinator)), ""},
		"another cluster":       {under(r.authority, as("drp://another/coordinator/par1-c")), "not by a coordinator of cluster"},
		"a server":              {under(r.authority, as("drp://"+cluster+"/server/par1-s1")), "not by a coordinator of cluster"},
		"an operator":           {under(r.authority, as("drp://"+cluster+"/operator/coordinator")), "not by a coordinator of cluster"},
		"a coordinator unnamed": {under(r.authority, as("drp://"+cluster+"/coordinator/")), "not by a coordinator of cluster"},
		"another scheme":        {under(r.authority, as("spiffe://"+cluster+"/coordinator/par1-c")), "not by a coordinator of cluster"},
		"two names":             {under(r.authority, as(coordinator, "drp://"+cluster+"/server/par1-s1")), "not by a coordinator of cluster"},
		"no name":               {under(r.authority, nil), "not by a coordinator of cluster"},
		"the authority":         {r.authority.sign, "not by a coordinator of cluster"},
		"another root":          {stranger.signer.sign, "does not lead to the root"},
		"expired":               {under(r.authority, valid(-2*time.Hour, -time.Minute)), "does not lead to the root"},
		"not valid yet":         {under(r.authority, valid(time.Minute, time.Hour)), "does not lead to the root"},
		"an authority expired":  {under(shortly, as(coordinator)), "does not lead to the root"},
		"below no authority":    {under(r.signer, as(coordinator)), "does not lead to the root"},
		"an authority left out": {func(text []byte) ([][]byte, []byte, error) { c, s, err := r.signer.sign(text); return c[:1], s, err }, "does not lead to the root"},
		"no certificate":        {func(text []byte) ([][]byte, []byte, error) { _, s, err := r.signer.sign(text); return nil, s, err }, "names no certificate"},
		"no certificate's form": {func(text []byte) ([][]byte, []byte, error) { return [][]byte{text}, text, nil }, "read its certificate:"},
		"nor that of one above": {func(text []byte) ([][]byte, []byte, error) {
			c, s, err := r.signer.sign(text)
			return [][]byte{c[0], text}, s, err
		}, "read its certificates:"},
		"no signature": {func([]byte) ([][]byte, []byte, error) { return r.signer.chain, nil, nil }, "its signature is wrong"},
		"the signature of another": {func(text []byte) ([][]byte, []byte, error) {
			_, s, err := issued(t, r.authority, false, as(coordinator)).sign(text)
			return r.signer.chain, s, err
		}, "its signature is wrong"},
		"a key of another form": {func(text []byte) ([][]byte, []byte, error) {
			_, s, err := r.signer.sign(text)
			return issued(t, r.authority, false, func(c *x509.Certificate, key *crypto.Signer) {
				as(coordinator)(c, key)
				_, *key, _ = ed25519.GenerateKey(rand.Reader)
			}).chain, s, err
		}, "ed25519"},
	} {
		t.Run(name, func(t *testing.T) {
			who, err := r.check(signedLine(t, w, c.by))
			switch {
			case c.want == "" && (err != nil || who != "par1-c"):
				t.Errorf("got %q, %v", who, err)
			case c.want != "" && (err == nil || who != "" || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %q, %v, want %q", who, err, c.want)
			}
		})
	}
}

// TestKind: what was signed as one kind is not taken for another, nor for a kind whose name goes on as the word begins.
func TestKind(t *testing.T) {
	r := newRig(t)
	rapid.Check(t, func(t *rapid.T) {
		w := drawWord(t)
		other := Kind(rapid.SampledFrom([]string{"drp test word 2\n", "drp audit checkpoint 1\n", "", "\n", "drp test word 1", "drp test word 1\n{"}).Draw(t, "kind"))
		p, err := other.Sign(w, r.signer.sign)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := kind.Check(w, p, cluster, w.At, r.roots); err == nil || !strings.Contains(err.Error(), "its signature is wrong") {
			t.Fatalf("signed as %q: got %v", other, err)
		}
		if who, err := other.Check(w, p, cluster, w.At, r.roots); err != nil || who != "par1-c" {
			t.Fatalf("got %q, %v", who, err)
		}
	})
	fails := errors.New("no key")
	if _, err := kind.Sign(word{}, func([]byte) ([][]byte, []byte, error) { return nil, nil, fails }); !errors.Is(err, fails) {
		t.Errorf("got %v", err)
	}
}
