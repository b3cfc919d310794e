package gateway

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"drp/raftstore/identity"
	"drp/replicator"
)

// What the coordinators keep in a site's store lies under .drp/, where no account's repository can lie: an account's
// name begins with a letter or a digit. It is written by coordinators alone, and nothing of it is ever written again.
const (
	clusterPath = "/cluster/"
	clusterKeys = ".drp/"
)

// SumHeader holds the SHA-256 (hexadecimal) of the body of a coordinator's object, in requests and in answers.
const SumHeader = "Drp-Sha256"

// shelves are where coordinators put things, with the size (bytes) of the largest.
var shelves = map[string]int64{
	"exports": 512 << 20, // a sealed state of 100,000 accounts has about 30 MiB
	"audit":   64 << 20,
}

// clusterName is one path element that means the same to every store and every file system.
var clusterName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$`)

// clusterObject is what a path of a coordinator names. Name is empty for a whole shelf.
type clusterObject struct{ shelf, name string }

func (o clusterObject) key() string { return clusterKeys + o.shelf + "/" + o.name }

// isCluster tells a coordinator's path from one of an account that is called cluster: that one has a token there.
func isCluster(path string) bool {
	shelf, _, ok := strings.Cut(strings.TrimPrefix(path, clusterPath), "/")
	_, known := shelves[shelf]
	return ok && known && strings.HasPrefix(path, clusterPath)
}

func clusterObjectOf(r *http.Request) (clusterObject, error) {
	part := strings.Split(strings.TrimPrefix(r.URL.Path, clusterPath), "/")
	if r.URL.RawPath != "" || r.URL.Host != "" || len(part) != 2 {
		return clusterObject{}, &refusal{http.StatusForbidden, "not a path of the coordinators"}
	}
	o := clusterObject{shelf: part[0], name: part[1]}
	if o.name != "" && !clusterName.MatchString(o.name) {
		return clusterObject{}, &refusal{http.StatusForbidden, "a name has letters, digits, dots, dashes and underscores, begins with a letter or a digit, and has at most 200 of them"}
	}
	return o, nil
}

// serveCluster answers coordinators: PUT and GET of /cluster/SHELF/NAME, and GET of /cluster/SHELF/, which lists.
func (g *Gateway) serveCluster(w http.ResponseWriter, r *http.Request) error {
	name, err := g.callerOf(r.TLS, identity.Coordinator)
	if err != nil {
		return err
	}
	o, err := clusterObjectOf(r)
	if err != nil {
		return err
	}
	switch {
	case r.Method == http.MethodPut && o.name != "":
		return g.keep(w, r, name, o)
	case r.Method == http.MethodGet && o.name == "":
		return g.listShelf(w, r, o)
	case r.Method == http.MethodGet:
		return g.loadKept(w, r, o)
	}
	return &refusal{http.StatusMethodNotAllowed, "the coordinators' objects are put, read and listed; nothing of them is changed or deleted"}
}

// keep stores an object once. It is acknowledged when its SHA-256 is the one announced and the store has said that it is
// there; the same object again is acknowledged, too, and another one under its name is refused.
func (g *Gateway) keep(w http.ResponseWriter, r *http.Request, coordinator string, o clusterObject) error {
	ctx, size, sum := r.Context(), r.ContentLength, r.Header.Get(SumHeader)
	switch {
	case !nameForm.MatchString(sum):
		return &refusal{http.StatusBadRequest, "an object is sent with its SHA-256 in " + SumHeader}
	case size < 0:
		return &refusal{http.StatusLengthRequired, "an object is sent with its length"}
	case size > shelves[o.shelf]:
		return &refusal{http.StatusRequestEntityTooLarge, "object too large"}
	}
	// Two of one name at once would both find that there is none yet.
	if !g.kept.begin(o.key()) {
		return &refusal{http.StatusServiceUnavailable, "an object of this name is being written"}
	}
	defer g.kept.end(o.key())

	client := &patient{r.Body, http.NewResponseController(w), cmp.Or(g.BodyIdle, time.Minute)}
	body := replicator.NewVerified(client, size, sum, func() error {
		client.arrived()
		return nil
	})
	defer body.Stop()
	err := g.hold(ctx, func() error {
		_, err := g.Store.Stat(ctx, o.key())
		return err
	})
	switch {
	case err == nil:
		return g.keptAlready(ctx, o, sum)
	case errors.Is(err, ErrNotFound):
		err = g.putObject(ctx, o.key(), sum, size, body)
	}
	if cause := uploadFailure(body); cause != nil {
		err = cause // the store only saw its body break off
	}
	if err != nil {
		return err
	}
	g.log().Info("coordinator's object stored", "key", o.key(), "size", size, "coordinator", coordinator)
	w.WriteHeader(http.StatusCreated)
	return nil
}

// keptAlready answers a coordinator that sends what is there, as it does after it lost a reply.
func (g *Gateway) keptAlready(ctx context.Context, o clusterObject, sum string) error {
	var stored string
	err := g.hold(ctx, func() error {
		part, err := g.Store.Get(ctx, o.key(), 0, -1)
		if err != nil {
			return err
		}
		defer part.Body.Close()
		h := sha256.New()
		if _, err := io.Copy(h, part.Body); err != nil {
			return err
		}
		stored = hex.EncodeToString(h.Sum(nil))
		return nil
	})
	if err == nil && stored != sum {
		err = &refusal{http.StatusConflict, "another object is stored under this name"}
	}
	return err // nil: 200
}

func (g *Gateway) loadKept(w http.ResponseWriter, r *http.Request, o clusterObject) error {
	var part Part
	err := g.hold(r.Context(), func() (err error) {
		part, err = g.Store.Get(r.Context(), o.key(), 0, -1)
		return err
	})
	if err != nil {
		return err
	}
	defer part.Body.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(part.Size, 10))
	if n, err := io.Copy(w, part.Body); err != nil || n != part.Size {
		panic(http.ErrAbortHandler) // too late for a status
	}
	return nil
}

// Kept is one entry of a shelf's listing.
type Kept struct {
	Name string `json:"name"`
	Size int64  `json:"size"` // bytes
}

// listShelf answers with the names that begin with the query's prefix, in the order of the store. The listing is complete
// before its first byte is sent.
func (g *Gateway) listShelf(w http.ResponseWriter, r *http.Request, o clusterObject) error {
	prefix := r.URL.Query().Get("prefix")
	if prefix != "" && !clusterName.MatchString(prefix) {
		return &refusal{http.StatusBadRequest, "no name begins like that"}
	}
	var found []Object
	err := g.hold(r.Context(), func() (err error) {
		found, err = g.Store.List(r.Context(), o.key()+prefix)
		return err
	})
	if err != nil {
		return err
	}
	entries := []Kept{}
	for _, f := range found {
		if name := strings.TrimPrefix(f.Key, o.key()); clusterName.MatchString(name) {
			entries = append(entries, Kept{name, f.Size})
		}
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(entries); err != nil {
		panic(http.ErrAbortHandler) // the client is gone
	}
	return nil
}
