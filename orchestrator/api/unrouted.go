package api

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

// withProblems answers what no route takes with problem details, as all else is refused. The mux itself says it in plain text.
func withProblems(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		said := &verdict{header: make(http.Header)}
		h.ServeHTTP(said, r)
		p := &huma.ErrorModel{Status: said.status, Title: http.StatusText(said.status)}
		switch said.status {
		case http.StatusNotFound:
			p.Detail = fmt.Sprintf("there is nothing at %s; /v1/openapi.json lists what there is", r.URL.Path)
		case http.StatusMethodNotAllowed:
			allow := said.header.Get("Allow")
			w.Header().Set("Allow", allow)
			p.Detail = fmt.Sprintf("%s does not take %s, only %s", r.URL.Path, r.Method, allow)
		default:
			mux.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(p.Status)
		// An error here means that the client has gone; there is nobody left to tell.
		_ = json.NewEncoder(w).Encode(p)
	})
}

// verdict keeps what the mux would have answered, without the text.
type verdict struct {
	header http.Header
	status int
}

func (v *verdict) Header() http.Header         { return v.header }
func (v *verdict) WriteHeader(status int)      { v.status = status }
func (v *verdict) Write(b []byte) (int, error) { return len(b), nil }
