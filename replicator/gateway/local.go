package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	localToken = "0.0"    // where an agent's paths have their token
	localName  = "worker" // and its certificate its name
)

// Refused is what Local.Delete returns for what may not be deleted: final for restic, which tries any other error again.
type Refused struct{ Reason string }

func (r *Refused) Error() string { return r.Reason }

// Local is a door to one repository for a restic that this process starts: a unix socket in a directory that no other
// user may enter. What is written is checked as at the Gateway, and config and keys are not. It knows no delete of
// its own but that of locks.
type Local struct {
	account string
	remove  func(ctx context.Context, key, name string) error
	lock    func(ctx context.Context, key string) error
	view    map[folder][]Object
	door    *Gateway
	server  *http.Server
	dir     string
}

// LocalOptions say what may be done through a Local.
type LocalOptions struct {
	// Delete takes an object out of the repository, by its key in the store and its name below the repository (index/NAME,
	// data/XX/NAME). It is called on many goroutines at once, and again for what it has taken when its answer got lost.
	// Nil: nothing is written, and no lock set.
	Delete func(ctx context.Context, key, name string) error
	// Lock hears of each lock, by its key in the store, before it is set: with an error it is not. Nil: nobody wants to know.
	Lock func(ctx context.Context, key string) error
	// Frozen: what is listed is what was there at the beginning, in an order that makes a whole repository of it (snapshots,
	// index, data), whatever is added meanwhile. So a check needs no lock.
	Frozen bool
	// Without are snapshots that a frozen repository is looked at without, by their ids.
	Without []string
	Dir     string // where the socket's directory is made; empty: the system's
	Log     *slog.Logger
}

// NewLocal opens the door to an account's repository. Close closes it.
func NewLocal(ctx context.Context, store Store, account string, o LocalOptions) (*Local, error) {
	if !accountForm.MatchString(account) {
		return nil, fmt.Errorf("open the repository of %q: no such name of an account", account)
	}
	l := &Local{
		account: account, remove: o.Delete, lock: o.Lock,
		// It has one grant, which does not age.
		door: &Gateway{Store: store, Log: o.Log, Uptime: func() time.Duration { return 0 }},
	}
	l.door.SetView(View{At: time.Now(), Grants: []Grant{{Account: account, Server: localName, Token: localToken, Write: true}}})
	if o.Frozen {
		l.view = make(map[folder][]Object)
		for _, f := range []folder{snapshots, index, data} {
			list, err := store.List(ctx, target{account: account, folder: f}.key())
			if err != nil {
				return nil, err
			}
			if f == snapshots {
				list = slices.DeleteFunc(list, func(listed Object) bool { return slices.Contains(o.Without, path.Base(listed.Key)) })
			}
			l.view[f] = list
		}
	}
	var err error
	if l.dir, err = os.MkdirTemp(o.Dir, "drp-restic-"); err != nil { // mode 0700
		return nil, fmt.Errorf("open the repository of %s for restic: %w", account, err)
	}
	listener, err := net.Listen("unix", l.socket())
	if err != nil {
		os.Remove(l.dir)
		return nil, fmt.Errorf("open the repository of %s for restic: %w", account, err)
	}
	l.server = &http.Server{
		Handler: l, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(l.door.log().Handler(), slog.LevelDebug),
	}
	go l.server.Serve(listener) //nolint:errcheck // it ends with Close
	return l, nil
}

func (l *Local) socket() string { return filepath.Join(l.dir, "socket") }

// URL is the repository as restic takes it.
func (l *Local) URL() string {
	return "rest:http+unix://" + l.socket() + ":/" + l.account + "/" + localToken + "/"
}

// Close ends all requests.
func (l *Local) Close() error {
	return errors.Join(l.server.Close(), os.RemoveAll(l.dir))
}

// Size is how much of the store a frozen repository's packs take, in bytes.
func (l *Local) Size() (bytes int64) {
	for _, o := range l.view[data] {
		bytes += o.Size
	}
	return bytes
}

// ServeHTTP implements http.Handler.
func (l *Local) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	err := l.serve(w, r)
	if err == nil || r.Context().Err() != nil {
		return
	}
	no := refusalOf(err)
	if no.status != http.StatusNotFound {
		l.door.log().Warn("refused to restic", "method", r.Method, "path", r.URL.Path, "status", no.status, "reason", err.Error())
	}
	http.Error(w, no.reason, no.status)
}

func (l *Local) serve(w http.ResponseWriter, r *http.Request) error {
	r.URL.Host = "" // http+unix has none of its own
	t, err := targetOf(r)
	if err != nil || t.account != l.account || t.token != localToken {
		return &refusal{http.StatusForbidden, "not a path of this repository"}
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		switch {
		case t.folder == root:
			return &refusal{http.StatusForbidden, "nothing to read here"}
		case t.name == "" && t.folder != config:
			if listed, ok := l.view[t.folder]; ok {
				return l.door.answer(w, r, t, listed)
			}
			return l.door.list(w, r, t)
		case r.Method == http.MethodHead:
			return l.door.head(w, r, t)
		}
		return l.door.load(w, r, t)
	case http.MethodPost:
		if l.remove == nil || t.name == "" || t.folder == keys {
			return &refusal{http.StatusForbidden, "this is not written here"}
		}
		if t.folder == locks && l.lock != nil {
			if err := l.door.hold(r.Context(), func() error { return l.lock(r.Context(), t.key()) }); err != nil {
				return err
			}
		}
		return l.door.save(w, r, localName, t)
	case http.MethodDelete:
		switch {
		case l.remove == nil || t.name == "":
			return &refusal{http.StatusForbidden, "nothing is deleted here"}
		case t.folder == locks:
			return l.door.unlock(r, t)
		}
		return l.door.hold(r.Context(), func() error {
			err := l.remove(r.Context(), t.key(), strings.TrimPrefix(t.key(), l.account+"/"))
			if refused := (*Refused)(nil); errors.As(err, &refused) {
				return &refusal{http.StatusForbidden, refused.Reason}
			}
			return err
		})
	}
	return &refusal{http.StatusMethodNotAllowed, "no such method here"}
}
