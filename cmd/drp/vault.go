package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"drp/orchestrator"
	"drp/raftstore/identity"
	"drp/raftstore/state"
	"drp/replicator/gateway"
)

// vault is what coordinators keep in the sites' stores, through each site's gateways.
type vault struct {
	view func() *state.View // says which gateways there are
	http *http.Client
}

var _ orchestrator.Vault = (*vault)(nil)

// What a store holds need not be what was put there. These bound what an answer of it can take of the leader's memory, and so
// of the next leader's: segments of the trail have some 8 MiB, and a listing 100 bytes for each object.
const (
	maxTrailKept  = 32 << 20
	maxExportKept = 512 << 20
	maxListing    = 128 << 20
)

func mostKept(name string) int64 {
	switch {
	case strings.HasSuffix(name, "/"):
		return maxListing
	case strings.HasPrefix(name, "exports/"):
		return maxExportKept
	}
	return maxTrailKept
}

func newVault(view func() *state.View, credentials *identity.Credentials) *vault {
	return &vault{view: view, http: &http.Client{Transport: &http.Transport{
		TLSClientConfig: credentials.Client(identity.Gateway), ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: 5 * time.Second, IdleConnTimeout: time.Minute, ResponseHeaderTimeout: time.Minute,
	}}}
}

// Put implements orchestrator.Vault.
func (v *vault) Put(ctx context.Context, site state.SiteName, name string, body []byte) error {
	sum := sha256.Sum256(body)
	_, err := v.ask(ctx, site, http.MethodPut, name, nil, body, hex.EncodeToString(sum[:]))
	return err
}

// List implements orchestrator.Vault.
func (v *vault) List(ctx context.Context, site state.SiteName, prefix string) ([]string, error) {
	shelf, begin, _ := strings.Cut(prefix, "/")
	query := url.Values{}
	if begin != "" {
		query.Set("prefix", begin)
	}
	answer, err := v.ask(ctx, site, http.MethodGet, shelf+"/", query, nil, "")
	if err != nil {
		return nil, err
	}
	var kept []gateway.Kept
	if err := json.Unmarshal(answer, &kept); err != nil {
		return nil, fmt.Errorf("list %s at site %s: %w", prefix, site, err)
	}
	var names []string
	for _, k := range kept {
		names = append(names, shelf+"/"+k.Name)
	}
	slices.Sort(names)
	return names, nil
}

// Get implements orchestrator.Vault.
func (v *vault) Get(ctx context.Context, site state.SiteName, name string) ([]byte, error) {
	return v.ask(ctx, site, http.MethodGet, name, nil, nil, "")
}

// ask tries the gateways of a site one after the other; each leads to the same store.
func (v *vault) ask(ctx context.Context, site state.SiteName, method, name string, query url.Values, body []byte, sum string) ([]byte, error) {
	s := v.view().Site(site)
	if s == nil || len(s.Gateways) == 0 {
		return nil, fmt.Errorf("reach the store of site %s: no gateway of it is in the inventory: %w", site, state.ErrNotFound)
	}
	var failed []error
	for _, g := range s.Gateways {
		answer, final, err := v.askGateway(ctx, g, method, name, query, body, sum)
		if err == nil {
			return answer, nil
		}
		err = fmt.Errorf("%s %s at site %s by %s: %w", strings.ToLower(method), name, site, g, err)
		if final {
			return nil, err
		}
		failed = append(failed, err)
	}
	return nil, errors.Join(failed...)
}

// askGateway reports as final what another gateway would say, too.
func (v *vault) askGateway(ctx context.Context, base, method, name string, query url.Values, body []byte, sum string) (answer []byte, final bool, err error) {
	address := strings.TrimSuffix(base, "/") + "/cluster/" + name
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return nil, true, err
	}
	if sum != "" {
		request.Header.Set(gateway.SumHeader, sum)
	}
	response, err := v.http.Do(request)
	if err != nil {
		return nil, false, err
	}
	defer response.Body.Close()
	most := mostKept(name)
	if response.ContentLength > most {
		return nil, true, fmt.Errorf("read answer: it has %d bytes, and nothing that a coordinator puts there has more than %d", response.ContentLength, most)
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, most+1))
	if err != nil {
		return nil, false, fmt.Errorf("read answer: %w", err)
	}
	if int64(len(data)) > most {
		return nil, true, fmt.Errorf("read answer: it has more than %d bytes, which nothing has that a coordinator puts there", most)
	}
	if response.StatusCode/100 == 2 {
		return data, false, nil
	}
	err = fmt.Errorf("%s: %s", response.Status, bytes.TrimSpace(data[:min(len(data), 500)]))
	switch response.StatusCode {
	case http.StatusNotFound:
		return nil, true, fmt.Errorf("%w: %w", err, state.ErrNotFound)
	case http.StatusConflict:
		return nil, true, fmt.Errorf("%w: %w", err, state.ErrConflict)
	}
	return nil, response.StatusCode/100 == 4, err
}
