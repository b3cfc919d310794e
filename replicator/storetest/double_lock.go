package storetest

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// onlyVersion is what a Double calls the version of every object.
const onlyVersion = "v1"

// retained is what object lock has of an object.
type retained struct {
	until time.Time
	gone  bool // deleted without a version: a marker hides it
}

// retain notes what a write says of object lock. d.mu is held.
func (d *Double) retain(w http.ResponseWriter, r *http.Request, key string) {
	until, _ := time.Parse(time.RFC3339, r.Header.Get("X-Amz-Object-Lock-Retain-Until-Date")) // none: the zero time
	d.kept[key] = retained{until: until}
	w.Header().Set("X-Amz-Version-Id", onlyVersion)
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
		d.listVersions(w, query.Get("prefix"))
	case query.Has("retention") && r.Method == http.MethodGet:
		fmt.Fprintf(w, "<Retention><Mode>COMPLIANCE</Mode><RetainUntilDate>%s</RetainUntilDate></Retention>", d.kept[key].until.Format(time.RFC3339))
	case query.Has("retention") && r.Method == http.MethodPut:
		var wanted struct{ RetainUntilDate time.Time }
		if err := xml.NewDecoder(r.Body).Decode(&wanted); err != nil || wanted.RetainUntilDate.Before(d.kept[key].until) {
			answerError(w, http.StatusForbidden, "AccessDenied")
			break
		}
		d.kept[key] = retained{until: wanted.RetainUntilDate}
	case r.Method == http.MethodDelete && query.Get("versionId") == onlyVersion:
		if d.Clock().Before(d.kept[key].until) {
			answerError(w, http.StatusForbidden, "AccessDenied")
			break
		}
		delete(d.kept, key)
		delete(d.objects, key)
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodDelete:
		kept := d.kept[key]
		kept.gone = true
		d.kept[key] = kept
		delete(d.objects, key)
		w.WriteHeader(http.StatusNoContent)
	default:
		return false
	}
	return true
}

func (d *Double) listVersions(w http.ResponseWriter, prefix string) {
	var names []string
	for key := range d.kept {
		if strings.HasPrefix(key, prefix) {
			names = append(names, key)
		}
	}
	slices.Sort(names)
	fmt.Fprint(w, "<ListVersionsResult>")
	for _, key := range names {
		fmt.Fprintf(w, "<Version><Key>%s</Key><VersionId>%s</VersionId><IsLatest>%t</IsLatest><Size>%d</Size><LastModified>%s</LastModified></Version>",
			key, onlyVersion, !d.kept[key].gone, len(d.objects[key]), d.modified(key).Format("2006-01-02T15:04:05.000Z"))
	}
	fmt.Fprint(w, "</ListVersionsResult>")
}

// Versions is how many objects a bucket with object lock keeps, deleted ones too.
func (d *Double) Versions() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.kept)
}
