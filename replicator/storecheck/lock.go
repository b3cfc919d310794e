package storecheck

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/minio/minio-go/v7"
)

// lockable says whether the bucket has object lock.
func (p *prober) lockable(ctx context.Context) error {
	enabled, _, _, _, err := p.core.GetObjectLockConfig(ctx, p.Store.Bucket)
	if _, ok := answered(err); ok && code(err) != minio.AccessDenied {
		return denied("this bucket has none (%s)", code(err))
	}
	switch {
	case err != nil:
		return fmt.Errorf("ask for object lock: %w", err)
	case enabled != "Enabled":
		return denied("this bucket has none")
	}
	return nil
}

// retained writes an object that the store is to keep for a little while.
func (p *prober) retained(ctx context.Context, name string) (key, version string, until time.Time, err error) {
	key, p.retains = p.key(name), true
	b := content(small)
	p.dates.mu.Lock()
	until = p.now().Add(p.dates.ahead + p.retention).UTC().Truncate(time.Second)
	p.dates.mu.Unlock()
	info, err := p.offer(ctx, key, bytes.NewReader(b), small, "", sum(b), minio.PutObjectOptions{Mode: minio.Compliance, RetainUntilDate: until})
	return key, info.VersionID, until, err
}

func objectLock(ctx context.Context, p *prober) error {
	if err := p.lockable(ctx); err != nil {
		return err
	}
	key, version, _, err := p.retained(ctx, "locked")
	if err != nil {
		return err
	}
	err = p.core.RemoveObject(ctx, p.Store.Bucket, key, minio.RemoveObjectOptions{VersionID: version})
	if err == nil {
		return denied("an object in compliance mode was deleted before its time")
	}
	if _, ok := answered(err); !ok {
		return fmt.Errorf("delete: %w", err)
	}
	return nil
}

func retention(ctx context.Context, p *prober) error {
	if err := p.lockable(ctx); err != nil {
		return errors.New("it has no object lock to look at") // whatever the reason: nothing can be told
	}
	key, version, until, err := p.retained(ctx, "retained")
	if err != nil {
		return err
	}
	mode, earlier := minio.Compliance, until.Add(-p.retention/2)
	err = p.core.PutObjectRetention(ctx, p.Store.Bucket, key, minio.PutObjectRetentionOptions{Mode: &mode, RetainUntilDate: &earlier, VersionID: version})
	if err != nil {
		if _, ok := answered(err); !ok {
			return fmt.Errorf("shorten the retention: %w", err)
		}
		return nil
	}
	_, now, err := p.core.GetObjectRetention(ctx, p.Store.Bucket, key, version)
	switch {
	case err != nil:
		return fmt.Errorf("ask for the retention: %w", err)
	case now != nil && !now.Before(until):
		return nil // it said yes, and did not
	}
	return denied("a retention in compliance mode was shortened")
}
