package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"golang.org/x/sync/errgroup"

	"drp/e2e/measure"
)

// bareCommand makes this program the bare loop: FROM-ENDPOINT FROM-BUCKET TO-ENDPOINT TO-BUCKET.
const bareCommand = "bare"

const parallel = 8 // objects in flight, of all that can be told

// bare lists both sides and copies what is missing, in any order. Nothing is hashed, neither here nor, beyond what it
// does for itself, by the store.
func bare(ctx context.Context, args []string, _, _ io.Writer) error {
	if len(args) != 5 {
		return errors.New("bare: want FROM-ENDPOINT FROM-BUCKET TO-ENDPOINT TO-BUCKET")
	}
	from, err := client(args[1])
	if err != nil {
		return err
	}
	to, err := client(args[3])
	if err != nil {
		return err
	}
	there := make(map[string]bool)
	for o := range to.ListObjectsIter(ctx, args[4], minio.ListObjectsOptions{Recursive: true}) {
		if o.Err != nil {
			return o.Err
		}
		there[o.Key] = true
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for o := range from.ListObjectsIter(ctx, args[2], minio.ListObjectsOptions{Recursive: true}) {
		if o.Err != nil {
			return errors.Join(o.Err, group.Wait())
		}
		if there[o.Key] {
			continue
		}
		group.Go(func() error {
			body, info, _, err := from.GetObject(ctx, args[2], o.Key, minio.GetObjectOptions{})
			if err != nil {
				return fmt.Errorf("read %s: %w", o.Key, err)
			}
			defer body.Close()
			_, err = to.PutObject(ctx, args[4], o.Key, body, info.Size, "", "", minio.PutObjectOptions{DisableContentSha256: true, DisableMultipart: true})
			return err
		})
	}
	return group.Wait()
}

func client(endpoint string) (*minio.Core, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, err
	}
	transport, err := minio.DefaultTransport(false)
	if err != nil {
		return nil, err
	}
	return minio.NewCore(u.Host, &minio.Options{Creds: credentials.NewStaticV4(measure.AccessKey, measure.SecretKey, ""), Region: measure.Region, Transport: transport})
}
