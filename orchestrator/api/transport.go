package api

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"

	"drp/raftstore/identity"
)

// A coordinator behind a cut link is left within connectLimit, or pingAfter + pingLimit when a connection to it stood.
const (
	connectLimit = 3 * time.Second
	pingAfter    = 5 * time.Second
	pingLimit    = 3 * time.Second
)

func newHTTPClient(config *tls.Config) *http.Client {
	return newPingingClient(config, pingAfter, pingLimit)
}

// newPingingClient closes a connection that was silent for after and then leaves a ping unanswered for limit.
func newPingingClient(config *tls.Config, after, limit time.Duration) *http.Client {
	dialer := &net.Dialer{Timeout: connectLimit, KeepAlive: 15 * time.Second}
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext:         dialer.DialContext,
			TLSClientConfig:     config,
			TLSHandshakeTimeout: connectLimit,
			ForceAttemptHTTP2:   true,
			HTTP2:               &http.HTTP2Config{SendPingTimeout: after, PingTimeout: limit},
			IdleConnTimeout:     90 * time.Second,
			MaxIdleConnsPerHost: 4,
		},
	}
}

func newSocketClient(path string) *http.Client {
	dialer := &net.Dialer{Timeout: connectLimit}
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", path)
		},
	}}
}

// stillTrusted refuses an answer over a connection that has outlived its peer's certificate. The connection is closed,
// so that the next request begins with a handshake.
func stillTrusted(c *identity.Credentials, res *http.Response) error {
	if c == nil || res.TLS == nil || len(res.TLS.PeerCertificates) == 0 {
		return nil
	}
	if err := c.Check(res.TLS.PeerCertificates[0]); err != nil {
		_ = res.Body.Close()
		return err
	}
	return nil
}
