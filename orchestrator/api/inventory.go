package api

import (
	"context"
	"fmt"

	"github.com/danielgtaylor/huma/v2"

	"drp/orchestrator"
	"drp/orchestrator/inventory"
	"drp/raftstore/identity"
	"drp/raftstore/state"
)

// hidden stands in for the value of an environment variable: programs keep secrets there.
const hidden = "(hidden)"

func inventoryDetail(e inventory.Error) *huma.ErrorDetail {
	return &huma.ErrorDetail{
		Message:  e.Message,
		Location: fmt.Sprintf("%s:%d:%d", e.File, e.Line, e.Column),
		Value:    position{File: e.File, Line: e.Line, Column: e.Column, Fix: e.Fix},
	}
}

type named struct {
	Name string `path:"name"`
}

func (s *Server) health(context.Context, *none) (*entity[Health], error) {
	leader, _ := s.cfg.Leader()
	return &entity[Health]{Health{Name: s.cfg.Name, Leader: leader}}, nil
}

func (s *Server) status(ctx context.Context, _ *none) (*entity[*orchestrator.StatusReport], error) {
	if stale, ok := staleOf(ctx); ok {
		return answered(s.cfg.API.StaleStatus(stale))
	}
	return answered(s.cfg.API.Status(ctx))
}

func (s *Server) applyInventory(ctx context.Context, in *entity[ApplyRequest]) (*entity[ApplyResponse], error) {
	files := make([]inventory.File, len(in.Body.Files))
	for i, f := range in.Body.Files {
		files[i] = inventory.File{Name: f.Name, Data: []byte(f.Text)}
	}
	changes, err := s.cfg.API.Apply(ctx, callerOf(ctx).String(), in.Body.ID, files, in.Body.DryRun)
	if err != nil {
		return nil, err
	}
	if changes == nil {
		changes = []string{}
	}
	return &entity[ApplyResponse]{ApplyResponse{Changes: changes}}, nil
}

// list answers with rows of the state.
func list[T any](s *Server, ctx context.Context, rows func(*state.View) ([]T, error)) (*entity[[]T], error) {
	v, err := s.view(ctx)
	if err != nil {
		return nil, err
	}
	found, err := rows(v)
	if err != nil {
		return nil, err
	}
	if found == nil {
		found = []T{}
	}
	return &entity[[]T]{found}, nil
}

func (s *Server) listSites(ctx context.Context, _ *none) (*entity[[]*state.Site], error) {
	return list(s, ctx, func(v *state.View) ([]*state.Site, error) { return v.Sites(), nil })
}

func (s *Server) listServers(ctx context.Context, _ *none) (*entity[[]*state.Server], error) {
	return list(s, ctx, func(v *state.View) ([]*state.Server, error) { return v.Servers(), nil })
}

func (s *Server) listPolicies(ctx context.Context, _ *none) (*entity[[]*state.Policy], error) {
	return list(s, ctx, func(v *state.View) ([]*state.Policy, error) { return v.Policies(), nil })
}

func (s *Server) listAccounts(ctx context.Context, _ *none) (*entity[[]*state.Account], error) {
	return list(s, ctx, func(v *state.View) ([]*state.Account, error) {
		accounts := v.Accounts()
		for i, a := range accounts {
			accounts[i] = shown(a)
		}
		return accounts, nil
	})
}

func (s *Server) listSnapshots(ctx context.Context, in *named) (*entity[[]*state.Snapshot], error) {
	return list(s, ctx, func(v *state.View) ([]*state.Snapshot, error) {
		name := state.AccountName(in.Name)
		if v.Account(name) == nil {
			return nil, unknownAccount(name)
		}
		return v.Snapshots(name), nil
	})
}

func (s *Server) getAccount(ctx context.Context, in *named) (*entity[AccountDetail], error) {
	v, err := s.cfg.API.View(ctx)
	if err != nil {
		return nil, err
	}
	name := state.AccountName(in.Name)
	a := v.Account(name)
	if a == nil {
		return nil, unknownAccount(name)
	}
	d := AccountDetail{Account: shown(a), Assignment: v.Assignment(name), Backup: v.BackupStatus(name)}
	if r := v.Repository(name); r != nil {
		d.Home, d.Repository = &r.Home, r.Name()
		if callerOf(ctx).Role == identity.Operator {
			d.SealedPassword = r.SealedPassword
			d.SealedKey = sealedKey(v, state.SealedTo(r.SealedPassword))
		}
	}
	for _, repo := range v.RepositoriesOf(name) {
		for _, site := range v.Sites() {
			if r := v.Replication(repo.Row(), site.Name); r != nil {
				d.Replications = append(d.Replications, r)
			}
		}
	}
	for _, row := range append(v.RetiredOf(name), v.RemovedOf(name)...) {
		r := RetiredRepository{
			Repository: row.Repository.Name(), At: row.At, By: row.By, Server: row.Server, Reason: row.Reason,
			Snapshots: len(v.SnapshotsIn(&row.Repository)), Removing: row.Removing, Errors: row.Errors, Gone: row.Gone,
		}
		if callerOf(ctx).Role == identity.Operator {
			r.SealedPassword = row.Repository.SealedPassword
			r.SealedKey = sealedKey(v, state.SealedTo(r.SealedPassword))
		}
		d.Retired = append(d.Retired, r)
	}
	return &entity[AccountDetail]{d}, nil
}

func (s *Server) planFailover(ctx context.Context, in *entity[orchestrator.Scope]) (*entity[*orchestrator.Plan], error) {
	if (in.Body.Site == "") == (in.Body.Server == "") {
		return nil, fmt.Errorf("plan failover: name a site or a server, one of the two: %w", state.ErrInvalid)
	}
	// A plan names every account of a place, with its snapshots and addresses.
	note := state.AuditNoteData{Action: "plan failover", Subject: in.Body.String(), Detail: "route plan-failover"}
	if err := s.cfg.API.Record(ctx, callerOf(ctx).String(), note); err != nil {
		return nil, err
	}
	plan, err := s.cfg.API.PlanFailover(ctx, in.Body)
	if err != nil {
		return nil, err
	}
	return &entity[*orchestrator.Plan]{plan}, nil
}

func (s *Server) backUp(ctx context.Context, in *entity[BackupRequest]) (*entity[BackupResponse], error) {
	tasks, err := s.cfg.API.BackupNow(ctx, callerOf(ctx).String(), in.Body.Accounts)
	if err != nil {
		return nil, err
	}
	return &entity[BackupResponse]{BackupResponse{Tasks: tasks}}, nil
}

func unknownAccount(name state.AccountName) error {
	return fmt.Errorf("there is no account %q: %w", name, state.ErrNotFound)
}

// sealedKey is the key of the keyring with that id. None for what an earlier version sealed without one.
func sealedKey(v *state.View, id string) []byte {
	for _, k := range v.Keys() {
		if k.ID == id {
			return k.Sealed
		}
	}
	return nil
}

// shown is an account as the API shows it: which variables a program has, not what is in them, sealed or not.
func shown(a *state.Account) *state.Account {
	row := a.WithOwnPrograms()
	for _, p := range row.Programs() {
		environment := make(map[string]string, len(p.Variables))
		for _, k := range p.Variables {
			environment[k] = hidden
		}
		for k := range p.Environment { // of before level 2
			environment[k] = hidden
		}
		p.Environment, p.Variables, p.SealedEnvironment = environment, nil, nil
	}
	return &row
}
