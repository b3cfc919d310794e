package storetest

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// serveUploads answers what is asked of uploads in parts; false: it is none of that. None is ever finished, so nothing of the
// parts is kept.
func (d *Double) serveUploads(w http.ResponseWriter, r *http.Request, key string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	query := r.URL.Query()
	id := query.Get("uploadId")
	switch {
	case key == "" && r.Method == http.MethodGet && query.Has("uploads"):
		fmt.Fprint(w, "<ListMultipartUploadsResult>")
		for _, id := range slices.Sorted(maps.Keys(d.uploads)) {
			if strings.HasPrefix(d.uploads[id], query.Get("prefix")) {
				fmt.Fprintf(w, "<Upload><Key>%s</Key><UploadId>%s</UploadId></Upload>", d.uploads[id], id)
			}
		}
		fmt.Fprint(w, "</ListMultipartUploadsResult>")
	case key != "" && r.Method == http.MethodPost && query.Has("uploads"):
		id := d.newID()
		d.uploads[id] = key
		fmt.Fprintf(w, "<InitiateMultipartUploadResult><UploadId>%s</UploadId></InitiateMultipartUploadResult>", id)
	case id == "":
		return false
	case d.uploads[id] != key:
		answerError(w, http.StatusNotFound, "NoSuchUpload")
	case r.Method == http.MethodPut:
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("ETag", `"part"`)
	case r.Method == http.MethodDelete:
		delete(d.uploads, id)
		w.WriteHeader(http.StatusNoContent)
	default:
		return false
	}
	return true
}

// Uploads are the keys of uploads in parts that were begun and neither finished nor aborted.
func (d *Double) Uploads() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Values(d.uploads))
}
