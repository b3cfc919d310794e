package guard

import (
	"errors"
	"net/http"
)

// What an order can be refused for. They keep their identity over the socket.
var (
	// ErrStaleToken: a higher token of the account has been seen. The order comes from the past; drop it.
	ErrStaleToken = errors.New("stale token")
	// ErrTaken: the address is announced for another account. That one has to be withdrawn first.
	ErrTaken = errors.New("address announced for another account")
	// ErrBadRequest: the order itself makes no sense.
	ErrBadRequest = errors.New("bad request")
)

// refusals maps errors to what goes over the socket, and back.
var refusals = []struct {
	err    error
	code   string
	status int
}{
	{ErrStaleToken, "stale_token", http.StatusConflict},
	{ErrTaken, "taken", http.StatusConflict},
	{ErrBadRequest, "bad_request", http.StatusBadRequest},
}

// problem is the body of every answer that is no success.
type problem struct {
	Code    string `json:"code,omitempty"`
	Message string `json:"message"`
}

func problemOf(err error) (int, problem) {
	for _, r := range refusals {
		if errors.Is(err, r.err) {
			return r.status, problem{r.code, err.Error()}
		}
	}
	return http.StatusInternalServerError, problem{Message: err.Error()}
}

// remoteError says what the guard said, and is the sentinel that it was there.
type remoteError struct {
	message string
	is      error
}

func (e *remoteError) Error() string { return e.message }
func (e *remoteError) Unwrap() error { return e.is }

func (p problem) error() error {
	e := &remoteError{message: p.Message}
	for _, r := range refusals {
		if p.Code == r.code {
			e.is = r.err
		}
	}
	return e
}
