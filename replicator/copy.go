package replicator

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/minio/minio-go/v7"
)

// maxObject is more than restic ever writes into one file (packs end soon after 128 MiB). What is larger counts as broken.
const maxObject = 512 << 20

// readAttempts is how often an object is read before it counts as broken: a bit can also flip on the way.
const readAttempts = 3

// bring copies an object that the destination does not have.
func (p *pass) bring(ctx context.Context, c class, i *item, key string) error {
	var err error
	if c == keys {
		err = p.bringKey(ctx, i, key)
	} else {
		err = carry(ctx, p.src, p.dst, i, key)
	}
	switch {
	case err == nil:
		p.count(i.size)
		return nil
	case errors.Is(err, ErrNotFound):
		p.missing(key)
		return nil
	case errors.Is(err, ErrBroken):
		p.broken(key, false)
		return nil
	case errors.Is(err, errDear):
		p.Logger.Error("a key file that would cost whoever tries it too much is not copied", "store", p.src, "object", key)
		p.dear(key)
		return nil
	}
	return err
}

// settle compares an object of which both sides have one, but not the same as far as the listings tell: the one that
// is what its name says wins.
func (p *pass) settle(ctx context.Context, c class, i *item, key string) error {
	here := prove(ctx, p.src, i, key)
	if !judged(here) {
		return here
	}
	there := prove(ctx, p.dst, i, key)
	switch {
	case !judged(there):
		return there
	case errors.Is(here, ErrBroken):
		p.broken(key, there == nil)
		return nil
	case there == nil: // an ETag that is no MD5, or the source's object has gone
		return nil
	case here != nil:
		p.missing(key)
		return nil
	}
	p.Logger.Warn("repairing a broken object", "store", p.dst, "object", key)
	return p.bring(ctx, c, i, key)
}

// judged reports whether the answer of prove says something of the object, and not only of the way to it.
func judged(err error) bool {
	return err == nil || errors.Is(err, ErrNotFound) || errors.Is(err, ErrBroken)
}

// prove reads an object and returns nil when it is what its name says, or ErrNotFound, or ErrBroken.
func prove(ctx context.Context, s *Store, i *item, key string) error {
	for attempt := 1; ; attempt++ {
		sum, err := s.hash(ctx, key)
		switch {
		case err == nil && sum == i.sum:
			return nil
		case err == nil:
			err = fmt.Errorf("read %s/%s: %w: its hash is not its name", s, key, ErrBroken)
		case errors.Is(err, ErrNotFound):
			return err
		}
		if attempt == readAttempts {
			return err
		}
		if err := pause(ctx, attempt); err != nil {
			return err
		}
	}
}

// carry copies one object, in one stream: its last part is sent when all of it is known to be right. An error is
// ErrNotFound or ErrBroken of the source, or of the way.
func carry(ctx context.Context, src, dst *Store, i *item, key string) error {
	if i.size > maxObject {
		return fmt.Errorf("read %s/%s: %w: %d bytes", src, key, ErrBroken, i.size)
	}
	reads := 0
	for attempt := 1; ; attempt++ {
		written, reading, err := stream(ctx, src, dst, i, key)
		switch {
		case err == nil:
			return confirm(ctx, dst, i, written)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case reading && errors.Is(err, ErrNotFound):
			return err
		case !reading && refusesHash(err):
			// The source's object, or the way there.
			if err := prove(ctx, src, i, key); err != nil {
				return err
			}
			if attempt >= readAttempts {
				return err
			}
		case reading:
			if reads++; reads == readAttempts {
				return err
			}
		case !passing(err) || attempt >= dst.config.Retries:
			return err
		}
		if err := pause(ctx, attempt); err != nil {
			return err
		}
	}
}

// passing reports whether a write may well succeed the next time. minio-go tries again what it can read again, which a
// stream is not; these are the answers that it takes for passing.
func passing(err error) bool {
	var answer minio.ErrorResponse
	if !errors.As(err, &answer) {
		return true // the connection
	}
	return slices.Contains([]int{http.StatusRequestTimeout, http.StatusTooManyRequests, 499, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, 520}, answer.StatusCode) ||
		answer.Code == "RequestTimeout"
}

// stream is one attempt of carry. When it fails, reading tells whether the source is the reason.
func stream(ctx context.Context, src, dst *Store, i *item, key string) (written Object, reading bool, err error) {
	body, err := src.open(ctx, key, i.size)
	if err != nil {
		return Object{}, true, err
	}
	defer body.Close() // ends the reading of a transport that has its answer already, too
	sum, put := hex.EncodeToString(i.sum[:]), dst.put
	if i.size >= trustedFrom && dst.checksHashes(ctx, i.sum) {
		sum, put = "", dst.putChecked
	}
	content := NewVerified(body, i.size, sum, nil)
	written, err = put(ctx, key, content, i.size, i.sum)
	if cause := content.Failure(); cause != nil {
		return Object{}, true, fmt.Errorf("read %s/%s: %w", src, key, cause)
	}
	return written, false, err
}

// confirm looks at what a write left. The store was given the hash to check; when there is a doubt that it did, the
// object is read back.
func confirm(ctx context.Context, dst *Store, i *item, written Object) error {
	w := itemOf(i.sum, written)
	if i.plain && w.plain && i.same(w) || !(i.plain && w.plain) && written.Checked {
		return nil
	}
	err := prove(ctx, dst, i, written.Key)
	if !errors.Is(err, ErrBroken) {
		return err
	}
	err = fmt.Errorf("write %s/%s: the store took it and gives back something else", dst, written.Key)
	if i.there == differs {
		return err // it may be the reading that is wrong, and snapshots that are here already may need it
	}
	return errors.Join(err, dst.remove(ctx, written.Key)) // its name would promise it to the next pass
}

// pause waits a moment, a longer one after each attempt, never the same for two readers.
func pause(ctx context.Context, attempt int) error {
	timer := time.NewTimer(time.Duration(attempt) * (100*time.Millisecond + rand.N(200*time.Millisecond)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (p *pass) count(size int64) {
	p.Progress.add(size)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.report.Objects++
	p.report.Bytes += size
}

// missing notes an object that was listed, is gone, and is not at the destination.
func (p *pass) missing(key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.report.Missing = append(p.report.Missing, key)
	p.absent[key] = true
}

// dear notes a key file that is not copied. The repository opens by its others, if it has any.
func (p *pass) dear(key string) {
	p.mu.Lock()
	p.dearFiles++
	none := p.dearFiles == p.keyFiles
	p.mu.Unlock()
	p.broken(key, !none)
}

// broken notes an object that is broken at the source.
func (p *pass) broken(key string, healthyHere bool) {
	p.Logger.Error("broken object at the source", "store", p.src, "object", key, "good_here", healthyHere)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.report.Broken = append(p.report.Broken, key)
	if !healthyHere {
		p.unhealed = append(p.unhealed, key)
		p.absent[key] = true
	}
}
