package api

import (
	"context"
	"net/http"
	"net/url"

	"drp/orchestrator"
	"drp/raftstore/identity"
	"drp/raftstore/state"
)

func erasureRoutes(operators []identity.Role) []route {
	return []route{
		{method: http.MethodGet, path: "/v1/erasures", id: "list-erasures", summary: "list accounts that are erased, or are to be", roles: operators,
			leader: true, repeatable: true, reads: "list erasures", add: handle((*Server).listErasures)},
		{method: http.MethodGet, path: "/v1/erasures/{name}", id: "get-erasure", summary: "see how far the erasure of an account is", roles: operators,
			leader: true, repeatable: true, reads: "read erasure", add: handle((*Server).getErasure)},
		{method: http.MethodGet, path: "/v1/erasures/{name}/certificate", id: "get-erasure-certificate", summary: "get the certificate of an erasure", roles: operators,
			leader: true, repeatable: true, reads: "read certificate of erasure", add: handle((*Server).erasureCertificate)},
		{method: http.MethodPost, path: "/v1/erasures", id: "erase-account", summary: "order that an account is erased", roles: operators,
			leader: true, repeatable: true, add: handle((*Server).erase)},
		{method: http.MethodDelete, path: "/v1/erasures/{name}", id: "cancel-erasure", summary: "take back an order to erase an account", roles: operators,
			leader: true, repeatable: true, add: handle((*Server).cancelErasure)},
	}
}

func (s *Server) listErasures(ctx context.Context, _ *none) (*entity[[]*orchestrator.ErasureStatus], error) {
	return answered(s.cfg.API.Erasures(ctx))
}

func (s *Server) getErasure(ctx context.Context, in *named) (*entity[*orchestrator.ErasureStatus], error) {
	return answered(s.cfg.API.Erasure(ctx, state.AccountName(in.Name)))
}

// ErasureCertificate is the file of a signed certificate, to the byte: package erasure reads it.
type ErasureCertificate struct {
	Text string `json:"text"`
}

func (s *Server) erasureCertificate(ctx context.Context, in *named) (*entity[ErasureCertificate], error) {
	text, err := s.cfg.API.ErasureCertificate(ctx, state.AccountName(in.Name))
	return &entity[ErasureCertificate]{ErasureCertificate{string(text)}}, err
}

// erase shows what an account has, also when it only says what would be done.
func (s *Server) erase(ctx context.Context, in *entity[orchestrator.ErasureRequest]) (*entity[*orchestrator.ErasureReport], error) {
	by := callerOf(ctx).String()
	note := state.AuditNoteData{Action: "order erasure", Account: in.Body.Account, Detail: in.Body.Reason}
	if in.Body.DryRun {
		note.Action = "read what an erasure would take"
	}
	if err := s.cfg.API.Record(ctx, by, note); err != nil {
		return nil, err
	}
	return answered(s.cfg.API.Erase(ctx, by, in.Body))
}

func (s *Server) cancelErasure(ctx context.Context, in *named) (*none, error) {
	return nil, s.cfg.API.CancelErasure(ctx, callerOf(ctx).String(), state.AccountName(in.Name))
}

// Erase orders that an account is erased, or says what that would be about.
func (c *Client) Erase(ctx context.Context, r orchestrator.ErasureRequest) (*orchestrator.ErasureReport, error) {
	var report orchestrator.ErasureReport
	return &report, c.do(ctx, post("/v1/erasures", r, &report))
}

// CancelErasure takes an order back.
func (c *Client) CancelErasure(ctx context.Context, account state.AccountName) error {
	return c.do(ctx, call{method: http.MethodDelete, path: erasurePath(account)})
}

// Erasures says how far all erasures are.
func (c *Client) Erasures(ctx context.Context) ([]*orchestrator.ErasureStatus, error) {
	return rows[orchestrator.ErasureStatus](ctx, c, "/v1/erasures")
}

// Erasure says how far one is.
func (c *Client) Erasure(ctx context.Context, account state.AccountName) (*orchestrator.ErasureStatus, error) {
	var s orchestrator.ErasureStatus
	return &s, c.do(ctx, get(erasurePath(account), &s))
}

// ErasureCertificate is the signed paper of one that is done, as package erasure reads it.
func (c *Client) ErasureCertificate(ctx context.Context, account state.AccountName) ([]byte, error) {
	var s ErasureCertificate
	err := c.do(ctx, get(erasurePath(account)+"/certificate", &s))
	return []byte(s.Text), err
}

func erasurePath(account state.AccountName) string {
	return "/v1/erasures/" + url.PathEscape(string(account))
}
