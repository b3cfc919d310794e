package api

import (
	"context"
	"net/http"

	"drp/orchestrator"
	"drp/raftstore/identity"
	"drp/raftstore/state"
)

func keyRoutes(people, operators []identity.Role) []route {
	return []route{
		{method: http.MethodGet, path: "/v1/breakglass", id: "get-breakglass", summary: "see how many repositories the offline keys open", roles: people,
			leader: true, repeatable: true, add: handle((*Server).breakGlass)},
		{method: http.MethodPost, path: "/v1/breakglass/tests", id: "record-breakglass-test", summary: "record a test of break-glass passwords", roles: operators,
			leader: true, add: handle((*Server).recordBreakGlass)},
		{method: http.MethodPost, path: "/v1/keys/rotations", id: "rotate-keys", summary: "change passwords of repositories", roles: operators,
			leader: true, add: handle((*Server).rotateKeys)},
	}
}

func (s *Server) breakGlass(ctx context.Context, _ *none) (*entity[*orchestrator.BreakGlassReport], error) {
	return answered(s.cfg.API.BreakGlass(ctx))
}

func (s *Server) recordBreakGlass(ctx context.Context, in *entity[state.BreakGlassRecordData]) (*none, error) {
	return nil, s.cfg.API.RecordBreakGlass(ctx, callerOf(ctx).String(), in.Body)
}

func (s *Server) rotateKeys(ctx context.Context, in *entity[orchestrator.RotationRequest]) (*entity[*orchestrator.RotationAnswer], error) {
	return answered(s.cfg.API.RotateKeys(ctx, callerOf(ctx).String(), in.Body))
}

// BreakGlass says how many repositories the holders of the offline keys can open.
func (c *Client) BreakGlass(ctx context.Context) (*orchestrator.BreakGlassReport, error) {
	var r orchestrator.BreakGlassReport
	return &r, c.do(ctx, get("/v1/breakglass", &r))
}

// RecordBreakGlass writes down that a person has tried break-glass passwords.
func (c *Client) RecordBreakGlass(ctx context.Context, d state.BreakGlassRecordData) error {
	return c.do(ctx, post("/v1/breakglass/tests", d, nil))
}

// RotateKeys begins to change passwords.
func (c *Client) RotateKeys(ctx context.Context, r orchestrator.RotationRequest) (*orchestrator.RotationAnswer, error) {
	var a orchestrator.RotationAnswer
	return &a, c.do(ctx, post("/v1/keys/rotations", r, &a))
}
