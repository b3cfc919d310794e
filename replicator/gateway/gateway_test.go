package gateway

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drp/raftstore/identity"
	"drp/replicator"
)

// contents is all that a bucket holds, and how it got there is not asked.
func contents(t testing.TB, c replicator.StoreConfig) map[string]string {
	t.Helper()
	s := openStore(t, c)
	list, err := s.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, o := range list {
		part, err := s.Get(t.Context(), o.Key, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(part.Body)
		part.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		all[o.Key] = name(b)
	}
	return all
}

// seed puts a small repository's files into the bucket; they are what a repository has by name only.
func seed(t testing.TB, s Store) map[folder]string {
	t.Helper()
	names := map[folder]string{}
	for _, f := range []folder{keys, data, index, snapshots, locks} {
		content := []byte("content of " + f)
		x := target{account: account, folder: f, name: name(content)}
		names[f] = x.name
		if err := s.Put(t.Context(), x.key(), x.name, int64(len(content)), bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
	}
	content := []byte("config")
	if err := s.Put(t.Context(), account+"/config", name(content), int64(len(content)), bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	return names
}

func TestGateway_refuses(t *testing.T) {
	_, c := realStore(t)
	store := openStore(t, c)
	p := newPlatform(t, store)
	names := seed(t, store)
	before := contents(t, c)
	unchanged := func(t *testing.T) {
		t.Helper()
		if diff := cmp.Diff(before, contents(t, c)); diff != "" {
			t.Errorf("the store has changed (-before +after):\n%s", diff)
		}
	}
	fresh, large := []byte("something new"), pattern(1, 3*withheld)
	ours := p.agent(server)

	// Everything that a client may try, whatever it is allowed to.
	type try struct {
		method, path string
		body         []byte
	}
	var reads, writes []try
	reads = append(reads, try{"GET", "config", nil}, try{"HEAD", "config", nil})
	for f, n := range names {
		reads = append(reads, try{"GET", string(f) + "/", nil}, try{"GET", string(f) + "/" + n, nil}, try{"HEAD", string(f) + "/" + n, nil})
	}
	for _, f := range []folder{data, index, snapshots, locks} {
		writes = append(writes, try{"POST", string(f) + "/" + name(fresh), fresh}, try{"POST", string(f) + "/" + name(large), large})
	}
	unlock := try{"DELETE", "locks/" + names[locks], nil}
	always := []try{ // refused with every grant
		{"POST", "?create=true", nil}, {"POST", "config", fresh}, {"DELETE", "config", nil}, {"GET", "", nil},
		{"POST", "keys/" + name(fresh), fresh}, {"POST", "keys/" + names[keys], []byte("content of keys")},
		{"DELETE", "keys/" + names[keys], nil}, {"DELETE", "data/" + names[data], nil}, {"DELETE", "index/" + names[index], nil},
		{"DELETE", "snapshots/" + names[snapshots], nil}, {"DELETE", "locks/", nil}, {"POST", "data/", fresh},
	}
	everything := append(append(append(append([]try{}, reads...), writes...), always...), unlock)

	t.Run("connections", func(t *testing.T) {
		other, err := identity.NewAuthority("test")
		if err != nil {
			t.Fatal(err)
		}
		cert, key, err := other.Issue(identity.Agent, server, nil, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		p.grant(writable)
		for who, client := range map[string]*http.Client{
			"no certificate":    p.client(nil, nil),
			"foreign authority": p.client(cert, key),
			"worker":            p.client(p.issue(identity.Worker, server)),
			"gateway":           p.client(p.issue(identity.Gateway, server)),
			"operator":          p.client(p.issue(identity.Operator, server)),
			"support":           p.client(p.issue(identity.Support, server)),
		} {
			for _, x := range []try{reads[0], writes[0], unlock} {
				var body io.Reader
				if x.body != nil {
					body = bytes.NewReader(x.body)
				}
				if got, err := p.do(client, x.method, x.path, body); err == nil {
					t.Errorf("%s: %s %s: got %d, want no connection", who, x.method, x.path, got.status)
				}
			}
		}
		for _, x := range everything { // one that bears the name of the server, too
			p.want(http.StatusForbidden, p.client(p.issue(identity.Coordinator, server)), x.method, x.path, x.body)
		}
		unchanged(t)
	})
	tests := []struct {
		name   string
		client *http.Client
		grants []Grant
		path   func(string) string
		tries  []try
	}{
		{name: "no grants", client: ours, tries: everything},
		{name: "another server", client: p.agent("par1-s2"), grants: []Grant{writable}, tries: everything},
		{name: "another account", client: ours, grants: []Grant{{Account: "shop", Server: server, Token: token, Write: true}}, tries: everything},
		{name: "older token", client: ours, grants: []Grant{{Account: account, Server: server, Token: "1.8", Write: true}}, tries: everything},
		{name: "older incarnation", client: ours, grants: []Grant{{Account: account, Server: server, Token: "2.7", Write: true}}, tries: everything},
		{name: "reader", client: ours, grants: []Grant{{Account: account, Server: server, Token: token}}, tries: append(append([]try{unlock}, writes...), always...)},
		{name: "writer", client: ours, grants: []Grant{writable}, tries: always},
	}
	for _, x := range tests {
		t.Run(x.name, func(t *testing.T) {
			p.grant(x.grants...)
			for _, y := range x.tries {
				p.want(http.StatusForbidden, x.client, y.method, y.path, y.body)
			}
			unchanged(t)
		})
	}
	t.Run("reader reads", func(t *testing.T) {
		p.grant(Grant{Account: account, Server: server, Token: token})
		for _, y := range reads {
			p.want(http.StatusOK, ours, y.method, y.path, nil)
		}
	})
	t.Run("content that is not its name", func(t *testing.T) {
		p.grant(writable)
		for _, f := range []folder{data, index, snapshots, locks} {
			p.want(http.StatusBadRequest, ours, "POST", string(f)+"/"+name(large), fresh)
			p.want(http.StatusBadRequest, ours, "POST", string(f)+"/"+name(fresh), large)
			p.want(http.StatusBadRequest, ours, "POST", string(f)+"/"+name(fresh), []byte{})
		}
		unchanged(t)
	})
	t.Run("without a length", func(t *testing.T) {
		p.grant(writable)
		http1 := p.client(appendPair(p.issue(identity.Agent, server)))
		for _, c := range []*http.Client{ours, http1} {
			got, err := p.do(c, "POST", "data/"+name(large), io.MultiReader(bytes.NewReader(large)))
			if err != nil || got.status != http.StatusLengthRequired {
				t.Errorf("got %v, %v, want 411", got.status, err)
			}
		}
		unchanged(t)
	})
	t.Run("too large", func(t *testing.T) {
		p.grant(writable)
		p.gateway.MaxObject = int64(len(large)) - 1
		defer func() { p.gateway.MaxObject = 0 }()
		p.want(http.StatusForbidden, ours, "POST", "data/"+name(large), large)
		unchanged(t)
	})
	t.Run("other methods", func(t *testing.T) {
		p.grant(writable)
		for _, m := range []string{"PUT", "PATCH", "OPTIONS", "TRACE", "COPY"} {
			p.want(http.StatusMethodNotAllowed, ours, m, "data/"+name(fresh), fresh)
		}
		unchanged(t)
	})
	t.Run("other content under a stored name", func(t *testing.T) {
		p.grant(writable)
		p.want(http.StatusBadRequest, ours, "POST", "data/"+names[data], fresh)
		p.want(http.StatusBadRequest, ours, "POST", "snapshots/"+names[snapshots], large)
		unchanged(t)
	})
	t.Run("paths", func(t *testing.T) {
		p.grant(writable, Grant{Account: "..", Server: server, Token: token, Write: true}, Grant{Account: "", Server: server, Token: token, Write: true})
		n := name(fresh)
		for _, path := range []string{
			"/", "//", "/" + account, "/" + account + "/" + token, "/" + account + "/" + token + "//", "/../" + token + "/data/" + n,
			"//" + token + "/data/" + n, "/" + account + "/" + token + "/../data/" + n, "/" + account + "/" + token + "/data/../data/" + n,
			"/" + account + "/" + token + "/data/" + n + "/", "/" + account + "/" + token + "/data/" + n[:2] + "/" + n,
			"/" + account + "/" + token + "/data/" + n[:63], "/" + account + "/" + token + "/data/" + n + "0",
			"/" + account + "/" + token + "/data/" + strings.ToUpper(n), "/" + account + "/" + token + "/data/%2e%2e%2fconfig",
			"/%67uestbook/" + token + "/data/" + n, "/" + account + "/" + token + "/data%2F" + n, "/" + account + "/01.7/data/" + n,
			"/" + account + "/1.7.0/data/" + n, "/" + account + "/1/data/" + n, "/" + account + "/" + token + "/Data/" + n,
			"/" + account + "/" + token + "/tmp/" + n, "/" + account + "/" + token + "/config/", "/" + account + "/" + token + "/config/" + n,
			"/" + account + "/" + token + "/data", "/" + account + "/" + token + "/data/" + n + "%00", "/" + strings.Repeat("a", 64) + "/" + token + "/data/" + n,
		} {
			for _, m := range []string{"GET", "HEAD", "POST", "DELETE"} {
				p.want(http.StatusForbidden, ours, m, path, fresh)
			}
		}
		unchanged(t)
	})
}

// appendPair passes a pair on together with the wish for HTTP/1.1.
func appendPair(cert, key []byte) ([]byte, []byte, string) { return cert, key, "http/1.1" }

func TestGateway_expiredCertificate(t *testing.T) {
	p := newPlatform(t, nil)
	state := func(validity time.Duration) *tls.ConnectionState {
		certPEM, _, err := p.authority.Issue(identity.Agent, server, nil, validity)
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(certPEM)
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		return &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{c}}}
	}
	if got, err := p.gateway.callerOf(state(time.Hour), identity.Agent); err != nil || got != server {
		t.Errorf("valid: got %q, %v, want %q", got, err, server)
	}
	var no *refusal
	if _, err := p.gateway.callerOf(state(-time.Minute), identity.Agent); !errors.As(err, &no) || no.status != http.StatusForbidden {
		t.Errorf("expired in the middle of a connection: got %v, want 403", err)
	}
}

func TestGateway_objects(t *testing.T) {
	for _, protocol := range []string{"h2", "http/1.1"} {
		t.Run(protocol, func(t *testing.T) {
			_, c := realStore(t)
			p := newPlatform(t, openStore(t, c))
			p.grant(writable)
			cert, key := p.issue(identity.Agent, server)
			agent := p.client(cert, key)
			if protocol != "h2" {
				agent = p.client(cert, key, protocol)
			}
			for i, size := range []int{0, 1, withheld - 1, withheld, withheld + 1, 2*withheld + 17, 1 << 20} {
				content := pattern(byte(i), size)
				for _, f := range []folder{data, index, snapshots, locks} {
					path := string(f) + "/" + name(content)
					p.want(http.StatusNotFound, agent, "HEAD", path, nil)
					p.want(http.StatusOK, agent, "POST", path, content)
					p.want(http.StatusOK, agent, "POST", path, content) // a lost reply
					got := p.want(http.StatusOK, agent, "GET", path, nil)
					if !bytes.Equal(got.body, content) {
						t.Errorf("GET %s: got %d bytes, want %d others", path, len(got.body), len(content))
					}
					got = p.want(http.StatusOK, agent, "HEAD", path, nil)
					if want := fmt.Sprint(size); got.header.Get("Content-Length") != want {
						t.Errorf("HEAD %s: got length %q, want %s", path, got.header.Get("Content-Length"), want)
					}
				}
				lock := "locks/" + name(content)
				p.want(http.StatusOK, agent, "DELETE", lock, nil)
				p.want(http.StatusNotFound, agent, "GET", lock, nil)
				p.want(http.StatusOK, agent, "DELETE", lock, nil) // twice does no harm
			}
		})
	}
	t.Run("layout", func(t *testing.T) {
		_, c := realStore(t)
		store := openStore(t, c)
		content := pattern(200, 10)
		p := newPlatform(t, store)
		p.grant(writable)
		n := name(content)
		p.want(http.StatusOK, p.agent(server), "POST", "data/"+n, content)
		if _, err := store.Stat(t.Context(), account+"/data/"+n[:2]+"/"+n); err != nil {
			t.Error(err)
		}
	})
}

func TestGateway_ranges(t *testing.T) {
	_, c := realStore(t)
	p := newPlatform(t, openStore(t, c))
	p.grant(writable)
	agent := p.agent(server)
	content := pattern(3, 100_000)
	path := "data/" + name(content)
	p.want(http.StatusOK, agent, "POST", path, content)
	for header, want := range map[string]struct{ status, from, to int }{
		"bytes=0-":           {200, 0, 100_000},
		"bytes=10-":          {206, 10, 100_000},
		"bytes=10-19":        {206, 10, 20},
		"bytes=0-0":          {206, 0, 1},
		"bytes=99999-":       {206, 99_999, 100_000},
		"bytes=99990-200000": {206, 99_990, 100_000},
		"bytes=-5":           {200, 0, 100_000}, // not honoured, so the whole
		"bytes=1-2,5-6":      {200, 0, 100_000},
		"lines=1-2":          {200, 0, 100_000},
	} {
		got := p.want(want.status, agent, "GET", path, nil, "Range", header)
		if !bytes.Equal(got.body, content[want.from:want.to]) {
			t.Errorf("%s: got %d bytes, want %d", header, len(got.body), want.to-want.from)
		}
		if wantRange := fmt.Sprintf("bytes %d-%d/100000", want.from, want.to-1); want.status == 206 && got.header.Get("Content-Range") != wantRange {
			t.Errorf("%s: got %q, want %q", header, got.header.Get("Content-Range"), wantRange)
		}
	}
	for _, header := range []string{"bytes=100000-", "bytes=200000-300000", "bytes=9-3"} {
		p.want(http.StatusRequestedRangeNotSatisfiable, agent, "GET", path, nil, "Range", header)
	}
}

func TestGateway_listings(t *testing.T) {
	_, c := realStore(t)
	store := openStore(t, c)
	p := newPlatform(t, store)
	p.grant(writable)
	agent := p.agent(server)
	one, two := []byte("a"), []byte("bb")
	for _, x := range [][]byte{one, two} {
		p.want(http.StatusOK, agent, "POST", "data/"+name(x), x)
	}
	// What restic did not put there is not shown to it, and another account's repository is none of ours.
	for _, key := range []string{account + "/data/README", account + "/data/zz/" + name(one), account + "2/data/" + name(two)[:2] + "/" + name(two)} {
		if err := store.Put(t.Context(), key, name(one), 1, bytes.NewReader(one)); err != nil {
			t.Fatal(err)
		}
	}
	first, second := fmt.Sprintf("%q", name(two)), fmt.Sprintf("%q", name(one)) // 3b… before ca…
	got := p.want(http.StatusOK, agent, "GET", "data/", nil)
	if want := "[" + first + "," + second + "]\n"; string(got.body) != want || got.header.Get("Content-Type") != listV1 {
		t.Errorf("version 1: got %s %q, want %q", got.header.Get("Content-Type"), got.body, want)
	}
	got = p.want(http.StatusOK, agent, "GET", "data/", nil, "Accept", listV2)
	if want := `[{"name":` + first + `,"size":2},{"name":` + second + `,"size":1}]` + "\n"; string(got.body) != want || got.header.Get("Content-Type") != listV2 {
		t.Errorf("version 2: got %s %q, want %q", got.header.Get("Content-Type"), got.body, want)
	}
	if got = p.want(http.StatusOK, agent, "GET", "snapshots/", nil, "Accept", listV2); string(got.body) != "[]\n" {
		t.Errorf("empty folder: got %q", got.body)
	}
}

func TestGateway_missingBucketIsNoMissingRepository(t *testing.T) {
	_, c := realStore(t)
	c.Bucket = "drp-par9"
	p := newPlatform(t, openStore(t, c))
	p.gateway.HoldFor = time.Millisecond
	p.grant(writable)
	agent := p.agent(server)
	for _, method := range []string{"HEAD", "GET"} {
		p.want(http.StatusServiceUnavailable, agent, method, "config", nil)
	}
	p.want(http.StatusServiceUnavailable, agent, "GET", "snapshots/", nil)
	p.want(http.StatusServiceUnavailable, agent, "POST", "data/"+name([]byte("x")), []byte("x"))
}

// A later repository of an account has a place, and grants, of its own.
func TestGateway_laterRepository(t *testing.T) {
	_, c := realStore(t)
	p := newPlatform(t, openStore(t, c))
	p.grant(Grant{Account: account, Server: server, Token: token}, Grant{Account: account + "~2", Server: server, Token: token, Write: true})
	agent, object := p.agent(server), []byte("x")
	at := func(repository string) string { return "/" + repository + "/" + token + "/data/" + name(object) }
	p.want(http.StatusForbidden, agent, "POST", at(account), object)
	p.want(http.StatusOK, agent, "POST", at(account+"~2"), object)
	p.want(http.StatusNotFound, agent, "GET", at(account), nil)
	if got := p.want(http.StatusOK, agent, "GET", at(account+"~2"), nil); string(got.body) != "x" {
		t.Errorf("got %q", got.body)
	}
	for key := range contents(t, c) {
		if !strings.HasPrefix(key, account+"~2/") {
			t.Errorf("written: %s", key)
		}
	}
	p.grant(Grant{Account: account, Server: server, Token: token, Write: true})
	p.want(http.StatusForbidden, agent, "GET", at(account+"~2"), nil)
	for _, bad := range []string{account + "~", account + "~0", account + "~x", account + "~2~3", "~2"} {
		p.want(http.StatusForbidden, agent, "GET", at(bad), nil)
	}
}

func FuzzTargetOf(f *testing.F) {
	n := name([]byte("x"))
	for _, s := range []string{"/guestbook/1.7/data/" + n, "/guestbook/1.7/config", "/guestbook/1.7/", "/a/1.1/../b", "/guestbook/1.7/keys/", "/guestbook~2/1.7/config"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		r, err := http.NewRequest("GET", "https://gateway", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.URL.Host = ""
		r.URL.Path = path
		x, err := targetOf(r)
		if err != nil {
			return
		}
		back := "/" + x.account + "/" + x.token + "/" + string(x.folder)
		if x.folder != root && x.folder != config {
			back += "/" + x.name
		}
		if back != path {
			t.Errorf("%q was taken for %q", path, back)
		}
		if key := x.key(); !strings.HasPrefix(key, x.account+"/") || strings.Contains(key, "..") || strings.Contains(key, "//") {
			t.Errorf("%q gave the key %q", path, key)
		}
	})
}
