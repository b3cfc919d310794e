package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"drp/orchestrator"
	"drp/raftstore/identity"
)

// route is one row of the table of what can be asked, and by whom.
type route struct {
	method, path string
	id, summary  string
	roles        []identity.Role // who may; nil: anybody, even without showing anything
	leader       bool            // only the leader answers
	repeatable   bool            // may reach a leader twice: it only reads, or names what it wants with an id or as a whole
	stale        bool            // has an answer of this coordinator's own, where that is asked for
	own          bool            // while nobody leads this coordinator answers from what it knows itself
	poll         bool            // may wait for a change
	limited      bool            // anybody may ask, so only now and then, and little at a time
	reads        string          // what it shows of customers' data, for the audit trail; empty: nothing, or it is a command itself
	trusted      bool            // from our own processes: not held to the schema, so that versions may differ during an upgrade
	add          func(huma.API, huma.Operation, *Server)
}

func (rt route) pattern() string { return rt.method + " " + rt.path }

func (rt route) admit(who asker) error {
	if !who.known {
		return fmt.Errorf("%w: show a certificate or a token", ErrUnauthenticated)
	}
	if !slices.Contains(rt.roles, who.caller.Role) {
		return fmt.Errorf("%w: %s may not %s (that takes one of the roles %v)", ErrForbidden, who.caller, rt.summary, rt.roles)
	}
	return nil
}

func (rt route) operation() huma.Operation {
	op := huma.Operation{
		OperationID: rt.id, Method: rt.method, Path: rt.path, Summary: rt.summary,
		MaxBodyBytes: maxBody, BodyReadTimeout: -1, // the guard has read the body already
		SkipValidateBody: rt.trusted,
		Errors:           []int{http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusInternalServerError},
		Extensions:       map[string]any{"x-drp-roles": rt.roles, "x-drp-leader": rt.leader, "x-drp-stale": rt.stale},
	}
	if rt.stale {
		op.Parameters = append(op.Parameters, &huma.Param{Name: staleQuery, In: "query", Schema: &huma.Schema{Type: huma.TypeBoolean},
			Description: "answer from the coordinator that is asked, which may be behind; the headers " + headerStaleAge + " and " + headerStaleFrom + " say of when it is"})
	}
	if len(rt.roles) > 0 {
		op.Errors = append(op.Errors, http.StatusUnauthorized, http.StatusForbidden)
	}
	if rt.leader {
		op.Errors = append(op.Errors, http.StatusNotFound, http.StatusConflict, http.StatusServiceUnavailable)
	}
	return op
}

// routes is the table.
func (s *Server) routes() []route {
	var (
		people    = []identity.Role{identity.Operator, identity.Support}
		operators = []identity.Role{identity.Operator}
	)
	get := func(path, id, summary string, add func(huma.API, huma.Operation, *Server)) route {
		return route{method: http.MethodGet, path: path, id: id, summary: summary, roles: people, leader: true, repeatable: true, add: add}
	}
	daemon := func(path, id, summary string, role identity.Role, add func(huma.API, huma.Operation, *Server)) route {
		return route{method: http.MethodPost, path: path, id: id, summary: summary, roles: []identity.Role{role},
			leader: true, repeatable: true, poll: true, trusted: true, add: add}
	}
	shows := func(what string, rt route) route {
		rt.reads = what
		return rt
	}
	// What shows customers' data has no stale answer: without a leader it could not be recorded.
	stale := func(rt route) route {
		rt.stale = true
		return rt
	}
	members := get("/v1/raft/members", "list-members", "list the coordinators", handle((*Server).members))
	members.roles, members.own = operators, true
	removal := get("/v1/raft/members/{name}/removal", "plan-removal", "see what the removal of a coordinator would mean", handle((*Server).planRemoval))
	removal.roles = operators
	verify := get("/v1/raft/verify", "verify-members", "compare the state of all coordinators", handle((*Server).verifyMembers))
	verify.roles = operators
	watch := get("/v1/runs/{id}", "get-run", "read a run, or wait until it changes", handle((*Server).getRun))
	watch.poll = true
	return append(slices.Concat(certificateRoutes(people, operators), protectionRoutes(people, operators), keyRoutes(people, operators), erasureRoutes(operators)), []route{
		{method: http.MethodGet, path: "/v1/health", id: "get-health", summary: "ask whether this coordinator answers", add: handle((*Server).health)},

		stale(get("/v1/status", "get-status", "read the status", handle((*Server).status))),
		stale(get("/v1/sites", "list-sites", "list sites", handle((*Server).listSites))),
		stale(get("/v1/servers", "list-servers", "list servers", handle((*Server).listServers))),
		stale(get("/v1/policies", "list-policies", "list policies", handle((*Server).listPolicies))),
		shows("list accounts", get("/v1/accounts", "list-accounts", "list accounts", handle((*Server).listAccounts))),
		shows("read account", get("/v1/accounts/{name}", "get-account", "read an account", handle((*Server).getAccount))),
		shows("read snapshots", get("/v1/accounts/{name}/snapshots", "list-snapshots", "list an account's snapshots", handle((*Server).listSnapshots))),
		shows("read audit trail", route{method: http.MethodGet, path: "/v1/audit", id: "read-audit", summary: "read the audit trail", roles: operators,
			leader: true, repeatable: true, add: handle((*Server).readAudit)}),
		{method: http.MethodPost, path: "/v1/inventory", id: "apply-inventory", summary: "change the inventory", roles: operators,
			leader: true, repeatable: true, add: handle((*Server).applyInventory)},
		{method: http.MethodPost, path: "/v1/plans/failover", id: "plan-failover", summary: "see what a failover would do", roles: operators,
			leader: true, repeatable: true, add: handle((*Server).planFailover)},
		{method: http.MethodPost, path: "/v1/backups", id: "back-up", summary: "back accounts up now", roles: people,
			leader: true, repeatable: true, add: handle((*Server).backUp)},

		{method: http.MethodGet, path: "/v1/runbooks", id: "list-runbooks", summary: "list runbooks", roles: people, add: handle((*Server).listRunbooks)},
		{method: http.MethodGet, path: "/v1/runbooks/{name}", id: "get-runbook", summary: "read a runbook", roles: people, add: handle((*Server).getRunbook)},
		shows("list runs", get("/v1/runs", "list-runs", "list runs", handle((*Server).listRuns))),
		shows("read run", watch),
		shows("read run's accounts", get("/v1/runs/{id}/accounts", "list-run-accounts", "list what a run planned for each account", handle((*Server).listRunAccounts))),
		{method: http.MethodPost, path: "/v1/runs", id: "start-run", summary: "start a run", roles: people,
			leader: true, repeatable: true, add: handle((*Server).startRun)},
		{method: http.MethodPost, path: "/v1/runs/{id}/confirm", id: "confirm-run", summary: "confirm a run", roles: people,
			leader: true, repeatable: true, add: handle((*Server).confirmRun)},
		{method: http.MethodPost, path: "/v1/runs/{id}/cancel", id: "cancel-run", summary: "cancel a run", roles: people,
			leader: true, repeatable: true, add: handle((*Server).cancelRun)},

		{method: http.MethodPost, path: "/v1/tokens", id: "create-token", summary: "create a token", roles: operators,
			leader: true, add: handle((*Server).createToken)},
		{method: http.MethodDelete, path: "/v1/tokens/{name}", id: "revoke-token", summary: "revoke a token", roles: operators,
			leader: true, repeatable: true, add: handle((*Server).revokeToken)},

		get("/v1/recovery", "get-recovery", "see how far a recovered cluster knows the truth", handle((*Server).recovery)),
		{method: http.MethodPost, path: "/v1/recovery/resume", id: "resume", summary: "let a recovered cluster act", roles: operators,
			leader: true, repeatable: true, add: handle((*Server).resume)},
		{method: http.MethodPost, path: "/v1/exports", id: "export-now", summary: "put an export of the state into every site's store", roles: operators,
			leader: true, repeatable: true, add: handle((*Server).exportNow)},
		{method: http.MethodPost, path: "/v1/exports/file", id: "export-state", summary: "read a sealed export of the state", roles: operators,
			leader: true, repeatable: true, add: handle((*Server).exportState)},

		members,
		removal,
		verify,
		{method: http.MethodPost, path: "/v1/raft/members", id: "join-member", summary: "add a coordinator", roles: operators,
			leader: true, repeatable: true, add: handle((*Server).join)},
		{method: http.MethodDelete, path: "/v1/raft/members/{name}", id: "remove-member", summary: "remove a coordinator", roles: operators,
			leader: true, repeatable: true, add: handle((*Server).removeMember)},
		{method: http.MethodPost, path: "/v1/raft/transfer", id: "transfer", summary: "make another coordinator the leader", roles: operators,
			leader: true, add: handle((*Server).transfer)},
		{method: http.MethodPost, path: "/v1/raft/snapshot", id: "snapshot-log", summary: "cut the log", roles: operators,
			leader: true, repeatable: true, add: handle((*Server).snapshotLog)},
		daemon("/v1/agent/sync", "sync-agent", "sync an agent", identity.Agent, handle((*Server).syncAgent)),
		daemon("/v1/gateway/sync", "sync-gateway", "sync a gateway", identity.Gateway, handle((*Server).syncGateway)),
		daemon("/v1/worker/sync", "sync-worker", "sync a worker", identity.Worker, handle((*Server).syncWorker)),
		{method: http.MethodPost, path: "/v1/internal/probe", id: "probe", summary: "fetch a check from this site",
			roles: []identity.Role{identity.Coordinator}, trusted: true, add: handle((*Server).probe)},
		{method: http.MethodGet, path: "/v1/internal/members/{name}", id: "acquainted", summary: "ask what is known of a coordinator",
			roles: []identity.Role{identity.Coordinator}, trusted: true, add: handle((*Server).acquainted)},
		{method: http.MethodPost, path: "/v1/internal/contacts", id: "tell-contacts", summary: "tell when servers were last heard",
			roles: []identity.Role{identity.Coordinator}, trusted: true, add: handle((*Server).contacts)},
	}...)
}

// none is the input, or the output, of a route that has none.
type none struct{}

// entity is an input or an output that is only a body.
type entity[T any] struct{ Body T }

// handle registers a method of Server as a route's handler, with the table of errors behind it.
func handle[I, O any](f func(*Server, context.Context, *I) (*O, error)) func(huma.API, huma.Operation, *Server) {
	return func(api huma.API, op huma.Operation, s *Server) {
		huma.Register(api, op, func(ctx context.Context, in *I) (*O, error) {
			out, err := f(s, ctx, in)
			if err == nil {
				return out, nil
			}
			noteError(ctx, err)
			if errors.Is(err, ErrForbidden) && person(callerOf(ctx)) && !s.recordRefusal(ctx, op.Method+" "+op.Path, err) {
				err = orchestrator.ErrNotLeader
			}
			p := problemOf(err)
			if p.Status == http.StatusInternalServerError {
				s.log.Error("answered with an internal error", "route", op.OperationID, "caller", callerOf(ctx).String(), "cause", err)
			}
			if p.Status == http.StatusServiceUnavailable {
				return nil, huma.ErrorWithHeaders(p, http.Header{"Retry-After": {"2"}})
			}
			return nil, p
		})
	}
}
