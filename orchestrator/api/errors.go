package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"drp/orchestrator"
	"drp/orchestrator/inventory"
	"drp/raftstore/state"
)

// Errors of the layer itself.
var (
	// ErrNoLeader: nobody leads at the moment, so nothing was done.
	ErrNoLeader = errors.New("no coordinator leads at the moment")
	// ErrUnreachable: no coordinator answers, so nothing was done as far as we can tell.
	ErrUnreachable = errors.New("no coordinator answers")
)

// problemPrefix starts the type of every problem that a client can recognise.
const problemPrefix = "urn:drp:"

// kind is one row of the table between errors, HTTP statuses and problem types.
type kind struct {
	err    error
	status int
	name   string
}

// kinds is that table, for both directions. The first row that matches counts: an unknown outcome stays unknown
// whatever else is wrapped with it.
func kinds() []kind {
	return []kind{
		{orchestrator.ErrUnknownOutcome, http.StatusServiceUnavailable, "unknown-outcome"},
		{orchestrator.ErrNotLeader, http.StatusServiceUnavailable, "not-leader"},
		{ErrNoLeader, http.StatusServiceUnavailable, "no-leader"},
		{orchestrator.ErrNotSealed, http.StatusServiceUnavailable, "not-sealed"},
		{orchestrator.ErrSuperseded, http.StatusServiceUnavailable, "superseded"},
		{orchestrator.ErrNotRecorded, http.StatusServiceUnavailable, "not-recorded"},
		{ErrUnauthenticated, http.StatusUnauthorized, "unauthenticated"},
		{ErrForbidden, http.StatusForbidden, "forbidden"},
		{ErrTooMany, http.StatusTooManyRequests, "too-many"},
		{orchestrator.ErrReadOnly, http.StatusInsufficientStorage, "read-only"},
		{orchestrator.ErrRefused, http.StatusConflict, "refused"},
		{state.ErrNotFound, http.StatusNotFound, "not-found"},
		{state.ErrConflict, http.StatusConflict, "conflict"},
		{state.ErrInvalid, http.StatusUnprocessableEntity, "invalid"},
	}
}

// position is where in a file an error is; the value of a problem's error detail.
type position struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
	Fix    string `json:"fix,omitempty"`
}

// problemOf makes the problem details of an error.
func problemOf(err error) *huma.ErrorModel {
	p := &huma.ErrorModel{Status: http.StatusInternalServerError, Detail: err.Error()}
	var wrong inventory.Errors
	if errors.As(err, &wrong) {
		p.Status, p.Type = http.StatusUnprocessableEntity, problemPrefix+"invalid"
		p.Detail = fmt.Sprintf("the inventory has %d errors", len(wrong))
		if len(wrong) == 1 {
			p.Detail = "the inventory has an error"
		}
		for _, e := range wrong {
			p.Errors = append(p.Errors, inventoryDetail(e))
		}
		p.Title = http.StatusText(p.Status)
		return p
	}
	for _, k := range kinds() {
		if errors.Is(err, k.err) {
			p.Status, p.Type = k.status, problemPrefix+k.name
			break
		}
	}
	if p.Type == "" && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) {
		// Its time is over, or this coordinator ends; a command may be on its way still.
		p.Status, p.Type = http.StatusServiceUnavailable, problemPrefix+"unknown-outcome"
	}
	p.Title = http.StatusText(p.Status)
	return p
}

func writeProblem(w http.ResponseWriter, err error) {
	p := problemOf(err)
	w.Header().Set("Content-Type", "application/problem+json")
	if p.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "2")
	}
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	w.WriteHeader(p.Status)
	// An error here means that the client has gone; there is nobody left to tell.
	_ = json.NewEncoder(w).Encode(p)
}

// Error is a coordinator's refusal as the client sees it. errors.Is finds the sentinel that the coordinator had.
type Error struct {
	Status  int
	Type    string // urn:drp:…, empty when the coordinator did not say
	Detail  string
	Details []Detail
	Server  string // URL of who said so
}

// Detail is one of several errors in one request. File is empty when it is not about a file.
type Detail struct {
	File         string
	Line, Column int
	Message      string
	Fix          string // what to do about it; may be empty
}

// String gives file:line:column: message; fix.
func (d Detail) String() string {
	s := d.Message
	if d.File != "" {
		s = fmt.Sprintf("%s:%d:%d: %s", d.File, d.Line, d.Column, s)
	}
	if d.Fix != "" {
		s += "; " + d.Fix
	}
	return s
}

func (e *Error) Error() string {
	if e.Detail == "" {
		return fmt.Sprintf("coordinator %s answered %d %s", e.Server, e.Status, http.StatusText(e.Status))
	}
	if len(e.Details) == 1 {
		return e.Detail + ": " + e.Details[0].String()
	}
	return e.Detail
}

// Unwrap gives the sentinel.
func (e *Error) Unwrap() error {
	for _, k := range kinds() {
		if e.Type == problemPrefix+k.name {
			return k.err
		}
	}
	// Refusals of the layer below (a body that does not fit the schema) have no type of ours.
	switch e.Status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge:
		return state.ErrInvalid
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		return state.ErrNotFound
	}
	return nil
}

// readProblem is problemOf backwards.
func readProblem(server string, status int, body []byte) *Error {
	e := &Error{Status: status, Server: server}
	var p struct {
		Type   string `json:"type"`
		Detail string `json:"detail"`
		Errors []struct {
			Message  string          `json:"message"`
			Location string          `json:"location"`
			Value    json.RawMessage `json:"value"`
		} `json:"errors"`
	}
	if err := json.Unmarshal(body, &p); err != nil {
		return e // not ours: the status has to do
	}
	e.Type, e.Detail = p.Type, p.Detail
	for _, d := range p.Errors {
		var at position
		if json.Unmarshal(d.Value, &at) != nil || at.File == "" {
			at = position{}
			if d.Location != "" {
				d.Message = d.Location + ": " + d.Message
			}
		}
		e.Details = append(e.Details, Detail{File: at.File, Line: at.Line, Column: at.Column, Message: d.Message, Fix: at.Fix})
	}
	return e
}
