package api

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"drp/orchestrator"
	"drp/raftstore/identity"
	"drp/raftstore/state"
)

// PauseRequest pauses backups: POST /v1/pauses.
type PauseRequest struct {
	Kind   state.PauseKind `json:"kind" enum:"account,server,site"`
	Name   string          `json:"name" minLength:"1" maxLength:"63"`
	Reason string          `json:"reason,omitempty" maxLength:"2000" doc:"for those who wonder why"`
}

func protectionRoutes(people, operators []identity.Role) []route {
	return []route{
		{method: http.MethodGet, path: "/v1/protection", id: "get-protection", summary: "see who is not protected", roles: people,
			leader: true, repeatable: true, add: handle((*Server).protection)},
		{method: http.MethodGet, path: "/v1/accounts/{name}/protection", id: "get-account-protection", summary: "see how well an account is protected",
			roles: people, leader: true, repeatable: true, reads: "read protection", add: handle((*Server).accountProtection)},
		{method: http.MethodPost, path: "/v1/accounts/{name}/verify", id: "verify-account", summary: "have every copy of an account looked at now",
			roles: people, leader: true, repeatable: true, add: handle((*Server).verifyNow)},
		{method: http.MethodGet, path: "/v1/pauses", id: "list-pauses", summary: "list what is paused", roles: people,
			leader: true, repeatable: true, add: handle((*Server).listPauses)},
		{method: http.MethodPost, path: "/v1/pauses", id: "pause-backups", summary: "pause backups", roles: operators,
			leader: true, repeatable: true, add: handle((*Server).pauseBackups)},
		{method: http.MethodDelete, path: "/v1/pauses/{kind}/{name}", id: "resume-backups", summary: "resume backups", roles: operators,
			leader: true, repeatable: true, add: handle((*Server).resumeBackups)},
		{method: http.MethodPost, path: "/v1/compromised", id: "renew-repositories", summary: "say that a server was broken into", roles: operators,
			leader: true, repeatable: true, add: handle((*Server).compromised)},
	}
}

// compromised shows which accounts a server ever ran, also when it only says what would be done.
func (s *Server) compromised(ctx context.Context, in *entity[orchestrator.CompromisedRequest]) (*entity[*orchestrator.CompromisedReport], error) {
	by := callerOf(ctx).String()
	note := state.AuditNoteData{Action: "server compromised", Subject: "server " + string(in.Body.Server), Detail: in.Body.Reason}
	if in.Body.DryRun {
		note.Action = "read what a compromised server could open"
	}
	if err := s.cfg.API.Record(ctx, by, note); err != nil {
		return nil, err
	}
	return answered(s.cfg.API.Compromised(ctx, by, in.Body))
}

type protectionInput struct {
	Site string `query:"site" doc:"only accounts that run there"`
	Tier string `query:"tier" enum:"gold,silver,bronze" doc:"only accounts of this tier"`
}

func (s *Server) protection(ctx context.Context, in *protectionInput) (*entity[*orchestrator.ProtectionReport], error) {
	return answered(s.cfg.API.Protection(ctx, orchestrator.ProtectionFilter{Site: state.SiteName(in.Site), Tier: state.Tier(in.Tier)}))
}

func (s *Server) accountProtection(ctx context.Context, in *named) (*entity[*orchestrator.AccountVerification], error) {
	return answered(s.cfg.API.AccountProtection(ctx, state.AccountName(in.Name)))
}

// VerifyAnswer says when looks were asked for: see AccountVerification.
type VerifyAnswer struct {
	Asked time.Time `json:"asked"`
}

func (s *Server) verifyNow(ctx context.Context, in *named) (*entity[VerifyAnswer], error) {
	asked, err := s.cfg.API.VerifyNow(ctx, callerOf(ctx).String(), state.AccountName(in.Name))
	if err != nil {
		return nil, err
	}
	return &entity[VerifyAnswer]{VerifyAnswer{asked}}, nil
}

func (s *Server) listPauses(ctx context.Context, _ *none) (*entity[[]*state.Pause], error) {
	all, err := s.cfg.API.Pauses(ctx)
	if err != nil {
		return nil, err
	}
	if all == nil {
		all = []*state.Pause{}
	}
	return &entity[[]*state.Pause]{all}, nil
}

func (s *Server) pauseBackups(ctx context.Context, in *entity[PauseRequest]) (*none, error) {
	p := state.Pause{Kind: in.Body.Kind, Name: in.Body.Name, Reason: in.Body.Reason}
	return nil, s.cfg.API.PauseBackups(ctx, callerOf(ctx).String(), p)
}

type pauseInput struct {
	Kind string `path:"kind" enum:"account,server,site"`
	Name string `path:"name"`
}

func (s *Server) resumeBackups(ctx context.Context, in *pauseInput) (*none, error) {
	return nil, s.cfg.API.ResumeBackups(ctx, callerOf(ctx).String(), state.PauseKind(in.Kind), in.Name)
}

// Protection says who is not protected, worst first.
func (c *Client) Protection(ctx context.Context, f orchestrator.ProtectionFilter) (*orchestrator.ProtectionReport, error) {
	var r orchestrator.ProtectionReport
	k := get("/v1/protection", &r)
	k.query = url.Values{}
	if f.Site != "" {
		k.query.Set("site", string(f.Site))
	}
	if f.Tier != "" {
		k.query.Set("tier", string(f.Tier))
	}
	return &r, c.do(ctx, k)
}

// AccountProtection is all that is known of an account's copies.
func (c *Client) AccountProtection(ctx context.Context, name state.AccountName) (*orchestrator.AccountVerification, error) {
	var v orchestrator.AccountVerification
	return &v, c.do(ctx, get("/v1/accounts/"+url.PathEscape(string(name))+"/protection", &v))
}

// Compromised shuts a server out and gives the accounts whose backups it could open new repositories; or says what that would be.
func (c *Client) Compromised(ctx context.Context, r orchestrator.CompromisedRequest) (*orchestrator.CompromisedReport, error) {
	var report orchestrator.CompromisedReport
	return &report, c.do(ctx, post("/v1/compromised", r, &report))
}

// VerifyNow has every copy of an account looked at, and returns when that was asked for: see AccountVerification.
func (c *Client) VerifyNow(ctx context.Context, account state.AccountName) (time.Time, error) {
	var out VerifyAnswer
	err := c.do(ctx, post("/v1/accounts/"+url.PathEscape(string(account))+"/verify", nil, &out))
	return out.Asked, err
}

// Pauses lists what is paused.
func (c *Client) Pauses(ctx context.Context) ([]*state.Pause, error) {
	return rows[state.Pause](ctx, c, "/v1/pauses")
}

// PauseBackups keeps backups from being started.
func (c *Client) PauseBackups(ctx context.Context, p PauseRequest) error {
	return c.do(ctx, post("/v1/pauses", p, nil))
}

// ResumeBackups ends a pause.
func (c *Client) ResumeBackups(ctx context.Context, kind state.PauseKind, name string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: "/v1/pauses/" + url.PathEscape(string(kind)) + "/" + url.PathEscape(name)})
}
