package api

import (
	"context"
	"errors"
	"fmt"

	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

// syncAgent answers an agent. It speaks for its own server alone.
func (s *Server) syncAgent(ctx context.Context, in *entity[wire.AgentReport]) (*entity[wire.AgentDesired], error) {
	if c := callerOf(ctx); string(in.Body.Server) != c.Name {
		return nil, fmt.Errorf("%w: %s reports for server %q", ErrForbidden, c, in.Body.Server)
	}
	in.Body.Wait = waitFor(in.Body.Wait)
	d, err := s.cfg.API.AgentSync(ctx, in.Body)
	if err != nil {
		return nil, err
	}
	return &entity[wire.AgentDesired]{d}, nil
}

func (s *Server) syncGateway(ctx context.Context, in *entity[wire.GatewayReport]) (*entity[wire.GatewayView], error) {
	if err := ownSite(ctx, in.Body.Site); err != nil {
		return nil, fmt.Errorf("sync gateway: %w", err)
	}
	in.Body.Wait = waitFor(in.Body.Wait)
	v, err := s.cfg.API.GatewaySync(ctx, in.Body)
	if err != nil {
		return nil, err
	}
	return &entity[wire.GatewayView]{v}, nil
}

func (s *Server) syncWorker(ctx context.Context, in *entity[wire.WorkerReport]) (*entity[wire.WorkerDesired], error) {
	if err := ownSite(ctx, in.Body.Site); err != nil {
		return nil, fmt.Errorf("sync worker: %w", err)
	}
	in.Body.Wait = waitFor(in.Body.Wait)
	d, err := s.cfg.API.WorkerSync(ctx, in.Body)
	if err != nil {
		return nil, err
	}
	return &entity[wire.WorkerDesired]{d}, nil
}

// ownSite holds a gateway or worker to the site that its certificate is for: its name is the site's.
func ownSite(ctx context.Context, site state.SiteName) error {
	switch caller := callerOf(ctx); {
	case site == "":
		return fmt.Errorf("no site: %w", state.ErrInvalid)
	case caller.Name != string(site):
		return fmt.Errorf("the certificate is for site %s, and not for %s: %w", caller.Name, site, ErrForbidden)
	}
	return nil
}

func (s *Server) probe(ctx context.Context, in *entity[wire.Probe]) (*entity[wire.ProbeResult], error) {
	if !in.Body.Address.IsValid() {
		return nil, errors.Join(errors.New("probe: no address"), state.ErrInvalid)
	}
	return &entity[wire.ProbeResult]{s.cfg.API.Probe(ctx, in.Body)}, nil
}

func (s *Server) contacts(_ context.Context, in *entity[wire.Contacts]) (*entity[wire.Introduction], error) {
	return &entity[wire.Introduction]{s.cfg.API.SetContacts(in.Body)}, nil
}

func (s *Server) createToken(ctx context.Context, in *entity[TokenRequest]) (*entity[TokenResponse], error) {
	if err := s.checkTokenMade(ctx, in.Body.Validity); err != nil {
		return nil, err
	}
	token, err := s.cfg.API.CreateToken(ctx, callerOf(ctx).String(), in.Body.Name, in.Body.Role, in.Body.Validity)
	if err != nil {
		return nil, err
	}
	return &entity[TokenResponse]{TokenResponse{Token: token}}, nil
}

func (s *Server) revokeToken(ctx context.Context, in *named) (*none, error) {
	return nil, s.cfg.API.RevokeToken(ctx, callerOf(ctx).String(), in.Name)
}
