package storecheck

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"drp/replicator/storetest"
)

// follows are the properties that cannot hold, or be told, where another does not.
var follows = map[string][]string{
	"object-lock":   {"retention"},
	"list-complete": {"list-order"},
	"clock":         {"object-lock", "retention"}, // their end is told by the store's clock
}

// liars are stores that are honest but for one property, by its name and perhaps a word more.
var liars = map[string]func(*storetest.Double) http.Handler{
	"read-after-write lost":    func(d *storetest.Double) http.Handler { return putLost(d, "/write-") },
	"read-after-write changed": func(d *storetest.Double) http.Handler { return putChanged(d, "/write-") },
	"sha256-signed": func(d *storetest.Double) http.Handler {
		return put(d, "/signed", func(r *http.Request, body []byte) {
			if r.Header.Get("X-Amz-Checksum-Sha256") == "" {
				sign(r, body)
			}
		})
	},
	"sha256-checksum taken": func(d *storetest.Double) http.Handler {
		return put(d, "/checksum", func(r *http.Request, body []byte) { r.Header.Del("X-Amz-Checksum-Sha256"); sign(r, body) })
	},
	"sha256-checksum unknown": func(d *storetest.Double) http.Handler {
		return answer(d, func(r *http.Request) bool { return r.Header.Get("X-Amz-Checksum-Sha256") != "" }, http.StatusNotImplemented, "")
	},
	"content-md5": func(d *storetest.Double) http.Handler {
		return put(d, "/md5", func(r *http.Request, _ []byte) { r.Header.Del("Content-Md5") })
	},
	"truncated-put": func(d *storetest.Double) http.Handler { return readAfter(put(d, "/truncated", sign), "/truncated") },
	"large-put": func(d *storetest.Double) http.Handler {
		return answer(d, func(r *http.Request) bool {
			return r.Method == http.MethodPut && r.ContentLength >= 1<<20 && strings.HasSuffix(r.URL.Path, "/large")
		}, http.StatusBadRequest, "EntityTooLarge")
	},
	"large-put changed": func(d *storetest.Double) http.Handler { return putChanged(d, "/large") },
	"overwrite":         firstOne,
	"delete":            undead,
	"missing-key status": func(d *storetest.Double) http.Handler {
		return answer(d, func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/missing") }, http.StatusForbidden, "AccessDenied")
	},
	"missing-key bucket": func(d *storetest.Double) http.Handler {
		return answer(d, func(r *http.Request) bool { return !strings.HasPrefix(r.URL.Path, "/"+d.Bucket) }, http.StatusNotFound, "NoSuchKey")
	},
	"missing-key something": func(d *storetest.Double) http.Handler {
		return answer(d, func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/missing") }, http.StatusOK, "")
	},
	"range ignored": func(d *storetest.Double) http.Handler {
		return with(d, func(r *http.Request) { r.Header.Del("Range") })
	},
	"range beside it": func(d *storetest.Double) http.Handler {
		return with(d, func(r *http.Request) {
			if r.Header.Get("Range") == "bytes=1000-1999" {
				r.Header.Set("Range", "bytes=1001-2000")
			}
		})
	},
	"list-after-write":  func(d *storetest.Double) http.Handler { return lateListing(d, "/listed/", http.MethodPut) },
	"list-after-delete": func(d *storetest.Double) http.Handler { return lateListing(d, "/unlisted/", http.MethodDelete) },
	"list-complete short": func(d *storetest.Double) http.Handler {
		return page(d, func(a *storetest.ListingAnswer) { a.IsTruncated = false })
	},
	"list-complete a gap": func(d *storetest.Double) http.Handler {
		return page(d, func(a *storetest.ListingAnswer) { a.Contents = a.Contents[1:] })
	},
	"list-complete twice": func(d *storetest.Double) http.Handler {
		return page(d, func(a *storetest.ListingAnswer) { a.Contents = append(a.Contents, a.Contents[0]) })
	},
	"list-order": func(d *storetest.Double) http.Handler {
		return page(d, func(a *storetest.ListingAnswer) { a.Contents[3], a.Contents[4] = a.Contents[4], a.Contents[3] })
	},
	"server-copy refused": func(d *storetest.Double) http.Handler {
		return answer(d, func(r *http.Request) bool { return r.Header.Get("X-Amz-Copy-Source") != "" }, http.StatusNotImplemented, "")
	},
	"server-copy changed": func(d *storetest.Double) http.Handler { return putChanged(d, "/copy-to") },
	"etag-md5": func(d *storetest.Double) http.Handler {
		d.ETag = func(key string, _ []byte) string { return "tag-of-" + strconv.Itoa(len(key)) }
		return d
	},
	"conditional-write ignored": func(d *storetest.Double) http.Handler {
		return with(d, func(r *http.Request) { r.Header.Del("If-None-Match") })
	},
	"conditional-write races": racing,
	"object-lock absent": func(d *storetest.Double) http.Handler {
		d.Lock = false
		return d
	},
	"object-lock deletes": func(d *storetest.Double) http.Handler {
		return with(d, func(r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/locked") {
				r.Header.Del("X-Amz-Object-Lock-Retain-Until-Date")
			}
		})
	},
	"retention": func(d *storetest.Double) http.Handler {
		return with(d, func(r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/retained") {
				r.Header.Del("X-Amz-Object-Lock-Retain-Until-Date")
			}
		})
	},
	"versioning silent": func(d *storetest.Double) http.Handler {
		return instead(d, func(r *http.Request) bool { return r.URL.Query().Has("versioning") }, "<VersioningConfiguration/>")
	},
	"versioning refused": func(d *storetest.Double) http.Handler {
		return answer(d, func(r *http.Request) bool { return r.URL.Query().Has("versioning") }, http.StatusForbidden, "AccessDenied")
	},
	"list-versions refused": func(d *storetest.Double) http.Handler {
		return answer(d, pageOfVersions, http.StatusForbidden, "AccessDenied")
	},
	"list-versions unknown": func(d *storetest.Double) http.Handler {
		return answer(d, pageOfVersions, http.StatusNotImplemented, "NotImplemented")
	},
	"list-versions short": func(d *storetest.Double) http.Handler {
		return cut(d, pageOfVersions, "<IsTruncated>true</IsTruncated>")
	},
	"list-versions a gap": func(d *storetest.Double) http.Handler { return cut(d, pageOfVersions, "<Version>.*?</Version>") },
	"list-versions no markers": func(d *storetest.Double) http.Handler {
		return cut(d, pageOfVersions, "<DeleteMarker>.*?</DeleteMarker>")
	},
	"list-versions in a circle": func(d *storetest.Double) http.Handler {
		return with(d, func(r *http.Request) {
			if pageOfVersions(r) {
				r.URL.RawQuery = "versions=&prefix=" + r.URL.Query().Get("prefix")
			}
		})
	},
	"delete-version hides": func(d *storetest.Double) http.Handler {
		first := once(versionOf("/by-version"))
		return with(d, func(r *http.Request) {
			if first(r) {
				r.URL.RawQuery = ""
			}
		})
	},
	"delete-version keeps": func(d *storetest.Double) http.Handler {
		return answer(d, once(versionOf("/by-version")), http.StatusNoContent, "")
	},
	"delete-version refused": func(d *storetest.Double) http.Handler {
		return answer(d, once(versionOf("/by-version")), http.StatusForbidden, "AccessDenied")
	},
	"delete-version not allowed": func(d *storetest.Double) http.Handler {
		return answer(d, once(versionOf("/by-version")), http.StatusMethodNotAllowed, "MethodNotAllowed")
	},
	"delete-version all at once": func(d *storetest.Double) http.Handler { return deletedToo(d, "/by-version") },
	"delete-version keeps markers": func(d *storetest.Double) http.Handler {
		return answer(d, once(versionOf("/marked")), http.StatusNoContent, "")
	},
	"delete-version markers and all": func(d *storetest.Double) http.Handler { return deletedToo(d, "/marked") },
	"unfinished-uploads by whole keys": func(d *storetest.Double) http.Handler {
		return instead(d, func(r *http.Request) bool {
			return listsUploads(r) && strings.HasSuffix(r.URL.Query().Get("prefix"), "/")
		}, "<ListMultipartUploadsResult/>")
	},
	"unfinished-uploads not listed": func(d *storetest.Double) http.Handler {
		return answer(d, listsUploads, http.StatusNotImplemented, "NotImplemented")
	},
	"unfinished-uploads refused": func(d *storetest.Double) http.Handler {
		return answer(d, listsUploads, http.StatusForbidden, "AccessDenied")
	},
	"unfinished-uploads kept": func(d *storetest.Double) http.Handler {
		return answer(d, once(func(r *http.Request) bool { return abortsUpload(r) && len(d.Uploads()) > 0 }), http.StatusNoContent, "")
	},
	"unfinished-uploads not aborted": func(d *storetest.Double) http.Handler {
		return answer(d, abortsUpload, http.StatusForbidden, "AccessDenied")
	},
	"clock": func(d *storetest.Double) http.Handler {
		now := d.Clock
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			recorded := httptest.NewRecorder()
			d.ServeHTTP(recorded, r)
			pass(w, recorded, func(h http.Header) { h.Set("Date", now().Add(-2*60*1e9).UTC().Format(http.TimeFormat)) })
		})
	},
	"clock of objects": func(d *storetest.Double) http.Handler {
		now := d.Clock
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			recorded := httptest.NewRecorder()
			d.ServeHTTP(recorded, r)
			pass(w, recorded, func(h http.Header) {
				if h.Get("Last-Modified") != "" {
					h.Set("Last-Modified", now().Add(2*60*1e9).UTC().Format(http.TimeFormat))
				}
			})
		})
	},
}

func pageOfVersions(r *http.Request) bool {
	return r.URL.Query().Has("versions") && strings.HasSuffix(r.URL.Query().Get("prefix"), "/versions/")
}

func listsUploads(r *http.Request) bool {
	return r.Method == http.MethodGet && r.URL.Query().Has("uploads")
}

func abortsUpload(r *http.Request) bool {
	return r.Method == http.MethodDelete && r.URL.Query().Has("uploadId")
}

func deletesVersion(r *http.Request, name string) bool {
	return r.Method == http.MethodDelete && r.URL.Query().Has("versionId") && strings.HasSuffix(r.URL.Path, name)
}

func versionOf(name string) func(*http.Request) bool {
	return func(r *http.Request) bool { return deletesVersion(r, name) }
}

// once lets the first one through alone.
func once(to func(*http.Request) bool) func(*http.Request) bool {
	var did atomic.Bool
	return func(r *http.Request) bool { return to(r) && did.CompareAndSwap(false, true) }
}

// deletedToo loses the object when one of its versions is deleted.
func deletedToo(d *storetest.Double, name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.ServeHTTP(w, r)
		if deletesVersion(r, name) {
			d.Forget(strings.TrimPrefix(r.URL.Path, "/"+d.Bucket+"/"))
		}
	})
}

// instead answers with another body.
func instead(d http.Handler, to func(*http.Request) bool, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if to(r) {
			_, _ = io.WriteString(w, body)
			return
		}
		d.ServeHTTP(w, r)
	})
}

// cut takes the first of what looks so out of each answer.
func cut(d http.Handler, to func(*http.Request) bool, expression string) http.Handler {
	form := regexp.MustCompile(expression)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !to(r) {
			d.ServeHTTP(w, r)
			return
		}
		recorded := httptest.NewRecorder()
		d.ServeHTTP(recorded, r)
		if at := form.FindIndex(recorded.Body.Bytes()); at != nil {
			b := recorded.Body.Bytes()
			recorded.Body = bytes.NewBuffer(slices.Concat(b[:at[0]], b[at[1]:]))
		}
		pass(w, recorded, func(http.Header) {})
	})
}

func pass(w http.ResponseWriter, recorded *httptest.ResponseRecorder, change func(http.Header)) {
	for name, values := range recorded.Header() {
		w.Header()[name] = values
	}
	change(w.Header())
	w.WriteHeader(recorded.Code)
	_, _ = w.Write(recorded.Body.Bytes())
}

func sign(r *http.Request, body []byte) {
	s := sha256.Sum256(body)
	r.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(s[:]))
}

// with changes each request.
func with(d http.Handler, change func(*http.Request)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		change(r)
		d.ServeHTTP(w, r)
	})
}

// put changes each write to a name that has this in it. A body that breaks off is all that there is.
func put(d http.Handler, name string, change func(r *http.Request, body []byte)) http.Handler {
	return with(d, func(r *http.Request) {
		if r.Method != http.MethodPut || r.URL.RawQuery != "" || !strings.Contains(r.URL.Path, name) {
			return
		}
		body, _ := io.ReadAll(r.Body)
		change(r, body)
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	})
}

// readAfter answers reads of a name when a write of it has been served: who broke off does not look before what was sent is kept.
func readAfter(d http.Handler, name string) http.Handler {
	written := make(chan struct{})
	write := sync.OnceFunc(func() { close(written) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch here := strings.HasSuffix(r.URL.Path, name); {
		case here && r.Method == http.MethodPut:
			defer write()
		case here && r.Method == http.MethodGet:
			select {
			case <-written:
			case <-r.Context().Done():
			}
		}
		d.ServeHTTP(w, r)
	})
}

func answer(d http.Handler, to func(*http.Request) bool, status int, code string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !to(r) {
			d.ServeHTTP(w, r)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Last-Modified", "Fri, 02 Jan 2026 03:04:05 GMT")
		w.WriteHeader(status)
		if code != "" && r.Method != http.MethodHead {
			_, _ = io.WriteString(w, "<Error><Code>"+code+"</Code></Error>")
		}
	})
}

func putLost(d *storetest.Double, name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.ServeHTTP(w, r)
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, name) {
			d.Forget(strings.TrimPrefix(r.URL.Path, "/"+d.Bucket+"/"))
		}
	})
}

func putChanged(d *storetest.Double, name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.ServeHTTP(w, r)
		key := strings.TrimPrefix(r.URL.Path, "/"+d.Bucket+"/")
		if b := bytes.Clone(d.Objects()[key]); r.Method == http.MethodPut && strings.Contains(key, name) && len(b) > 0 {
			b[len(b)/2] ^= 1
			d.Store(key, b)
		}
	})
}

// firstOne acknowledges second writes and forgets them.
func firstOne(d *storetest.Double) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := strings.TrimPrefix(r.URL.Path, "/"+d.Bucket+"/")
		first, there := d.Objects()[key]
		d.ServeHTTP(w, r)
		if there && r.Method == http.MethodPut && strings.HasSuffix(key, "/overwrite") {
			d.Store(key, first)
		}
	})
}

// undead goes on to answer with what was deleted. It lists it no more.
func undead(d *storetest.Double) http.Handler {
	var mu sync.Mutex
	read := map[string][]byte{}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := strings.TrimPrefix(r.URL.Path, "/"+d.Bucket+"/")
		if !strings.Contains(key, "/delete-") {
			d.ServeHTTP(w, r)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if b, ok := d.Objects()[key]; ok {
			read[key] = b
		}
		if b, ok := read[key]; ok && r.Method == http.MethodGet {
			w.Header().Set("Last-Modified", "Fri, 02 Jan 2026 03:04:05 GMT")
			_, _ = w.Write(b)
			return
		}
		d.ServeHTTP(w, r)
	})
}

// lateListing answers a listing with what it was before the last change, of one kind, of what it names.
func lateListing(d *storetest.Double, name, method string) http.Handler {
	var mu sync.Mutex
	var last *httptest.ResponseRecorder // the listing before the last change
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		listing := r.URL.Query().Get("list-type") == "2" && strings.HasSuffix(r.URL.Query().Get("prefix"), name)
		change := r.Method == method && strings.Contains(r.URL.Path, name)
		if !listing && !change {
			d.ServeHTTP(w, r)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if change {
			last = httptest.NewRecorder()
			ask := httptest.NewRequest(http.MethodGet, "/"+d.Bucket+"/?list-type=2&prefix="+prefixOf(r.URL.Path, d.Bucket, name), nil)
			d.ServeHTTP(last, ask)
			d.ServeHTTP(w, r)
			return
		}
		if last == nil {
			d.ServeHTTP(w, r)
			return
		}
		pass(w, last, func(http.Header) {})
		last = nil
	})
}

func prefixOf(path, bucket, name string) string {
	before, _, _ := strings.Cut(strings.TrimPrefix(path, "/"+bucket+"/"), name)
	return before + name
}

// page changes the first page of the long listing, when it is asked for below the pages themselves.
func page(d *storetest.Double, change func(*storetest.ListingAnswer)) http.Handler {
	d.Fault = func(c storetest.Call) *storetest.Fault {
		if c.Operation == storetest.List && strings.HasSuffix(c.Key, "/pages/") && c.Page == 1 {
			return &storetest.Fault{Listing: change}
		}
		return nil
	}
	return d
}

// racing looks whether a name is free, and then writes: who look at the same time all write.
func racing(d *storetest.Double) http.Handler {
	var mu sync.Mutex
	looking := map[string]*sync.WaitGroup{}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-None-Match") != "*" || !strings.Contains(r.URL.Path, "/race-") {
			d.ServeHTTP(w, r)
			return
		}
		r.Header.Del("If-None-Match")
		mu.Lock()
		all := looking[r.URL.Path]
		if all == nil {
			all = &sync.WaitGroup{}
			all.Add(racers)
			looking[r.URL.Path] = all
		}
		mu.Unlock()
		all.Done()
		all.Wait()
		d.ServeHTTP(w, r)
	})
}
