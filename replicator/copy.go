package replicator

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// readAttempts is how often an object is read before it counts as broken: a bit can also flip on the way.
const readAttempts = 3

// bring copies an object that the destination does not have.
func (p *pass) bring(ctx context.Context, i item) error {
	give, err := p.Budget.take(ctx, i.Size)
	if err != nil {
		return err
	}
	defer give()
	content, err := p.read(ctx, i)
	switch {
	case errors.Is(err, ErrNotFound):
		p.missing(i)
		return nil
	case errors.Is(err, ErrBroken):
		p.broken(i, false)
		return nil
	case err != nil:
		return err
	}
	return p.put(ctx, i, content)
}

// settle compares an object of which both sides have one, but not the same as far as the listings tell: the one that
// is what its name says wins.
func (p *pass) settle(ctx context.Context, i item, there Object) error {
	give, err := p.Budget.take(ctx, i.Size)
	if err != nil {
		return err
	}
	defer give()
	content, err := p.read(ctx, i)
	gone, broken := errors.Is(err, ErrNotFound), errors.Is(err, ErrBroken)
	if err != nil && !gone && !broken {
		return err
	}
	sum, err := p.dst.hash(ctx, i.Key, there.Size)
	if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, errSize) {
		return err
	}
	good := err == nil && sum == i.sum
	switch {
	case broken:
		p.broken(i, good)
		return nil
	case good: // an ETag that is no MD5, or the source's object has gone
		return nil
	case gone:
		p.missing(i)
		return nil
	}
	p.Logger.Warn("repairing a broken object", "store", p.dst, "object", i.Key)
	return p.put(ctx, i, content)
}

// read returns the content of a source's object, hashed: an error is ErrNotFound, ErrBroken, or of the way there.
func (p *pass) read(ctx context.Context, i item) ([]byte, error) {
	if i.Size > maxObject {
		return nil, fmt.Errorf("read %s/%s: %w: %d bytes", p.src, i.Key, ErrBroken, i.Size)
	}
	var err error
	for attempt := range readAttempts {
		if attempt > 0 {
			if pauseErr := pause(ctx, attempt); pauseErr != nil {
				return nil, pauseErr
			}
		}
		var content []byte
		content, err = p.src.Get(ctx, i.Key, i.Size)
		switch {
		case err == nil && sha256.Sum256(content) == i.sum:
			return content, nil
		case err == nil:
			err = fmt.Errorf("read %s/%s: %w: its hash is not its name", p.src, i.Key, ErrBroken)
		case errors.Is(err, ErrNotFound):
			return nil, err
		case errors.Is(err, errSize):
			err = fmt.Errorf("%w: %w", ErrBroken, err)
		}
	}
	return nil, err
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

// put writes a hashed object. The store was given the hash to check; when its ETag leaves a doubt that it did, the
// object is read back.
func (p *pass) put(ctx context.Context, i item, content []byte) error {
	written, err := p.dst.Put(ctx, i.Key, content, i.sum)
	if err != nil {
		return err
	}
	if !looksLikeMD5(i.ETag) || !looksLikeMD5(written.ETag) || !same(i.Object, written) {
		sum, err := p.dst.hash(ctx, i.Key, i.Size)
		if err != nil {
			return err
		}
		if sum != i.sum {
			// Its name would promise it to the next pass.
			return errors.Join(fmt.Errorf("write %s/%s: the store took it and gives back something else", p.dst, i.Key),
				p.dst.remove(ctx, i.Key))
		}
	}
	p.count(i.Size)
	return nil
}

func (p *pass) count(size int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.report.Objects++
	p.report.Bytes += size
}

// missing notes an object that was listed, is gone, and is not at the destination.
func (p *pass) missing(i item) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.report.Missing = append(p.report.Missing, i.Key)
	p.absent[i.Key] = true
}

// broken notes an object that is broken at the source.
func (p *pass) broken(i item, healthyHere bool) {
	p.Logger.Error("broken object at the source", "store", p.src, "object", i.Key, "good_here", healthyHere)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.report.Broken = append(p.report.Broken, i.Key)
	if !healthyHere {
		p.unhealed = append(p.unhealed, i.Key)
		p.absent[i.Key] = true
	}
}
