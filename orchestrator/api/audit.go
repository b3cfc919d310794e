package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"drp/orchestrator"
	"drp/raftstore/identity"
	"drp/raftstore/state"
)

// recorded puts the audit trail before a route that shows a customer's data: who reads what is committed first, and when
// that fails nothing is read.
func (s *Server) recorded(rt route, next http.HandlerFunc) http.HandlerFunc {
	if rt.reads == "" {
		return next
	}
	return func(w http.ResponseWriter, r *http.Request) {
		n := state.AuditNoteData{Action: rt.reads, Detail: "route " + rt.id}
		switch {
		case strings.HasPrefix(rt.path, "/v1/accounts/{name}"):
			n.Account = state.AccountName(r.PathValue("name"))
		case r.PathValue("id") != "":
			n.Subject = "run " + r.PathValue("id")
		}
		if rt.id == "get-account" && callerOf(r.Context()).Role == identity.Operator {
			n.Action += " and its sealed password"
		}
		if err := s.cfg.API.Record(r.Context(), callerOf(r.Context()).String(), n); err != nil {
			noteError(r.Context(), err)
			writeProblem(w, err)
			return
		}
		next(w, r)
	}
}

// person reports whether a caller is somebody whose refused attempts are worth a record.
func person(c Caller) bool { return c.Role == identity.Operator || c.Role == identity.Support }

// refuse answers a person who may not do what they tried, and has the leader record that they did.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, rt route, who asker, cause error) {
	rt.repeatable = true // to refuse twice is harmless
	r = r.WithContext(withCaller(r.Context(), who.caller))
	s.toLeader(w, r, rt, who, nil, func(w http.ResponseWriter, r *http.Request) {
		if s.recordRefusal(r.Context(), r.Method+" "+r.URL.Path, cause) {
			writeProblem(w, cause)
		}
	})
}

// recordRefusal reports false when another coordinator has to answer. A refusal stands also when it cannot be recorded:
// nothing is served by it.
func (s *Server) recordRefusal(ctx context.Context, what string, cause error) bool {
	caller := callerOf(ctx)
	err := s.cfg.API.Record(ctx, caller.String(), state.AuditNoteData{Action: "refused", Subject: what, Detail: cause.Error()})
	if errors.Is(err, orchestrator.ErrNotLeader) {
		noteError(ctx, err)
		return false
	}
	if err != nil {
		s.log.Warn("a refused attempt could not be recorded", "caller", caller.String(), "attempt", what, "cause", err)
	}
	return true
}

// AuditPage is a part of the audit trail: GET /v1/audit.
type AuditPage struct {
	Cluster     string              `json:"cluster"`
	Incarnation uint64              `json:"incarnation"`
	Head        state.AuditHead     `json:"head" doc:"where the trail stands; entries before first are in the sites' stores alone"`
	Entries     []*state.AuditEntry `json:"entries" nullable:"false"`
	Next        uint64              `json:"next" doc:"ask from here on for more; beyond the head: this was all"`
}

// auditLook is how many entries are looked at for one page.
const auditLook = 2_000

type auditInput struct {
	From    uint64    `query:"from" doc:"number of the first entry wanted; 0: the oldest that there is"`
	Since   time.Time `query:"since" doc:"leave out older entries"`
	Account string    `query:"account" doc:"only what was about this account"`
	By      string    `query:"by" doc:"only of this person or program: role/name, or the name alone"`
}

func (s *Server) readAudit(ctx context.Context, in *auditInput) (*entity[AuditPage], error) {
	v, err := s.cfg.API.View(ctx)
	if err != nil {
		return nil, err
	}
	head := v.AuditHead()
	page := AuditPage{Head: head, Entries: []*state.AuditEntry{}, Next: max(in.From, head.First, 1)}
	if c := v.Cluster(); c != nil {
		page.Cluster, page.Incarnation = c.UUID, c.Incarnation
	}
	for _, e := range v.Audit(page.Next, auditLook) {
		page.Next = e.Seq + 1
		if AuditMatches(e, in.Since, in.Account, in.By) {
			page.Entries = append(page.Entries, e)
		}
	}
	return &entity[AuditPage]{page}, nil
}

// AuditMatches reports whether an entry is one that was asked for. Zero values ask for all.
func AuditMatches(e *state.AuditEntry, since time.Time, account, by string) bool {
	_, name, _ := strings.Cut(e.By, "/")
	switch {
	case e.At.Before(since):
		return false
	case by != "" && e.By != by && name != by:
		return false
	case account == "" || e.Subject == "account "+account:
		return true
	}
	// Some speak of the account in the detail, since their subject is a run.
	return strings.Contains(" "+e.Detail+" ", " account "+account+" ")
}

// Audit reads a page of the audit trail. The zero since, account and by ask for all.
func (c *Client) Audit(ctx context.Context, from uint64, since time.Time, account, by string) (*AuditPage, error) {
	k := get("/v1/audit", nil)
	k.query = map[string][]string{"from": {fmt.Sprint(from)}}
	if !since.IsZero() {
		k.query.Set("since", since.UTC().Format(time.RFC3339Nano))
	}
	if account != "" {
		k.query.Set("account", account)
	}
	if by != "" {
		k.query.Set("by", by)
	}
	var page AuditPage
	k.out = &page
	return &page, c.do(ctx, k)
}
