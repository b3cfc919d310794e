package storetest

import (
	"cmp"
	"crypto/md5" //nolint:gosec // S3's ETag
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"html"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Double is an S3 store with one bucket in this process. It checks no signatures. Each request can be answered with a
// fault. It knows path-style GET, HEAD, PUT and DELETE of objects, the second version of
// listings, and the beginning and the end of uploads in parts.
type Double struct {
	Endpoint string
	Bucket   string
	// PageSize is how many keys one page of a listing has. 1000 when zero.
	PageSize int
	// ETag gives an object's ETag. The MD5 of its content when nil.
	ETag func(key string, content []byte) string
	// Blind stores do not check hashes.
	Blind bool
	// Clock is what answers and objects are dated with. Nil: answers by the machine's, objects all by one moment.
	Clock func() time.Time
	// Lock: the bucket has object lock, and so it keeps all versions.
	Lock bool
	// Fault is asked before each request is served, on many goroutines at once. Nil, or a nil answer: no fault.
	Fault func(Call) *Fault

	mu      sync.Mutex
	objects map[string][]byte
	calls   []Call
	puts    []string
	dated   map[string]time.Time // when objects were written
	kept    map[string][]version // the newest last
	uploads map[string]string    // the keys of unfinished ones in parts, by id
	ids     int                  // given to versions and uploads
}

// Operation is what a request asks for.
type Operation string

// The operations that a Double knows.
const (
	List   Operation = "list"
	Get    Operation = "get"
	Head   Operation = "head"
	Put    Operation = "put"
	Delete Operation = "delete"
)

// Call is one request.
type Call struct {
	Operation Operation
	Key       string // of a listing: the prefix
	Page      int    // of a listing: 1 is the first
}

// Fault is a wrong answer. One field is set.
type Fault struct {
	Status   int                  // answer this error
	Code     string               // with this S3 code
	Body     string               // answer 200 with this body
	Down     bool                 // cut the connection, and do nothing
	Lost     bool                 // do what is asked, and cut the connection before the answer
	Truncate bool                 // promise the whole answer, and cut the connection in the middle of it
	Change   func([]byte) []byte  // of what is read, or of what is kept on a write
	Pace     func()               // of a Proxy: called before each kilobyte, there and back; it may take its time
	Hang     <-chan struct{}      // answer nothing until this is closed or the client has gone
	Listing  func(*ListingAnswer) // change a page of a listing
}

// ListingAnswer is a page of a listing.
type ListingAnswer struct {
	XMLName               xml.Name `xml:"ListBucketResult"`
	Name                  string
	Prefix                string
	KeyCount              int
	MaxKeys               int
	IsTruncated           bool
	NextContinuationToken string `xml:",omitempty"`
	Contents              []ListedObject
}

// ListedObject is one line of a listing.
type ListedObject struct {
	Key          string
	LastModified string
	ETag         string
	Size         int
	StorageClass string
}

// NewDouble serves an empty store until the test ends.
func NewDouble(tb testing.TB) *Double {
	tb.Helper()
	d := &Double{Bucket: "bucket", objects: make(map[string][]byte), dated: make(map[string]time.Time), kept: make(map[string][]version), uploads: make(map[string]string)}
	d.Endpoint = Serve(tb, d)
	return d
}

// Serve serves what answers like a store, until the test ends.
func Serve(tb testing.TB, store http.Handler) (endpoint string) {
	tb.Helper()
	server := httptest.NewServer(store)
	tb.Cleanup(server.Close)
	tb.Cleanup(server.CloseClientConnections)
	return server.URL
}

// Store sets an object behind the client's back.
func (d *Double) Store(key string, content []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	content = slices.Clone(content)
	d.set(key, content)
	if v := d.version(key, ""); v != nil {
		v.content = content
	}
}

// Forget removes an object behind the client's back.
func (d *Double) Forget(key string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.objects, key)
}

// Objects is what the store holds.
func (d *Double) Objects() map[string][]byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.objects)
}

// Puts are the keys that were written, in order.
func (d *Double) Puts() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.puts)
}

// Calls are the requests so far, in the order in which they came.
func (d *Double) Calls() []Call {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.calls)
}

func (d *Double) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if d.Clock != nil {
		w.Header().Set("Date", d.Clock().UTC().Format(http.TimeFormat))
	}
	call, ok := callOf(r, key)
	switch {
	case bucket != d.Bucket:
		answerError(w, http.StatusNotFound, "NoSuchBucket")
		return
	case key == "" && r.Method == http.MethodHead:
		return // the bucket is there
	case !d.Lock && key == "" && r.URL.Query().Has("object-lock"):
		answerError(w, http.StatusNotFound, "ObjectLockConfigurationNotFoundError")
		return
	case d.Lock && d.serveLock(w, r, key), d.serveUploads(w, r, key):
		return
	case !ok:
		answerError(w, http.StatusNotImplemented, "NotImplemented")
		return
	}
	d.mu.Lock()
	d.calls = append(d.calls, call)
	d.mu.Unlock()
	var fault Fault
	if d.Fault != nil {
		if f := d.Fault(call); f != nil {
			fault = *f
		}
	}
	if fault.Hang != nil {
		select {
		case <-fault.Hang:
		case <-r.Context().Done():
		}
		panic(http.ErrAbortHandler)
	}
	if fault.Down {
		panic(http.ErrAbortHandler)
	}
	if fault.Status != 0 {
		answerError(w, fault.Status, fault.Code)
		return
	}
	if fault.Body != "" {
		_, _ = io.WriteString(w, fault.Body) // a client that has gone
		return
	}
	if fault.Lost {
		w = &unheard{ResponseWriter: w}
		defer panic(http.ErrAbortHandler)
	}
	switch call.Operation {
	case List:
		d.list(w, r, call, fault)
	case Put:
		d.put(w, r, key, fault)
	case Delete:
		d.Forget(key)
		w.WriteHeader(http.StatusNoContent)
	case Get, Head:
		d.get(w, r, key, fault)
	}
}

// unheard is an answer that nobody gets.
type unheard struct{ http.ResponseWriter }

func (u *unheard) Write(p []byte) (int, error) { return len(p), nil }
func (u *unheard) WriteHeader(int)             {}

func callOf(r *http.Request, key string) (Call, bool) {
	query := r.URL.Query()
	switch {
	case key == "" && r.Method == http.MethodGet && query.Get("list-type") == "2":
		page := 1
		number, _, _ := strings.Cut(query.Get("continuation-token"), " ")
		if n, err := strconv.Atoi(number); err == nil {
			page = n
		}
		return Call{Operation: List, Key: query.Get("prefix"), Page: page}, true
	case key == "":
		return Call{}, false
	case r.Method == http.MethodGet:
		return Call{Operation: Get, Key: key}, true
	case r.Method == http.MethodHead:
		return Call{Operation: Head, Key: key}, true
	case r.Method == http.MethodPut:
		return Call{Operation: Put, Key: key}, true
	case r.Method == http.MethodDelete:
		return Call{Operation: Delete, Key: key}, true
	}
	return Call{}, false
}

func (d *Double) list(w http.ResponseWriter, r *http.Request, call Call, fault Fault) {
	d.mu.Lock()
	var names []string
	for k := range d.objects {
		if strings.HasPrefix(k, call.Key) {
			names = append(names, k)
		}
	}
	slices.Sort(names)
	size := cmp.Or(d.PageSize, 1000)
	begin := 0
	if after := r.URL.Query().Get("start-after"); after != "" {
		begin, _ = slices.BinarySearch(names, after+"\x00")
	}
	if _, last, ok := strings.Cut(r.URL.Query().Get("continuation-token"), " "); ok {
		begin, _ = slices.BinarySearch(names, last+"\x00") // as stores do: what was written or removed before it is not seen
	} else if call.Page > 1 {
		begin = min((call.Page-1)*size, len(names)) // a token that a fault made up
	}
	end := min(begin+size, len(names))
	answer := ListingAnswer{Name: d.Bucket, Prefix: call.Key, KeyCount: end - begin, MaxKeys: size, IsTruncated: end < len(names)}
	if answer.IsTruncated {
		answer.NextContinuationToken = strconv.Itoa(call.Page+1) + " " + names[end-1]
	}
	for _, k := range names[begin:end] {
		answer.Contents = append(answer.Contents, ListedObject{
			Key: url.QueryEscape(k), LastModified: d.modified(k).Format("2006-01-02T15:04:05.000Z"), ETag: d.etag(k, d.objects[k]),
			Size: len(d.objects[k]), StorageClass: "STANDARD",
		})
	}
	d.mu.Unlock()
	if fault.Listing != nil {
		fault.Listing(&answer)
	}
	page, err := xml.Marshal(struct {
		ListingAnswer
		EncodingType string
	}{answer, "url"})
	if err != nil {
		panic(err)
	}
	send(w, append([]byte(xml.Header), page...), fault)
}

// set writes an object, and dates it. d.mu is held.
func (d *Double) set(key string, content []byte) {
	d.objects[key] = content
	delete(d.dated, key)
	if d.Clock != nil {
		d.dated[key] = d.Clock()
	}
}

// modified is when an object was written. d.mu is held.
func (d *Double) modified(key string) time.Time {
	if at := d.dated[key]; !at.IsZero() {
		return at.UTC()
	}
	return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
}

func (d *Double) get(w http.ResponseWriter, r *http.Request, key string, fault Fault) {
	d.mu.Lock()
	content, ok := d.objects[key]
	modified := d.modified(key)
	if v := d.version(key, r.URL.Query().Get("versionId")); v != nil && !v.until.IsZero() {
		w.Header().Set("X-Amz-Object-Lock-Retain-Until-Date", v.until.UTC().Format(time.RFC3339))
	}
	d.mu.Unlock()
	if !ok {
		answerError(w, http.StatusNotFound, "NoSuchKey")
		return
	}
	w.Header().Set("ETag", d.etag(key, content))
	w.Header().Set("Last-Modified", modified.Format(http.TimeFormat))
	if asked := r.Header.Get("Range"); asked != "" {
		first, last, ok := part(asked, len(content))
		if !ok {
			answerError(w, http.StatusRequestedRangeNotSatisfiable, "InvalidRange")
			return
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, len(content)))
		sendPart(w, http.StatusPartialContent, content[first:last+1], fault)
		return
	}
	send(w, content, fault)
}

// part reads bytes=FIRST-[LAST].
func part(asked string, size int) (first, last int, ok bool) {
	from, to, _ := strings.Cut(strings.TrimPrefix(asked, "bytes="), "-")
	first, err := strconv.Atoi(from)
	last = size - 1
	if to != "" && err == nil {
		last, err = strconv.Atoi(to)
	}
	return first, min(last, size-1), err == nil && first < size && first <= last
}

// put checks the hash as a good store does. fault.Change makes it a bad one, which keeps something else.
func (d *Double) put(w http.ResponseWriter, r *http.Request, key string, fault Fault) {
	if from := r.Header.Get("X-Amz-Copy-Source"); from != "" {
		d.copy(w, strings.TrimPrefix(from, d.Bucket+"/"), key, fault)
		return
	}
	content, err := io.ReadAll(r.Body)
	if err != nil || int64(len(content)) != r.ContentLength {
		answerError(w, http.StatusBadRequest, "IncompleteBody")
		return
	}
	sum := sha256.Sum256(content)
	checksum := base64.StdEncoding.EncodeToString(sum[:])
	switch announced, signed := r.Header.Get("X-Amz-Checksum-Sha256"), r.Header.Get("X-Amz-Content-Sha256"); {
	case d.Blind:
	case announced != "" && announced != checksum:
		answerError(w, http.StatusBadRequest, "BadDigest")
		return
	case announced != "" && signed == "UNSIGNED-PAYLOAD":
		w.Header().Set("X-Amz-Checksum-Sha256", checksum)
	case signed != hex.EncodeToString(sum[:]):
		answerError(w, http.StatusBadRequest, "XAmzContentSHA256Mismatch")
		return
	}
	if want := r.Header.Get("Content-Md5"); want != "" && !d.Blind {
		if sum := md5.Sum(content); want != base64.StdEncoding.EncodeToString(sum[:]) { //nolint:gosec // S3's
			answerError(w, http.StatusBadRequest, "BadDigest")
			return
		}
	}
	if fault.Change != nil {
		content = fault.Change(content)
	}
	d.mu.Lock()
	if _, there := d.objects[key]; there && r.Header.Get("If-None-Match") == "*" {
		d.mu.Unlock()
		answerError(w, http.StatusPreconditionFailed, "PreconditionFailed")
		return
	}
	d.set(key, content)
	if d.Lock {
		until, _ := time.Parse(time.RFC3339, r.Header.Get("X-Amz-Object-Lock-Retain-Until-Date")) // none: the zero time
		w.Header().Set("X-Amz-Version-Id", d.keep(key, content, until))
	}
	d.puts = append(d.puts, key)
	d.mu.Unlock()
	w.Header().Set("ETag", d.etag(key, content))
	w.WriteHeader(http.StatusOK)
}

// copy is a write whose content the store has already.
func (d *Double) copy(w http.ResponseWriter, from, to string, fault Fault) {
	d.mu.Lock()
	content, ok := d.objects[from]
	if ok && fault.Change != nil {
		content = fault.Change(slices.Clone(content))
	}
	if ok {
		d.set(to, content)
		if d.Lock {
			d.keep(to, content, time.Time{})
		}
		d.puts = append(d.puts, to)
	}
	modified := d.modified(to)
	d.mu.Unlock()
	if !ok {
		answerError(w, http.StatusNotFound, "NoSuchKey")
		return
	}
	fmt.Fprintf(w, `<CopyObjectResult><ETag>%s</ETag><LastModified>%s</LastModified></CopyObjectResult>`,
		html.EscapeString(d.etag(to, content)), modified.Format("2006-01-02T15:04:05.000Z"))
}

func (d *Double) etag(key string, content []byte) string {
	if d.ETag != nil {
		return strconv.Quote(d.ETag(key, content))
	}
	sum := md5.Sum(content) //nolint:gosec // S3's ETag
	return strconv.Quote(hex.EncodeToString(sum[:]))
}

func send(w http.ResponseWriter, content []byte, fault Fault) {
	sendPart(w, http.StatusOK, content, fault)
}

func sendPart(w http.ResponseWriter, status int, content []byte, fault Fault) {
	if fault.Change != nil {
		content = fault.Change(slices.Clone(content))
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	w.WriteHeader(status)
	if fault.Truncate {
		_, _ = w.Write(content[:len(content)/2]) // the connection is cut in a moment
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(content) // a client that has gone
}

func answerError(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>%s</Message></Error>`, code, code)
}
