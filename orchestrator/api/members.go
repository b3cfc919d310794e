package api

import (
	"context"
	"net/http"
	"net/url"

	"drp/orchestrator"
	"drp/raftstore/state"
)

// JoinResponse says what to mind about a coordinator that was added.
type JoinResponse struct {
	Warnings []string `json:"warnings,omitempty"`
}

// TransferRequest makes another coordinator the leader: POST /v1/raft/transfer.
type TransferRequest struct {
	To string `json:"to,omitempty" doc:"empty: whichever voter is best"`
}

// TransferResponse says who leads now.
type TransferResponse struct {
	Leader string `json:"leader"`
}

func (s *Server) members(context.Context, *none) (*entity[*orchestrator.MembersReport], error) {
	return answered(s.cfg.API.Members())
}

func (s *Server) join(ctx context.Context, in *entity[orchestrator.JoinRequest]) (*entity[JoinResponse], error) {
	warnings, err := s.cfg.API.Join(ctx, callerOf(ctx).String(), in.Body)
	return answered(JoinResponse{Warnings: warnings}, err)
}

func (s *Server) planRemoval(ctx context.Context, in *named) (*entity[*orchestrator.RemovalPlan], error) {
	return answered(s.cfg.API.PlanRemoval(ctx, in.Name))
}

type removalInput struct {
	Name string `path:"name"`
	Plan string `query:"plan" required:"true" doc:"hash of the plan of this removal that the person saw"`
}

func (s *Server) removeMember(ctx context.Context, in *removalInput) (*none, error) {
	return nil, s.cfg.API.RemoveMember(ctx, callerOf(ctx).String(), in.Name, in.Plan)
}

func (s *Server) transfer(ctx context.Context, in *entity[TransferRequest]) (*entity[TransferResponse], error) {
	leader, err := s.cfg.API.Transfer(ctx, callerOf(ctx).String(), in.Body.To)
	return answered(TransferResponse{Leader: leader}, err)
}

func (s *Server) snapshotLog(ctx context.Context, _ *none) (*none, error) {
	return nil, s.cfg.API.SnapshotLog(ctx, callerOf(ctx).String())
}

func (s *Server) verifyMembers(ctx context.Context, _ *none) (*entity[*orchestrator.Verification], error) {
	return answered(s.cfg.API.VerifyMembers(ctx, callerOf(ctx).String()))
}

func (s *Server) acquainted(_ context.Context, in *named) (*entity[orchestrator.Acquaintance], error) {
	return answered(s.cfg.API.Acquainted(in.Name), nil)
}

func answered[T any](body T, err error) (*entity[T], error) {
	if err != nil {
		return nil, err
	}
	return &entity[T]{body}, nil
}

// Members says who the coordinators are. While nobody leads the coordinator that is asked says what it knows.
func (c *Client) Members(ctx context.Context) (*orchestrator.MembersReport, error) {
	var r orchestrator.MembersReport
	return &r, c.do(ctx, get("/v1/raft/members", &r))
}

// Join adds a coordinator as a non-voter, and says what to mind.
func (c *Client) Join(ctx context.Context, r orchestrator.JoinRequest) ([]string, error) {
	var out JoinResponse
	err := c.do(ctx, post("/v1/raft/members", r, &out))
	return out.Warnings, err
}

// PlanRemoval says what the removal of a coordinator would mean.
func (c *Client) PlanRemoval(ctx context.Context, name string) (*orchestrator.RemovalPlan, error) {
	var p orchestrator.RemovalPlan
	return &p, c.do(ctx, get("/v1/raft/members/"+url.PathEscape(name)+"/removal", &p))
}

// RemoveMember removes a coordinator, if that still means what the plan with this hash said.
func (c *Client) RemoveMember(ctx context.Context, name, planHash string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: "/v1/raft/members/" + url.PathEscape(name), query: url.Values{"plan": {planHash}}})
}

// Transfer makes another coordinator the leader, and says which. Without a name it is not repeated when the connection
// breaks: it might move on once more.
func (c *Client) Transfer(ctx context.Context, to string) (string, error) {
	var out TransferResponse
	k := post("/v1/raft/transfer", TransferRequest{To: to}, &out)
	k.once = to == ""
	err := c.do(ctx, k)
	return out.Leader, err
}

// SnapshotLog cuts the leader's log.
func (c *Client) SnapshotLog(ctx context.Context) error {
	return c.do(ctx, post("/v1/raft/snapshot", nil, nil))
}

// VerifyMembers compares the state of all coordinators.
func (c *Client) VerifyMembers(ctx context.Context) (*orchestrator.Verification, error) {
	var v orchestrator.Verification
	return &v, c.do(ctx, get("/v1/raft/verify", &v))
}

// Acquainted asks a coordinator, with a coordinator's certificate, what it knows of a name.
func (c *Client) Acquainted(ctx context.Context, name string) (orchestrator.Acquaintance, error) {
	var a orchestrator.Acquaintance
	err := c.do(ctx, get("/v1/internal/members/"+url.PathEscape(name), &a))
	return a, err
}

// view is the state that a request is answered from: linearizable, or as this coordinator knows it where that was asked
// for.
func (s *Server) view(ctx context.Context) (*state.View, error) {
	if stale, ok := staleOf(ctx); ok {
		return stale.View, nil
	}
	return s.cfg.API.View(ctx)
}
