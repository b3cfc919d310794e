package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/signer"

	"drp/e2e/lab/host"
)

const storeName = "s3"

// storeService is a site's S3 store.
func storeService(h Host, root storeKey) host.Service {
	return host.Service{
		Name: storeName,
		Command: []string{hostBin + "/versitygw", "--port", at(h, storePort), "--region", region, "--keep-alive", "--quiet",
			"--iam-dir", hostData + "/iam", "posix", hostData + "/store"},
		Environment: []string{"ROOT_ACCESS_KEY=" + root.AccessKey, "ROOT_SECRET_KEY=" + root.SecretKey},
	}
}

// provision makes the bucket of a fresh store and the two keys to it: one that writes, for the site itself, and one that
// lists and reads, for the sites that copy from it.
func provision(ctx context.Context, h Host, bucket string, keys storeKeys, client *http.Client) error {
	admin, err := minio.New(at(h, storePort), &minio.Options{
		Creds:     credentials.NewStaticV4(keys.root.AccessKey, keys.root.SecretKey, ""),
		Region:    region,
		Transport: client.Transport,
	})
	if err != nil {
		return fmt.Errorf("open store of %s: %w", h.Name, err)
	}
	for {
		_, err := admin.BucketExists(ctx, bucket)
		if err == nil {
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for store of %s: %w", h.Name, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
	if err := admin.MakeBucket(ctx, bucket, minio.MakeBucketOptions{Region: region}); err != nil {
		return fmt.Errorf("make bucket %s: %w", bucket, err)
	}
	for _, key := range []storeKey{keys.write, keys.read} {
		if err := createUser(ctx, client, "http://"+at(h, storePort), keys.root, key); err != nil {
			return fmt.Errorf("make key of store of %s: %w", h.Name, err)
		}
	}
	policy := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[
{"Effect":"Allow","Principal":{"AWS":[%[2]q]},"Action":"s3:*","Resource":["arn:aws:s3:::%[1]s","arn:aws:s3:::%[1]s/*"]},
{"Effect":"Allow","Principal":{"AWS":[%[3]q]},"Action":["s3:ListBucket"],"Resource":["arn:aws:s3:::%[1]s"]},
{"Effect":"Allow","Principal":{"AWS":[%[3]q]},"Action":["s3:GetObject"],"Resource":["arn:aws:s3:::%[1]s/*"]}]}`,
		bucket, keys.write.AccessKey, keys.read.AccessKey)
	if err := admin.SetBucketPolicy(ctx, bucket, policy); err != nil {
		return fmt.Errorf("set policy of bucket %s: %w", bucket, err)
	}
	return nil
}

// createUser asks versitygw's admin API. Its own admin command would show the secret to everybody who lists processes.
func createUser(ctx context.Context, client *http.Client, endpoint string, root, key storeKey) error {
	body, err := xml.Marshal(struct {
		XMLName xml.Name `xml:"Account"`
		Access  string
		Secret  string
		Role    string
	}{Access: key.AccessKey, Secret: key.SecretKey, Role: "user"})
	if err != nil {
		return fmt.Errorf("encode user: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPatch, endpoint+"/create-user", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("create user: %w", err)
	}
	sum := sha256.Sum256(body)
	req.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(sum[:]))
	req = signer.SignV4(*req, root.AccessKey, root.SecretKey, "", region)
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("create user: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1024))
		return fmt.Errorf("create user: %s: %s", resp.Status, text)
	}
	return nil
}

// Store is how to open a site's bucket from the machine, by an HTTP client that sits on Host.
type Store struct{ Host, Endpoint, Bucket, Region, AccessKey, SecretKey string }

// Store returns the bucket of a site with the site's own key.
func (l *Lab) Store(site string) (Store, error) {
	return l.store(site, func(k storeKeys) storeKey { return k.write })
}

// StoreReadOnly returns the bucket of a site with the key that other sites read it with.
func (l *Lab) StoreReadOnly(site string) (Store, error) {
	return l.store(site, func(k storeKeys) storeKey { return k.read })
}

func (l *Lab) store(name string, choose func(storeKeys) storeKey) (Store, error) {
	s, err := l.findSite(name)
	if err != nil {
		return Store{}, err
	}
	keys, ok := l.secrets.stores[name]
	if !ok {
		return Store{}, fmt.Errorf("%w: site %s has no store", ErrUnknown, name)
	}
	h, _ := l.top.host(s.data())
	key := choose(keys)
	return Store{
		Host: h.Name, Endpoint: "http://" + at(h, storePort), Bucket: s.bucket(), Region: region,
		AccessKey: key.AccessKey, SecretKey: key.SecretKey,
	}, nil
}
