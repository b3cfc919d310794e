package storetest

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// version is one of an object, or a marker that hides those before it.
type version struct {
	id      string
	marker  bool
	content []byte
	until   time.Time // retained; zero: it is not
}

// keep notes a new version of an object. d.mu is held.
func (d *Double) keep(key string, content []byte, until time.Time) (id string) {
	id = d.newID()
	d.kept[key] = append(d.kept[key], version{id: id, content: content, until: until})
	return id
}

// newID was never given before. d.mu is held.
func (d *Double) newID() string {
	d.ids++
	return "v" + strconv.Itoa(d.ids)
}

// version is the one of that id, the newest one without an id; nil: there is none. d.mu is held.
func (d *Double) version(key, id string) *version {
	all := d.kept[key]
	for n := len(all) - 1; n >= 0; n-- {
		if id == "" || all[n].id == id {
			return &all[n]
		}
	}
	return nil
}

// serveLock answers what only a bucket with object lock knows; false: it is none of that.
func (d *Double) serveLock(w http.ResponseWriter, r *http.Request, key string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	query := r.URL.Query()
	switch {
	case key == "" && query.Has("object-lock"):
		fmt.Fprint(w, "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>")
	case key == "" && query.Has("versioning"):
		fmt.Fprint(w, "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>")
	case key == "" && query.Has("versions"):
		d.listVersions(w, query.Get("prefix"), query.Get("key-marker"), query.Get("version-id-marker"))
	case query.Has("retention"):
		d.serveRetention(w, r, d.version(key, query.Get("versionId")))
	case r.Method == http.MethodDelete && query.Has("versionId"):
		d.deleteVersion(w, key, query.Get("versionId"))
	case r.Method == http.MethodDelete && !query.Has("uploadId"):
		d.kept[key] = append(d.kept[key], version{id: d.newID(), marker: true})
		delete(d.objects, key)
		w.WriteHeader(http.StatusNoContent)
	default:
		return false
	}
	return true
}

func (d *Double) serveRetention(w http.ResponseWriter, r *http.Request, v *version) {
	var wanted struct{ RetainUntilDate time.Time }
	switch {
	case v == nil:
		answerError(w, http.StatusNotFound, "NoSuchVersion")
	case r.Method == http.MethodGet:
		fmt.Fprintf(w, "<Retention><Mode>COMPLIANCE</Mode><RetainUntilDate>%s</RetainUntilDate></Retention>", v.until.Format(time.RFC3339))
	case xml.NewDecoder(r.Body).Decode(&wanted) != nil || wanted.RetainUntilDate.Before(v.until):
		answerError(w, http.StatusForbidden, "AccessDenied")
	default:
		v.until = wanted.RetainUntilDate
	}
}

// deleteVersion takes one away for good. The newest that is left is what is read, unless it is a marker.
func (d *Double) deleteVersion(w http.ResponseWriter, key, id string) {
	v := d.version(key, id)
	if v != nil && d.Clock().Before(v.until) {
		answerError(w, http.StatusForbidden, "AccessDenied")
		return
	}
	if v != nil {
		left := slices.DeleteFunc(d.kept[key], func(v version) bool { return v.id == id })
		if len(left) == 0 {
			delete(d.kept, key)
			delete(d.objects, key)
		} else {
			d.kept[key] = left
			if newest := left[len(left)-1]; newest.marker {
				delete(d.objects, key)
			} else {
				d.set(key, newest.content)
			}
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// listVersions answers one page: by key, the newest version of each first.
func (d *Double) listVersions(w http.ResponseWriter, prefix, afterKey, afterID string) {
	type line struct {
		key    string
		latest bool
		version
	}
	var lines []line
	for _, key := range slices.Sorted(maps.Keys(d.kept)) {
		if !strings.HasPrefix(key, prefix) {
			continue
		}
		for n, v := range slices.Backward(d.kept[key]) {
			lines = append(lines, line{key, n == len(d.kept[key])-1, v})
		}
	}
	if afterKey != "" {
		// What is listed was perhaps deleted since: begin behind its place, not behind itself.
		number := func(id string) int { n, _ := strconv.Atoi(strings.TrimPrefix(id, "v")); return n }
		lines = slices.DeleteFunc(lines, func(l line) bool {
			return l.key < afterKey || l.key == afterKey && (afterID == "" || number(l.id) >= number(afterID))
		})
	}
	fmt.Fprint(w, "<ListVersionsResult>")
	if size := cmp.Or(d.PageSize, 1000); len(lines) > size {
		lines = lines[:size]
		last := lines[size-1]
		fmt.Fprintf(w, "<IsTruncated>true</IsTruncated><NextKeyMarker>%s</NextKeyMarker><NextVersionIdMarker>%s</NextVersionIdMarker>", last.key, last.id)
	}
	for _, l := range lines {
		element := "Version"
		if l.marker {
			element = "DeleteMarker"
		}
		fmt.Fprintf(w, "<%s><Key>%s</Key><VersionId>%s</VersionId><IsLatest>%t</IsLatest><Size>%d</Size><LastModified>%s</LastModified></%s>",
			element, l.key, l.id, l.latest, len(l.content), d.modified(l.key).Format("2006-01-02T15:04:05.000Z"), element)
	}
	fmt.Fprint(w, "</ListVersionsResult>")
}

// Versions is how many versions and markers a bucket with object lock keeps.
func (d *Double) Versions() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for _, all := range d.kept {
		n += len(all)
	}
	return n
}
