package replicator

import (
	"errors"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// drip is a store that sends its answer one byte at a time.
type drip struct {
	bytes int
	pause time.Duration // before each
}

func (d drip) RoundTrip(r *http.Request) (*http.Response, error) {
	out, in := io.Pipe()
	go func() {
		for range d.bytes {
			select {
			case <-time.After(d.pause): // of the bubble's time
			case <-r.Context().Done():
				return
			}
			if _, err := in.Write([]byte{'x'}); err != nil {
				return
			}
		}
		in.Close()
	}()
	go func() {
		<-r.Context().Done()
		out.CloseWithError(r.Context().Err())
	}()
	return &http.Response{StatusCode: http.StatusOK, Body: out, Request: r}, nil
}

// TestWatch_SlowBody: a body may take any time, as long as it moves.
func TestWatch_SlowBody(t *testing.T) {
	for name, c := range map[string]struct {
		pause time.Duration
		want  error
	}{
		"slow": {59 * time.Second, nil}, "standing still": {61 * time.Second, errIdle},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &watch{base: drip{100, c.pause}, idle: time.Minute}
				request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://store/bucket/key", nil)
				if err != nil {
					t.Fatal(err)
				}
				response, err := w.RoundTrip(request)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(response.Body)
				response.Body.Close()
				if !errors.Is(err, c.want) || c.want == nil && len(body) != 100 {
					t.Errorf("got %d bytes and %v, want %v", len(body), err, c.want)
				}
			})
		})
	}
}

// TestThrottled: a limit holds for all that share it, and is no reason to give a request up.
func TestThrottled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watch{base: throttled(drip{20 << 10, 0}, NewBandwidth(1<<10)), idle: time.Minute}
		began := time.Now()
		ended := make(chan error)
		for range 5 {
			go func() {
				request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://store/bucket/key", nil)
				if err != nil {
					ended <- err
					return
				}
				response, err := w.RoundTrip(request)
				if err == nil {
					_, err = io.Copy(io.Discard, response.Body)
					response.Body.Close()
				}
				ended <- err
			}()
		}
		for range 5 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		if took := time.Since(began); took < 98*time.Second || took > 101*time.Second { // 100 KiB, of which one at once
			t.Errorf("took %v", took)
		}
	})
}
