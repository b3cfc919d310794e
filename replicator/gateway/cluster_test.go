package gateway

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"drp/raftstore/identity"
)

func (p *platform) coordinator() *http.Client {
	p.t.Helper()
	return p.client(p.issue(identity.Coordinator, "par1-c"))
}

func TestCluster_writtenOnce(t *testing.T) {
	_, config := realStore(t)
	p := newPlatform(t, openStore(t, config))
	c := p.coordinator()
	for _, size := range []int{100, withheld + 1000} {
		first, other := pattern(1, size), pattern(2, size)
		path := "/cluster/exports/a-" + strings.Repeat("x", size%7+1)
		p.want(http.StatusNotFound, c, http.MethodGet, path, nil)
		p.want(http.StatusCreated, c, http.MethodPut, path, first, SumHeader, name(first))
		p.want(http.StatusOK, c, http.MethodPut, path, first, SumHeader, name(first))
		p.want(http.StatusConflict, c, http.MethodPut, path, other, SumHeader, name(other))
		if got := p.want(http.StatusOK, c, http.MethodGet, path, nil); !bytes.Equal(got.body, first) {
			t.Errorf("%s: got %d bytes, want what was stored first", path, len(got.body))
		}
		p.want(http.StatusMethodNotAllowed, c, http.MethodDelete, path, nil)
		p.want(http.StatusMethodNotAllowed, c, http.MethodPost, path, first, SumHeader, name(first))
	}
	p.want(http.StatusCreated, c, http.MethodPut, "/cluster/audit/b", []byte("b"), SumHeader, name([]byte("b")))
	var list []Kept
	if err := json.Unmarshal(p.want(http.StatusOK, c, http.MethodGet, "/cluster/exports/", nil).body, &list); err != nil || len(list) != 2 {
		t.Errorf("got exports %v (%v), want two", list, err)
	}
	if err := json.Unmarshal(p.want(http.StatusOK, c, http.MethodGet, "/cluster/audit/?prefix=c", nil).body, &list); err != nil || len(list) != 0 {
		t.Errorf("got %v (%v), want nothing that begins with c", list, err)
	}
}

// A body that is not what its sum says is never acknowledged, and never there.
func TestCluster_wrongSum(t *testing.T) {
	_, config := realStore(t)
	p := newPlatform(t, openStore(t, config))
	c := p.coordinator()
	for _, size := range []int{100, withheld + 1000} {
		body := pattern(1, size)
		p.want(http.StatusBadRequest, c, http.MethodPut, "/cluster/exports/a", body, SumHeader, name(pattern(2, size)))
		p.want(http.StatusBadRequest, c, http.MethodPut, "/cluster/exports/a", body)
		p.want(http.StatusNotFound, c, http.MethodGet, "/cluster/exports/a", nil)
	}
}

func TestCluster_whoMay(t *testing.T) {
	_, config := realStore(t)
	p := newPlatform(t, openStore(t, config))
	body := []byte("x")
	agent, coordinator := p.agent(server), p.coordinator()
	p.want(http.StatusForbidden, agent, http.MethodPut, "/cluster/exports/a", body, SumHeader, name(body))
	p.want(http.StatusForbidden, agent, http.MethodGet, "/cluster/exports/", nil)
	p.want(http.StatusForbidden, agent, http.MethodGet, "/cluster/audit/a", nil)
	p.grant(writable, Grant{Account: "cluster", Server: server, Token: token, Write: true}, Grant{Account: account, Server: "par1-c", Token: token, Write: true})
	p.want(http.StatusForbidden, coordinator, http.MethodGet, "/"+account+"/"+token+"/data/", nil)
	p.want(http.StatusForbidden, coordinator, http.MethodPost, "/"+account+"/"+token+"/data/"+name(body), body)
	// An account may be called cluster: its paths have a token where the others have a shelf.
	p.want(http.StatusOK, agent, http.MethodPost, "/cluster/"+token+"/data/"+name(body), body)
}

func TestCluster_names(t *testing.T) {
	_, store := double(t)
	p := newPlatform(t, store)
	c := p.coordinator()
	body := []byte("x")
	for _, path := range []string{
		"/cluster/exports/..", "/cluster/exports/.hidden", "/cluster/exports/a/b", "/cluster/exports/a%2fb", "/cluster/exports/a%00",
		"/cluster/exports/" + strings.Repeat("x", 201), "/cluster/other/a", "/cluster/exports/a%20b", "/cluster/1.2/data/x",
	} {
		p.want(http.StatusForbidden, c, http.MethodPut, path, body, SumHeader, name(body))
	}
}
