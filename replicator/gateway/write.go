package gateway

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"drp/replicator"
)

// withheld is how much of an object is kept back until its hash is known to be right. Shorter objects (locks,
// snapshots, most indexes) are in memory as a whole, and can be sent to the store again.
const withheld = replicator.Withheld

// save stores one object. It is acknowledged when its SHA-256 is its name and the store has said that it is there.
func (g *Gateway) save(w http.ResponseWriter, r *http.Request, server string, t target) error {
	ctx, size := r.Context(), r.ContentLength
	switch {
	case size < 0:
		return &refusal{http.StatusLengthRequired, "an object is sent with its length"}
	case size > cmp.Or(g.MaxObject, 512<<20):
		return &refusal{http.StatusForbidden, "object too large"} // 413 restic would try again for 15 minutes
	}
	client := &patient{r.Body, http.NewResponseController(w), cmp.Or(g.BodyIdle, time.Minute)}
	body := replicator.NewVerified(client, size, t.name, func() error {
		client.arrived()
		// A grant that ended while the object was on its way ends before the object is whole.
		if no := g.judge(server, t, toWrite); no != nil {
			return no
		}
		return nil
	})
	defer body.Stop()

	var there int64
	err := g.hold(ctx, func() (err error) {
		there, err = g.Store.Stat(ctx, t.key())
		return err
	})
	switch {
	case err == nil:
		err = g.again(ctx, t, there, body)
	case errors.Is(err, ErrNotFound):
		err = g.add(ctx, server, t, size, body)
	}
	if cause := uploadFailure(body); cause != nil {
		err = cause // the store only saw its body break off
	}
	if err != nil {
		return err
	}
	if t.folder == snapshots {
		g.log().Info("snapshot stored", "account", t.account, "snapshot", t.name, "server", server)
		if g.OnSnapshot != nil {
			g.OnSnapshot(t.account, t.name)
		}
	} else {
		g.log().Debug("stored", "key", t.key(), "size", size, "server", server)
	}
	return nil
}

// add stores an object that is not there yet, if the account may store so much today.
func (g *Gateway) add(ctx context.Context, server string, t target, size int64, body *replicator.Verified) error {
	giveBack, err := g.allowances.take(t.account, size, g.views.limit(server, t), g.uptime())
	if err != nil {
		return err
	}
	if err := g.put(ctx, t, size, body); err != nil {
		giveBack()
		return err
	}
	return nil
}

// put sends an object that is not there yet. As long as nothing of the body has been taken it can be held; after that
// an error means that it is unknown whether the object is there, and restic sends it again.
func (g *Gateway) put(ctx context.Context, t target, size int64, body *replicator.Verified) error {
	return g.putObject(ctx, t.key(), t.name, size, body)
}

func (g *Gateway) putObject(ctx context.Context, key, sum string, size int64, body *replicator.Verified) error {
	if size <= withheld {
		whole, err := io.ReadAll(body)
		if err != nil {
			return err
		}
		return g.hold(ctx, func() error {
			return g.Store.Put(ctx, key, sum, size, bytes.NewReader(whole))
		})
	}
	var err error
	g.hold(ctx, func() error { //nolint:errcheck // err has it
		err = g.Store.Put(ctx, key, sum, size, body)
		if body.Untouched() {
			return err
		}
		return nil
	})
	return err
}

// again answers a client that sends what is there already, as restic does after it lost a reply. Both have to be what
// the name says. What is stored is never replaced: a damaged object is repaired from another site's copy.
func (g *Gateway) again(ctx context.Context, t target, there int64, body *replicator.Verified) error {
	sent, err := io.Copy(io.Discard, body)
	if err != nil {
		return err
	}
	if sent != there {
		return &refusal{http.StatusForbidden, fmt.Sprintf("another object of %d bytes is stored under this name", there)}
	}
	same := false
	err = g.hold(ctx, func() error {
		part, err := g.Store.Get(ctx, t.key(), 0, -1)
		if err != nil {
			return err
		}
		defer part.Body.Close()
		h := sha256.New()
		if _, err := io.Copy(h, part.Body); err != nil {
			return err
		}
		same = hex.EncodeToString(h.Sum(nil)) == t.name
		return nil
	})
	if err == nil && !same {
		err = &refusal{http.StatusForbidden, "another object is stored under this name"}
	}
	return err
}

// unlock deletes a lock. When the store does not answer it is refused for good: restic would try for minutes at the end
// of a backup that is already safe; its lock grows stale in half an hour.
func (g *Gateway) unlock(r *http.Request, t target) error {
	err := g.hold(r.Context(), func() error { return g.Store.Delete(r.Context(), t.key()) })
	if err != nil && !final(err) {
		return fmt.Errorf("%w: %w", &refusal{http.StatusForbidden, "the store does not answer; the lock stays"}, err)
	}
	return err
}

// uploadFailure is why an upload broke off on our side, as its client is told; nil when it did not.
func uploadFailure(body *replicator.Verified) error {
	err := body.Failure()
	switch {
	case errors.Is(err, replicator.ErrBrokeOff):
		return fmt.Errorf("%w: %w", &refusal{http.StatusBadRequest, "the upload broke off"}, err)
	case errors.Is(err, replicator.ErrBroken):
		return &refusal{http.StatusBadRequest, "the content's SHA-256 is not its name"}
	}
	return err
}

// patient gives each read of a client's body a deadline of its own. Before HTTP/2 a deadline that is left behind would
// end the connection while the store still works.
type patient struct {
	body io.Reader
	rc   *http.ResponseController
	idle time.Duration
}

func (p *patient) Read(b []byte) (int, error) {
	if err := p.rc.SetReadDeadline(time.Now().Add(p.idle)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	return p.body.Read(b)
}

func (p *patient) arrived() {
	p.rc.SetReadDeadline(time.Time{}) //nolint:errcheck // then none was set
}
