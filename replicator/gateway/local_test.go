package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
)

// local is a Local of a store with one object of each folder.
func local(t *testing.T, o LocalOptions) (l *Local, held map[folder]string, do func(method, path string, body []byte) (int, string)) {
	t.Helper()
	_, store := double(t)
	held = seed(t, store)
	o.Dir = t.TempDir()
	l, err := NewLocal(t.Context(), store, account, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if left, err := os.ReadDir(o.Dir); err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	})
	socket, _, _ := strings.Cut(strings.TrimPrefix(l.URL(), "rest:http+unix://"), ":")
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	return l, held, func(method, path string, body []byte) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, "http://door"+path, strings.NewReader(string(body)))
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		content, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(content)
	}
}

// TestLocal_Delete: a delete is somebody else's decision, for everything but locks; config is nobody's.
func TestLocal_Delete(t *testing.T) {
	var mu sync.Mutex
	var asked, locked []string
	tries := 0
	_, held, do := local(t, LocalOptions{
		Delete: func(_ context.Context, key, name string) error {
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, key+" "+name)
			if strings.HasPrefix(name, "keys/") {
				return &Refused{"not this one"}
			}
			if tries++; tries == 1 {
				return errors.New("the store is restarting")
			}
			return nil
		},
		Lock: func(_ context.Context, key string) error {
			locked = append(locked, key)
			return nil
		},
	})
	base := "/" + account + "/0.0/"
	want := func(status int, method, path string, body []byte) {
		t.Helper()
		if got, said := do(method, path, body); got != status {
			t.Errorf("%s %s: %d %s, want %d", method, path, got, said, status)
		}
	}
	pack := held[data]
	want(200, "DELETE", base+"data/"+pack, nil)
	if key := account + "/data/" + pack[:2] + "/" + pack + " data/" + pack[:2] + "/" + pack; len(asked) != 2 || asked[1] != key {
		t.Errorf("asked %v, want twice %s", asked, key)
	}
	want(200, "GET", base+"data/"+pack, nil) // it did not delete it itself
	want(403, "DELETE", base+"keys/"+held[keys], nil)
	want(403, "DELETE", base+"config", nil)
	want(403, "DELETE", base, nil)
	want(403, "DELETE", base+"data/", nil)
	content := []byte("a lock")
	want(200, "POST", base+"locks/"+name(content), content)
	if len(locked) != 1 || locked[0] != account+"/locks/"+name(content) {
		t.Errorf("heard of locks %v", locked)
	}
	want(200, "DELETE", base+"locks/"+name(content), nil)
	want(404, "GET", base+"locks/"+name(content), nil)

	pattern := pattern(1, 100<<10)
	want(200, "POST", base+"data/"+name(pattern), pattern)
	want(400, "POST", base+"data/"+name([]byte("other")), pattern)
	want(403, "POST", base+"keys/"+name(content), content) // short: a refusal does not wait for the body
	want(403, "POST", base+"config", content)
	want(403, "POST", base+"?create=true", nil)
	for _, path := range []string{"/blog/0.0/config", "/" + account + "/1.1/config", "/" + account + "/0.0/../blog/config", "/", "/" + account + "/"} {
		want(403, "GET", path, nil)
	}
}

// TestLocal_Frozen: what comes later is not listed, and nothing is written.
func TestLocal_Frozen(t *testing.T) {
	l, held, do := local(t, LocalOptions{Frozen: true})
	later := []byte("a snapshot that comes later")
	if err := l.door.Store.Put(t.Context(), account+"/snapshots/"+name(later), name(later), int64(len(later)), strings.NewReader(string(later))); err != nil {
		t.Fatal(err)
	}
	for _, f := range []folder{snapshots, index, data} {
		status, listed := do("GET", "/"+account+"/0.0/"+string(f)+"/", nil)
		if status != 200 || !strings.Contains(listed, held[f]) || strings.Contains(listed, name(later)) {
			t.Errorf("%s: %d %s", f, status, listed)
		}
	}
	for _, c := range [][2]string{{"POST", "locks/" + name(later)}, {"POST", "data/" + name(later)}, {"DELETE", "data/" + held[data]}, {"DELETE", "locks/" + name(later)}} {
		if status, _ := do(c[0], "/"+account+"/0.0/"+c[1], later); status != 403 {
			t.Errorf("%s %s: %d, want 403", c[0], c[1], status)
		}
	}
}

func TestNewLocal_Names(t *testing.T) {
	_, store := double(t)
	for _, account := range []string{"", "..", "a/b", ".trash", "Shop"} {
		if l, err := NewLocal(t.Context(), store, account, LocalOptions{}); err == nil {
			l.Close()
			t.Errorf("%q was taken", account)
		}
	}
}
