package gateway

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

const (
	listV1 = "application/vnd.x.restic.rest.v1"
	listV2 = "application/vnd.x.restic.rest.v2"
)

// list answers with a folder's names, and their sizes when the client speaks version 2. The listing is complete before
// its first byte is sent: a part of one would look like missing objects.
func (g *Gateway) list(w http.ResponseWriter, r *http.Request, t target) error {
	if r.Method != http.MethodGet {
		return &refusal{http.StatusMethodNotAllowed, "a folder is listed with GET"}
	}
	var found []Object
	err := g.hold(r.Context(), func() (err error) {
		found, err = g.Store.List(r.Context(), t.key())
		return err
	})
	if err != nil {
		return err
	}
	return g.answer(w, r, t, found)
}

// answer sends a folder's listing.
func (g *Gateway) answer(w http.ResponseWriter, r *http.Request, t target, found []Object) error {
	type entry struct {
		Name string `json:"name"`
		Size int64  `json:"size"`
	}
	names, entries := []string{}, []entry{}
	sizes := r.Header.Get("Accept") == listV2
	for _, o := range found {
		name, ok := t.nameIn(o.Key)
		switch {
		case !ok:
			g.log().Warn("foreign object in a repository", "key", o.Key)
		case sizes:
			entries = append(entries, entry{name, o.Size})
		default:
			names = append(names, name)
		}
	}
	var answer any = names
	w.Header().Set("Content-Type", listV1)
	if sizes {
		answer = entries
		w.Header().Set("Content-Type", listV2)
	}
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		panic(http.ErrAbortHandler) // the client is gone
	}
	return nil
}

func (g *Gateway) head(w http.ResponseWriter, r *http.Request, t target) error {
	var size int64
	err := g.hold(r.Context(), func() (err error) {
		size, err = g.Store.Stat(r.Context(), t.key())
		return err
	})
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	w.Header().Set("Accept-Ranges", "bytes")
	return nil
}

// load streams an object or one range of it.
func (g *Gateway) load(w http.ResponseWriter, r *http.Request, t target) error {
	offset, length, ranged, err := rangeOf(r.Header.Get("Range"))
	if err != nil {
		return err
	}
	var part Part
	err = g.hold(r.Context(), func() (err error) {
		part, err = g.Store.Get(r.Context(), t.key(), offset, length)
		return err
	})
	if err != nil {
		return err
	}
	defer part.Body.Close()
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Length", strconv.FormatInt(part.Size, 10))
	h.Set("Accept-Ranges", "bytes")
	status := http.StatusOK
	if ranged {
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", offset, offset+part.Size-1, part.Total))
		status = http.StatusPartialContent
	}
	w.WriteHeader(status)
	if n, err := io.Copy(w, part.Body); err != nil || n != part.Size {
		if r.Context().Err() == nil {
			g.log().Warn("read broke off", "key", t.key(), "sent", n, "of", part.Size, "error", err)
		}
		panic(http.ErrAbortHandler) // too late for a status; a broken connection makes restic ask again
	}
	return nil
}

// rangeOf reads a Range header. Only the forms that restic sends are honoured: bytes=A- and bytes=A-B. Any other is no
// reason to fail: without a range, the whole object is a right answer.
func rangeOf(header string) (offset, length int64, ranged bool, err error) {
	from, to, ok := strings.Cut(strings.TrimPrefix(header, "bytes="), "-")
	offset, err = strconv.ParseInt(from, 10, 64)
	if !ok || err != nil || offset < 0 || !strings.HasPrefix(header, "bytes=") {
		return 0, -1, false, nil
	}
	if to == "" {
		return offset, -1, offset > 0, nil
	}
	last, err := strconv.ParseInt(to, 10, 64)
	if err != nil {
		return 0, -1, false, nil
	}
	if last < offset {
		return 0, 0, false, &refusal{http.StatusRequestedRangeNotSatisfiable, "range ends before it begins"}
	}
	return offset, last - offset + 1, true, nil
}
