package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"drp/raftstore/identity"
)

// alertLimit is how long it is waited for an alert on a connection on which nothing was said.
const alertLimit = time.Second

// alert finds out why a connection broke. In TLS 1.3 a client is done with its handshake before the server has judged its
// certificate: the alert of one that refuses it meets a request that is on its way, and where that arrives at a closed door
// the alert is lost with the connection. So a second connection is made, on which nothing is said.
func (c *Client) alert(e endpoint, cause error) error {
	var op *net.OpError
	var timeout net.Error
	switch {
	case c.cfg.Credentials == nil || c.cfg.Credentials.Identity().Role == "" || !strings.HasPrefix(e.base, "https://"):
		return cause
	case errors.As(cause, &op) && (op.Op == "dial" || op.Op == "remote error"):
		return cause
	case errors.As(cause, &timeout) && timeout.Timeout(), errors.Is(cause, context.Canceled), errors.Is(cause, identity.ErrRefused):
		return cause
	}
	dialer := &tls.Dialer{NetDialer: &net.Dialer{Timeout: connectLimit}, Config: clientTLS(c.cfg.Credentials)}
	ctx, cancel := context.WithTimeout(context.Background(), connectLimit)
	defer cancel()
	conn, err := dialer.DialContext(ctx, "tcp", strings.TrimPrefix(e.base, "https://"))
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(alertLimit)); err != nil {
		return cause
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		return err
	}
	return cause
}

// refusedThere says what a TLS alert from the other side means, which says nothing to a person.
func refusedThere(credentials *identity.Credentials, cause error) string {
	var op *net.OpError
	if !errors.As(cause, &op) || op.Op != "remote error" || credentials == nil || credentials.Identity().Role == "" {
		return ""
	}
	id := credentials.Identity()
	return fmt.Sprintf(" (the certificate of %s is refused there: it was revoked, has expired by that clock, or is of another platform; "+
		"drp ca enrol %s %s makes a token for a new one)", id, id.Role, id.Name)
}
