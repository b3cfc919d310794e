package storecheck

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"golang.org/x/sync/errgroup"

	"drp/replicator"
)

func deletion(ctx context.Context, p *prober) error {
	for n := range p.rounds {
		key := p.key(fmt.Sprintf("delete-%d", n))
		if _, err := p.put(ctx, key, content(small)); err != nil {
			return err
		}
		if _, err := p.get(ctx, key); err != nil { // what is kept for later reads must not be read now
			return err
		}
		if err := p.timed("delete", 0, func() error { return p.remove(ctx, key) }); err != nil {
			return err
		}
		_, err := p.get(ctx, key)
		switch {
		case err == nil:
			return denied("an object that was deleted is read")
		case code(err) != minio.NoSuchKey:
			return err
		}
	}
	return nil
}

func missing(ctx context.Context, p *prober) error {
	_, err := p.get(ctx, p.prefix+"missing")
	switch answer, ok := answered(err); {
	case err == nil:
		return denied("an object that was never written is read")
	case !ok:
		return err
	case answer.Code != minio.NoSuchKey:
		return denied("an object that is not there is answered with %d %s", answer.StatusCode, answer.Code)
	}
	_, err = p.core.StatObject(ctx, p.Store.Bucket, p.prefix+"missing", minio.StatObjectOptions{})
	if answer, ok := answered(err); err != nil && !ok {
		return err
	} else if answer.StatusCode != http.StatusNotFound {
		return denied("a question for an object that is not there is answered with %v", err)
	}
	body, _, _, err := p.core.GetObject(ctx, "drp-check-"+strings.ToLower(rand.Text()), "missing", minio.GetObjectOptions{})
	switch {
	case err == nil:
		body.Close()
		return denied("an object in a bucket that is not there is read")
	case code(err) == minio.NoSuchKey:
		return denied("an object in a bucket that is not there is answered with NoSuchKey")
	}
	if _, ok := answered(err); !ok {
		return err
	}
	return nil
}

func ranges(ctx context.Context, p *prober) error {
	key, b := p.key("range"), content(1<<20)
	if _, err := p.put(ctx, key, b); err != nil {
		return err
	}
	size := len(b)
	for _, part := range []struct{ first, last int }{{0, 0}, {1000, 1999}, {size - 1, size - 1}, {size / 2, size - 1}} {
		var o minio.GetObjectOptions
		o.Set("Range", fmt.Sprintf("bytes=%d-%d", part.first, part.last))
		var got []byte
		var header http.Header
		err := p.timed("read a part", 0, func() (err error) { got, header, err = p.getWith(ctx, key, o); return err })
		if err != nil {
			return err
		}
		if want := fmt.Sprintf("bytes %d-%d/%d", part.first, part.last, size); header.Get("Content-Range") != want {
			return denied("for the part %s it answers with the part %q", want, header.Get("Content-Range"))
		}
		if !bytes.Equal(got, b[part.first:part.last+1]) {
			return denied("it answers with other bytes than those of the part")
		}
	}
	var o minio.GetObjectOptions
	o.Set("Range", fmt.Sprintf("bytes=%d-%d", size, size+9))
	_, _, err := p.getWith(ctx, key, o)
	answer, ok := answered(err)
	switch {
	case err == nil:
		return denied("a part beyond the end of an object is answered as if it were there")
	case !ok:
		return err
	case answer.StatusCode != http.StatusRequestedRangeNotSatisfiable:
		return denied("a part beyond the end of an object is answered with %d %s", answer.StatusCode, answer.Code)
	}
	return nil
}

func listAfterWrite(ctx context.Context, p *prober) error {
	for n := range p.rounds {
		key := p.key(fmt.Sprintf("listed/%d", n))
		if _, err := p.put(ctx, key, content(small)); err != nil {
			return err
		}
		names, err := p.list(ctx, "listed/")
		if err != nil {
			return err
		}
		if !slices.Contains(names, key) {
			return denied("an object that was just written is not listed")
		}
	}
	return nil
}

func listAfterDelete(ctx context.Context, p *prober) error {
	for n := range p.rounds {
		key := p.key(fmt.Sprintf("unlisted/%d", n))
		if _, err := p.put(ctx, key, content(small)); err != nil {
			return err
		}
		if _, err := p.list(ctx, "unlisted/"); err != nil {
			return err
		}
		if err := p.remove(ctx, key); err != nil {
			return err
		}
		names, err := p.list(ctx, "unlisted/")
		if err != nil {
			return err
		}
		if slices.Contains(names, key) {
			return denied("an object that was deleted is listed")
		}
	}
	return nil
}

// listComplete writes more objects than a page of a listing has. Their names are of the kind that restic uses.
func listComplete(ctx context.Context, p *prober) error {
	want := make([]string, p.keys)
	var group errgroup.Group
	group.SetLimit(atOnce)
	for n := range want {
		b := []byte(fmt.Sprint(n))
		name := sum(b)
		want[n] = p.key("pages/" + name[:2] + "/" + name)
		group.Go(func() error { _, err := p.put(ctx, want[n], b); return err })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	var got []string
	kind := fmt.Sprintf("list %d objects", p.keys)
	if err := p.timed(kind, 0, func() (err error) { got, err = p.list(ctx, "pages/"); return err }); err != nil {
		if errors.Is(err, replicator.ErrListing) {
			return denied("%v", err)
		}
		return err
	}
	p.listing = got
	slices.Sort(want)
	if sorted := slices.Sorted(slices.Values(got)); !slices.Equal(sorted, want) {
		return denied("of %d objects it lists %d", len(want), len(got))
	}
	return nil
}

func listOrder(_ context.Context, p *prober) error {
	switch {
	case p.listing == nil:
		return fmt.Errorf("there was no listing to look at")
	case !slices.IsSorted(p.listing):
		return denied("a listing is not in the order of names")
	}
	return nil
}

// clock compares the answers' dates and an object's with ours.
func clock(ctx context.Context, p *prober) error {
	const most = time.Minute
	key := p.key("clock")
	if _, err := p.put(ctx, key, content(small)); err != nil {
		return err
	}
	o, err := p.core.StatObject(ctx, p.Store.Bucket, key, minio.StatObjectOptions{})
	if err != nil {
		return fmt.Errorf("look for the object: %w", err)
	}
	p.dates.mu.Lock()
	ahead, known := p.dates.ahead, p.dates.known
	p.dates.mu.Unlock()
	if !known {
		return fmt.Errorf("its answers have no Date")
	}
	if ahead.Abs() > most {
		return denied("the store's clock is %s %s ours", ahead.Abs().Round(time.Second), direction(ahead))
	}
	if off := o.LastModified.Sub(p.now()); off.Abs() > most {
		return denied("an object that was just written bears a time %s %s ours", off.Abs().Round(time.Second), direction(off))
	}
	return nil
}

func direction(d time.Duration) string {
	if d < 0 {
		return "behind"
	}
	return "ahead of"
}
