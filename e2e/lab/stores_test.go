package lab_test

import (
	"io"
	"net/url"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"drp/e2e/lab"
)

func openStore(t *testing.T, l *lab.Lab, s lab.Store, from string) *minio.Client {
	t.Helper()
	u, err := url.Parse(s.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	c, err := minio.New(u.Host, &minio.Options{
		Creds: credentials.NewStaticV4(s.AccessKey, s.SecretKey, ""), Region: s.Region, Transport: l.ClientAt(from).Transport,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The site's own key does everything in its bucket; the one that other sites hold reads, from over there.
func testStores(t *testing.T, l *lab.Lab) {
	ctx := t.Context()
	own, err := l.Store("par1")
	if err != nil {
		t.Fatal(err)
	}
	read, err := l.StoreReadOnly("par1")
	if err != nil {
		t.Fatal(err)
	}
	writer, reader := openStore(t, l, own, "par1-data"), openStore(t, l, read, "par2-data")
	put := func(c *minio.Client, name string) error {
		_, err := c.PutObject(ctx, own.Bucket, name, strings.NewReader("content"), 7, minio.PutObjectOptions{})
		return err
	}
	for _, name := range []string{"a/config", "a/data/00/0011"} {
		if err := put(writer, name); err != nil {
			t.Fatal(err)
		}
	}
	var listed []string
	for o := range reader.ListObjects(ctx, own.Bucket, minio.ListObjectsOptions{Prefix: "a/", Recursive: true}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		listed = append(listed, o.Key)
	}
	if got, want := strings.Join(listed, " "), "a/config a/data/00/0011"; got != want {
		t.Errorf("listed from par2: got %q, want %q", got, want)
	}
	object, err := reader.GetObject(ctx, own.Bucket, "a/config", minio.GetObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer object.Close()
	if got, err := io.ReadAll(object); err != nil || string(got) != "content" {
		t.Errorf("read from par2: got %q, %v", got, err)
	}
	if err := put(reader, "a/other"); err == nil {
		t.Error("the key of other sites writes")
	}
	if err := reader.RemoveObject(ctx, own.Bucket, "a/config", minio.RemoveObjectOptions{}); err == nil {
		t.Error("the key of other sites deletes")
	}
	if err := writer.RemoveObject(ctx, own.Bucket, "a/config", minio.RemoveObjectOptions{}); err != nil {
		t.Errorf("the site's own key: %v", err)
	}
}
