package scenario

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Entry is one line of a guestbook that the guestbook acknowledged.
type Entry struct {
	Text string
	At   time.Time // when the acknowledgement was read
}

// Writer is a visitor who keeps writing into a guestbook, and remembers what was acknowledged.
type Writer struct {
	stop context.CancelFunc
	done chan struct{}

	mu      sync.Mutex
	entries []Entry
}

// Write starts a writer whose entries bear a name.
func (p *Platform) Write(ctx context.Context, address netip.Addr, name string) *Writer {
	ctx, cancel := context.WithCancel(ctx)
	w := &Writer{stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			w.write(ctx, p, address, fmt.Sprintf("%s-%d", name, i))
		}
	}()
	return w
}

func (w *Writer) write(ctx context.Context, p *Platform, address netip.Addr, text string) {
	err := p.Post(ctx, p.client, address.String(), text)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		w.entries = append(w.entries, Entry{Text: text, At: time.Now()})
	}
}

// Post writes one entry into a guestbook, and returns nil when the guestbook has acknowledged it.
func (p *Platform) Post(ctx context.Context, client *http.Client, address, text string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://["+address+"]/",
		strings.NewReader(url.Values{"text": {text}}.Encode()))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	body, err := answer(client, request)
	if err != nil {
		return err
	}
	if got := strings.TrimSpace(body); got != text {
		return fmt.Errorf("the guestbook acknowledged %q, not %q", got, text)
	}
	return nil
}

// Stop ends the writer and returns what was acknowledged.
func (w *Writer) Stop() []Entry {
	w.stop()
	<-w.done
	return w.Entries()
}

// Entries are those acknowledged so far.
func (w *Writer) Entries() []Entry {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Entry(nil), w.entries...)
}

// CheckEntries holds that a guestbook is sound and has every one of these entries.
func (p *Platform) CheckEntries(ctx context.Context, address netip.Addr, want []Entry) error {
	integrity, err := p.Get(ctx, address, "/integrity")
	if err != nil {
		return err
	}
	if strings.TrimSpace(integrity) != "ok" {
		return fmt.Errorf("PRAGMA integrity_check at %s says %q", address, integrity)
	}
	body, err := p.Get(ctx, address, "/entries")
	if err != nil {
		return err
	}
	got := map[string]bool{}
	for line := range strings.Lines(body) {
		got[strings.TrimSpace(line)] = true
	}
	for _, e := range want {
		if !got[e.Text] {
			return fmt.Errorf("the guestbook at %s lost %q, acknowledged at %s; it has %d entries", address, e.Text, e.At.Format(time.TimeOnly), len(got))
		}
	}
	return nil
}

// Before keeps the entries that were acknowledged before a moment.
func Before(entries []Entry, at time.Time) []Entry {
	var list []Entry
	for _, e := range entries {
		if e.At.Before(at) {
			list = append(list, e)
		}
	}
	return list
}
