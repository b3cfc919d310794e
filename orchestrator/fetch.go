package orchestrator

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"

	"drp/orchestrator/wire"
)

// fetch asks an account's service at its public address. The URL is the account's own, so nothing of it but port,
// path and query is believed, no redirect is followed, and the body is not kept.
func fetch(ctx context.Context, p wire.Probe) wire.ProbeResult {
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	request, err := checkRequest(ctx, p.Address, p.URL)
	if err != nil {
		return wire.ProbeResult{Message: err.Error()}
	}
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	client := http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		return wire.ProbeResult{Message: err.Error()}
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(response.Body, 1<<20)); err != nil {
		return wire.ProbeResult{Message: fmt.Sprintf("read answer: %v", err)}
	}
	if response.StatusCode >= 400 {
		return wire.ProbeResult{Message: "answered " + response.Status}
	}
	return wire.ProbeResult{OK: true, Message: response.Status}
}

func checkRequest(ctx context.Context, address netip.Addr, check string) (*http.Request, error) {
	u, err := url.Parse(check)
	if err != nil || u.Scheme != "http" {
		return nil, fmt.Errorf("check %q is not an http URL", check)
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	target := url.URL{Scheme: "http", Host: net.JoinHostPort(address.String(), port), Path: u.Path, RawQuery: u.RawQuery}
	return http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
}
