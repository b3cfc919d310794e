package storecheck

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // S3's
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"

	"github.com/minio/minio-go/v7"
	"golang.org/x/sync/errgroup"
)

func readAfterWrite(ctx context.Context, p *prober) error {
	for n := range p.rounds {
		key, b := p.key(fmt.Sprintf("write-%d", n)), content(small)
		if err := p.timed("write 4 KiB", small, func() error { _, err := p.put(ctx, key, b); return err }); err != nil {
			return err
		}
		var got []byte
		err := p.timed("read 4 KiB", small, func() (err error) { got, err = p.get(ctx, key); return err })
		switch {
		case code(err) == minio.NoSuchKey:
			return denied("an object that was just written was not found")
		case err != nil:
			return err
		case !bytes.Equal(got, b):
			return denied("an object that was just written had another content")
		}
	}
	return nil
}

// wrong hashes have to be refused, and no object may be there. A right one has to be taken then: else it was refused for another reason.
func (p *prober) refused(ctx context.Context, key, what string, err error) error {
	if err == nil {
		return denied("an object with a wrong %s was taken", what)
	}
	if _, ok := answered(err); !ok {
		return err
	}
	_, err = p.get(ctx, key)
	switch {
	case err == nil:
		return denied("an object with a wrong %s was refused, and is there", what)
	case code(err) == minio.NoSuchKey:
		_, err = p.put(ctx, key, content(small))
	}
	return err
}

func wrongSigned(ctx context.Context, p *prober) error {
	key, b := p.key("signed"), content(small)
	_, err := p.offer(ctx, key, bytes.NewReader(b), small, "", sum(content(small)), minio.PutObjectOptions{})
	return p.refused(ctx, key, "SHA-256", err)
}

// wrongChecksum offers an object as the copier does: the payload is not signed, its checksum is.
func wrongChecksum(ctx context.Context, p *prober) error {
	key, b := p.key("checksum"), content(small)
	with := func(of []byte) minio.PutObjectOptions {
		s := sha256.Sum256(of)
		return minio.PutObjectOptions{UserMetadata: map[string]string{"X-Amz-Checksum-Sha256": base64.StdEncoding.EncodeToString(s[:])}}
	}
	_, err := p.offer(ctx, key, bytes.NewReader(b), small, "", "", with(content(small)))
	if err := p.refused(ctx, key, "x-amz-checksum-sha256", err); err != nil {
		return err
	}
	if _, err := p.offer(ctx, key, bytes.NewReader(b), small, "", "", with(b)); err != nil {
		if _, ok := answered(err); ok {
			return denied("the right x-amz-checksum-sha256 is refused as well: %v", err)
		}
		return err
	}
	return nil
}

func wrongMD5(ctx context.Context, p *prober) error {
	key, b := p.key("md5"), content(small)
	other := md5.Sum(content(small)) //nolint:gosec // S3's
	_, err := p.offer(ctx, key, bytes.NewReader(b), small, base64.StdEncoding.EncodeToString(other[:]), sum(b), minio.PutObjectOptions{})
	return p.refused(ctx, key, "Content-MD5", err)
}

var errBreaksOff = errors.New("broken off on purpose")

// truncated breaks a write off, as the gateway does with an object that is not what its name says.
func truncated(ctx context.Context, p *prober) error {
	key, b := p.key("truncated"), content(1<<20)
	body := io.MultiReader(bytes.NewReader(b[:len(b)/2]), broken{})
	if _, err := p.offer(ctx, key, body, int64(len(b)), "", sum(b), minio.PutObjectOptions{}); err == nil {
		return denied("a write of which half was sent was acknowledged")
	}
	got, err := p.get(ctx, key)
	switch {
	case err == nil:
		return denied("a write that broke off left an object of %d bytes", len(got))
	case code(err) == minio.NoSuchKey:
		_, err = p.put(ctx, key, b) // else it was perhaps refused before it broke off
	}
	return err
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errBreaksOff }

func largePut(ctx context.Context, p *prober) error {
	key, b := p.key("large"), content(p.large)
	if err := p.timed("write a large object", p.large, func() error { _, err := p.put(ctx, key, b); return err }); err != nil {
		if _, ok := answered(err); ok {
			return denied("%d MiB in one request were refused: %v", p.large>>20, err)
		}
		return err
	}
	h := sha256.New()
	err := p.timed("read a large object", p.large, func() error {
		body, _, _, err := p.core.GetObject(ctx, p.Store.Bucket, key, minio.GetObjectOptions{})
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		defer body.Close()
		if _, err = io.Copy(h, body); err != nil {
			return fmt.Errorf("read: %w", err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if hex.EncodeToString(h.Sum(nil)) != sum(b) {
		return denied("%d MiB in one request came back with another content", p.large>>20)
	}
	return gone(p.remove(ctx, key))
}

func overwrite(ctx context.Context, p *prober) error {
	key := p.key("overwrite")
	for range p.rounds {
		b := content(small)
		if _, err := p.put(ctx, key, b); err != nil {
			return err
		}
		got, err := p.get(ctx, key)
		if err != nil {
			return err
		}
		if !bytes.Equal(got, b) {
			return denied("an object that was written again had its earlier content")
		}
	}
	return nil
}

func serverCopy(ctx context.Context, p *prober) error {
	from, to, b := p.key("copy-from"), p.key("copy-to"), content(1<<20)
	if _, err := p.put(ctx, from, b); err != nil {
		return err
	}
	_, err := p.core.CopyObject(ctx, p.Store.Bucket, from, p.Store.Bucket, to, nil, minio.CopySrcOptions{}, minio.PutObjectOptions{})
	if _, ok := answered(err); ok {
		return denied("a copy was refused: %v", err)
	}
	if err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	got, err := p.get(ctx, to)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, b) {
		return denied("a copy has another content")
	}
	return nil
}

func etag(ctx context.Context, p *prober) error {
	key, b := p.key("etag"), content(small)
	info, err := p.put(ctx, key, b)
	if err != nil {
		return err
	}
	want := md5.Sum(b) //nolint:gosec // S3's
	listed, err := p.store.List(ctx, key)
	if err != nil {
		return err
	}
	tags := []string{info.ETag}
	for _, o := range listed {
		tags = append(tags, o.ETag)
	}
	for _, tag := range tags {
		if !strings.EqualFold(tag, hex.EncodeToString(want[:])) {
			return denied("an ETag is %q", tag)
		}
	}
	return nil
}

const (
	racers = 6         // write one name at once
	raced  = 256 << 10 // bytes: what takes a while to arrive leaves time between a look and a write
)

// conditional has several write one name at once, and sees how many are told that they did.
func conditional(ctx context.Context, p *prober) error {
	var options minio.PutObjectOptions
	options.SetMatchETagExcept("*")
	claim := func(key string, b []byte) error {
		_, err := p.offer(ctx, key, bytes.NewReader(b), int64(len(b)), "", sum(b), options)
		return err
	}
	key := p.key("condition")
	if _, err := p.put(ctx, key, content(small)); err != nil {
		return err
	}
	if err := claim(key, content(small)); err == nil {
		return denied("an object that is there was written over in spite of If-None-Match: *")
	} else if _, ok := answered(err); !ok {
		return err
	}
	several, most, none := 0, 0, 0
	for n := range p.races {
		key := p.key(fmt.Sprintf("race-%d", n))
		var winners atomic.Int64
		var group errgroup.Group
		for range racers {
			b := content(raced)
			group.Go(func() error {
				err := claim(key, b)
				if err == nil {
					winners.Add(1)
				} else if _, ok := answered(err); !ok {
					return err
				}
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
		switch won := int(winners.Load()); {
		case won == 0:
			none++
		case won > 1:
			several, most = several+1, max(most, won)
		}
	}
	switch {
	case several > 0:
		return denied("%d of %d races between %d had several winners, up to %d", several, p.races, racers, most)
	case none == p.races:
		return denied("no object can be written with If-None-Match: *")
	}
	return nil
}
