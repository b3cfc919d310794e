package guard

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"

	"drp/raftstore/state"
)

// Client gives orders to the guard of the same server. All calls may be repeated; a call that failed with anything
// but a refusal (ErrStaleToken, ErrTaken, ErrBadRequest) has an unknown outcome and should be.
type Client struct {
	Socket string // path
}

// Announce makes routers send the address's packets here. When it returns, the token counts as seen for good; the
// route reaches each router as soon as there is a session with it.
func (c Client) Announce(ctx context.Context, ip netip.Addr, account state.AccountName, token state.Token) error {
	body, err := json.Marshal(order{account, token})
	if err != nil {
		return fmt.Errorf("announce %s: %w", ip, err)
	}
	return c.do(ctx, http.MethodPut, "/routes/"+ip.String(), body, nil)
}

// Withdraw takes back what is announced for the account under a token up to this one. Only a stop order is a reason
// to call it.
func (c Client) Withdraw(ctx context.Context, ip netip.Addr, account state.AccountName, token state.Token) error {
	q := url.Values{"account": {string(account)}, "token": {token.String()}}
	return c.do(ctx, http.MethodDelete, "/routes/"+ip.String()+"?"+q.Encode(), nil, nil)
}

// Routes tells what is announced and how it stands with the routers.
func (c Client) Routes(ctx context.Context) (Status, error) {
	var s Status
	err := c.do(ctx, http.MethodGet, "/routes", nil, &s)
	return s, err
}

// RoutesOf tells which addresses are announced for an account, in order.
func (c Client) RoutesOf(ctx context.Context, account state.AccountName) ([]netip.Addr, error) {
	var s Status
	if err := c.do(ctx, http.MethodGet, "/routes?"+url.Values{"account": {string(account)}}.Encode(), nil, &s); err != nil {
		return nil, err
	}
	var list []netip.Addr
	for _, r := range s.Routes {
		if r.Account == account { // a guard of before this question answers with all routes
			list = append(list, r.Address)
		}
	}
	return list, nil
}

// Tokens returns the highest token that the guard has seen, of each account.
func (c Client) Tokens(ctx context.Context) (map[state.AccountName]state.Token, error) {
	var seen map[state.AccountName]state.Token
	if err := c.do(ctx, http.MethodGet, "/tokens", nil, &seen); err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	return seen, nil
}

func (c Client) do(ctx context.Context, method, path string, body []byte, answer any) error {
	// One connection per order: a guard that was restarted has another socket under the same name.
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", c.Socket)
	}
	transport := &http.Transport{DialContext: dial, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, method, "http://guard"+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("ask guard: %w", err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("ask guard: %w", err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("read the guard's answer: %w", err)
	}
	if resp.StatusCode >= 300 {
		var p problem
		if json.Unmarshal(raw, &p) != nil || p.Message == "" {
			p.Message = fmt.Sprintf("%s: %s", resp.Status, bytes.TrimSpace(raw))
		}
		return fmt.Errorf("guard: %w", p.error())
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(raw, answer); err != nil {
		return fmt.Errorf("read the guard's answer: %w", err)
	}
	return nil
}
