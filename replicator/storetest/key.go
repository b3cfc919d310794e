package storetest

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	//lint:ignore SA1019 restic's format has it
	"golang.org/x/crypto/poly1305"
	"golang.org/x/crypto/scrypt"
)

// MasterKey is what encrypts and authenticates in a restic repository.
type MasterKey struct {
	MAC struct {
		K []byte `json:"k"`
		R []byte `json:"r"`
	} `json:"mac"`
	Encrypt []byte `json:"encrypt"`
}

// Seal encrypts as restic does: AES-256-CTR, and Poly1305-AES over the ciphertext.
func (k *MasterKey) Seal(tb testing.TB, plain []byte) []byte {
	tb.Helper()
	nonce := make([]byte, 16)
	rand.Read(nonce)
	sealed := k.stream(tb, nonce, plain)
	tag := k.tag(tb, nonce, sealed)
	return append(append(nonce, sealed...), tag[:]...)
}

// open is the way back.
func (k *MasterKey) open(tb testing.TB, sealed []byte) []byte {
	tb.Helper()
	nonce, text, tag := sealed[:16], sealed[16:len(sealed)-16], sealed[len(sealed)-16:]
	if want := k.tag(tb, nonce, text); !bytes.Equal(tag, want[:]) {
		tb.Fatal("open a key: its password is another one")
	}
	return k.stream(tb, nonce, text)
}

func (k *MasterKey) stream(tb testing.TB, nonce, text []byte) []byte {
	tb.Helper()
	block, err := aes.NewCipher(k.Encrypt)
	if err != nil {
		tb.Fatal(err)
	}
	out := make([]byte, len(text))
	cipher.NewCTR(block, nonce).XORKeyStream(out, text)
	return out
}

func (k *MasterKey) tag(tb testing.TB, nonce, text []byte) (tag [16]byte) {
	tb.Helper()
	block, err := aes.NewCipher(k.MAC.K)
	if err != nil {
		tb.Fatal(err)
	}
	var key [32]byte
	copy(key[:16], k.MAC.R)
	block.Encrypt(key[16:], nonce)
	poly1305.Sum(&tag, text, &key)
	return tag
}

// keyFile is an object below keys/.
type keyFile struct {
	Created  string `json:"created"`
	Username string `json:"username"`
	Hostname string `json:"hostname"`
	KDF      string `json:"kdf"`
	N        int    `json:"N"`
	R        int    `json:"r"`
	P        int    `json:"p"`
	Salt     []byte `json:"salt"`
	Data     []byte `json:"data"`
}

func (f *keyFile) user(tb testing.TB, password string) *MasterKey {
	tb.Helper()
	derived, err := scrypt.Key([]byte(password), f.Salt, f.N, f.R, f.P, 64)
	if err != nil {
		tb.Fatal(err)
	}
	k := &MasterKey{Encrypt: derived[:32]}
	k.MAC.K, k.MAC.R = derived[32:48], derived[48:]
	return k
}

// cheapen writes a repository's one key anew, with a password that is tried in no time: at its usual price each start of
// restic takes half a second of a core, and most of a test that starts it often.
func (r *Repository) cheapen(tb testing.TB) {
	tb.Helper()
	ctx := context.Background()
	client, err := minio.New(strings.TrimPrefix(r.server.Endpoint, "http://"), &minio.Options{
		Creds: credentials.NewStaticV4(r.server.Admin.Access, r.server.Admin.Secret, ""), Region: r.server.Region,
	})
	if err != nil {
		tb.Fatal(err)
	}
	var names []string
	for o := range client.ListObjects(ctx, r.bucket, minio.ListObjectsOptions{Prefix: r.prefix + "/keys/"}) {
		if o.Err != nil {
			tb.Fatal(o.Err)
		}
		names = append(names, o.Key)
	}
	if len(names) != 1 {
		tb.Fatalf("a new repository has the keys %v, want one", names)
	}
	object, err := client.GetObject(ctx, r.bucket, names[0], minio.GetObjectOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	defer object.Close()
	content, err := io.ReadAll(object)
	if err != nil {
		tb.Fatal(err)
	}
	var f keyFile
	if err := json.Unmarshal(content, &f); err != nil {
		tb.Fatal(err)
	}
	master := f.user(tb, r.password).open(tb, f.Data)
	f.N, f.R, f.P = 2, 1, 1
	f.Data = f.user(tb, r.password).Seal(tb, master)
	if content, err = json.Marshal(f); err != nil {
		tb.Fatal(err)
	}
	sum := sha256.Sum256(content)
	key := r.prefix + "/keys/" + hex.EncodeToString(sum[:])
	if _, err := client.PutObject(ctx, r.bucket, key, bytes.NewReader(content), int64(len(content)), minio.PutObjectOptions{}); err != nil {
		tb.Fatal(err)
	}
	if err := client.RemoveObject(ctx, r.bucket, names[0], minio.RemoveObjectOptions{}); err != nil {
		tb.Fatal(err)
	}
}
