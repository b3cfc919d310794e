package api

import (
	"context"

	"drp/orchestrator"
)

func (s *Server) recovery(ctx context.Context, _ *none) (*entity[*orchestrator.RecoveryReport], error) {
	r, err := s.cfg.API.Recovery(ctx)
	if err != nil {
		return nil, err
	}
	return &entity[*orchestrator.RecoveryReport]{r}, nil
}

func (s *Server) resume(ctx context.Context, in *entity[orchestrator.ResumeRequest]) (*none, error) {
	return nil, s.cfg.API.Resume(ctx, callerOf(ctx).String(), in.Body)
}

func (s *Server) exportNow(ctx context.Context, _ *none) (*entity[[]orchestrator.SiteExport], error) {
	sites, err := s.cfg.API.ExportNow(ctx, callerOf(ctx).String())
	if err != nil {
		return nil, err
	}
	return &entity[[]orchestrator.SiteExport]{sites}, nil
}

func (s *Server) exportState(ctx context.Context, _ *none) (*entity[*orchestrator.ExportedState], error) {
	e, err := s.cfg.API.ExportState(ctx, callerOf(ctx).String())
	if err != nil {
		return nil, err
	}
	return &entity[*orchestrator.ExportedState]{e}, nil
}

// Recovery says how far a recovered cluster knows the truth.
func (c *Client) Recovery(ctx context.Context) (*orchestrator.RecoveryReport, error) {
	var r orchestrator.RecoveryReport
	return &r, c.do(ctx, get("/v1/recovery", &r))
}

// Resume lets a recovered cluster act. Asked again after it was done, it is refused.
func (c *Client) Resume(ctx context.Context, r orchestrator.ResumeRequest) error {
	return c.do(ctx, post("/v1/recovery/resume", r, nil))
}

// ExportNow puts an export of the state into every site's store.
func (c *Client) ExportNow(ctx context.Context) ([]orchestrator.SiteExport, error) {
	var sites []orchestrator.SiteExport
	err := c.do(ctx, post("/v1/exports", nil, &sites))
	return sites, err
}

// ExportState reads a sealed export of the state.
func (c *Client) ExportState(ctx context.Context) (*orchestrator.ExportedState, error) {
	var e orchestrator.ExportedState
	return &e, c.do(ctx, post("/v1/exports/file", nil, &e))
}
