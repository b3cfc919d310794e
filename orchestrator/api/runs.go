package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"drp/orchestrator"
	"drp/raftstore/identity"
	"drp/raftstore/state"
	"drp/runbooks"
)

const (
	// runLook is how often a watched run is looked at: parts of it (how far a restore is) are not in the state, so
	// that no change of the state tells of them.
	runLook = 500 * time.Millisecond
	// runPause keeps a busy state from making a watcher look all the time.
	runPause = 100 * time.Millisecond
)

// Runbook is one of the library, as the API shows it.
type Runbook struct {
	Name        string      `json:"name"`
	Title       string      `json:"title"`
	Description string      `json:"description,omitempty"`
	Role        string      `json:"role" doc:"the least role that may run it"`
	Parameters  []Parameter `json:"parameters"`
	Source      string      `json:"source,omitempty"`
	Page        string      `json:"page,omitempty" doc:"for a person whose computer has died"`
}

// Parameter is one of a runbook's parameters.
type Parameter struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Required bool   `json:"required"`
	Default  string `json:"default,omitempty"`
	Help     string `json:"help,omitempty"`
}

func (s *Server) listRunbooks(context.Context, *none) (*entity[[]Runbook], error) {
	books, err := runbooks.Library()
	if err != nil {
		return nil, err
	}
	all := []Runbook{}
	for _, b := range books {
		all = append(all, ShownRunbook(b))
	}
	return &entity[[]Runbook]{all}, nil
}

// lookup finds a runbook of the library.
func lookup(name string) (*runbooks.Runbook, error) {
	b, err := runbooks.Lookup(name)
	if errors.Is(err, runbooks.ErrUnknown) {
		return nil, fmt.Errorf("%w: %w", err, state.ErrNotFound)
	}
	return b, err
}

// ShownRunbook is a runbook as the API shows it, without its text.
func ShownRunbook(b *runbooks.Runbook) Runbook {
	shown := Runbook{Name: b.Name, Title: b.Title, Description: b.Description, Role: b.Role, Parameters: []Parameter{}}
	for _, p := range b.Parameters {
		shown.Parameters = append(shown.Parameters, Parameter{Name: p.Name, Type: p.Type, Required: p.Required, Default: p.Default, Help: p.Help})
	}
	return shown
}

func (s *Server) getRunbook(_ context.Context, in *named) (*entity[Runbook], error) {
	b, err := lookup(in.Name)
	if err != nil {
		return nil, err
	}
	shown := ShownRunbook(b)
	shown.Source, shown.Page = b.Source, b.Page()
	return &entity[Runbook]{shown}, nil
}

// mayRun holds the caller to the role that a runbook asks for.
func mayRun(c Caller, b *runbooks.Runbook) error {
	allowed := []identity.Role{identity.Operator}
	if b.Role == runbooks.Support {
		allowed = append(allowed, identity.Support)
	}
	if slices.Contains(allowed, c.Role) {
		return nil
	}
	return fmt.Errorf("%w: runbook %s takes role %s, and this is %s", ErrForbidden, b.Name, b.Role, c)
}

func (s *Server) startRun(ctx context.Context, in *entity[orchestrator.StartRequest]) (*entity[*state.Run], error) {
	b, err := lookup(in.Body.Runbook)
	if err != nil {
		return nil, err
	}
	if err := mayRun(callerOf(ctx), b); err != nil {
		return nil, err
	}
	run, err := s.cfg.API.StartRun(ctx, callerOf(ctx).String(), in.Body)
	if err != nil {
		return nil, err
	}
	return &entity[*state.Run]{run}, nil
}

// mayTouch holds the caller to the role of the runbook that a run was started of, as it was then.
func (s *Server) mayTouch(ctx context.Context, id state.RunID) error {
	run, err := s.cfg.API.Run(ctx, id)
	if err != nil {
		return err
	}
	b, err := runbooks.Parse(run.Runbook, []byte(run.Source))
	if err != nil {
		return fmt.Errorf("read runbook of run %s: %w", id, err)
	}
	return mayRun(callerOf(ctx), b)
}

type confirmInput struct {
	ID   string `path:"id"`
	Body ConfirmRequest
}

func (s *Server) confirmRun(ctx context.Context, in *confirmInput) (*none, error) {
	id := state.RunID(in.ID)
	if err := s.mayTouch(ctx, id); err != nil {
		return nil, err
	}
	return nil, s.cfg.API.ConfirmRun(ctx, callerOf(ctx).String(), id, in.Body.PlanHash, in.Body.Down)
}

type runInput struct {
	ID string `path:"id"`
}

func (s *Server) cancelRun(ctx context.Context, in *runInput) (*none, error) {
	id := state.RunID(in.ID)
	if err := s.mayTouch(ctx, id); err != nil {
		return nil, err
	}
	return nil, s.cfg.API.CancelRun(ctx, callerOf(ctx).String(), id)
}

func (s *Server) listRuns(ctx context.Context, _ *none) (*entity[[]*state.Run], error) {
	runs, err := s.cfg.API.Runs(ctx)
	if err != nil {
		return nil, err
	}
	if runs == nil {
		runs = []*state.Run{}
	}
	return &entity[[]*state.Run]{runs}, nil
}

func (s *Server) listRunAccounts(ctx context.Context, in *runInput) (*entity[[]*state.RunAccount], error) {
	return list(s, ctx, func(v *state.View) ([]*state.RunAccount, error) {
		if v.Run(state.RunID(in.ID)) == nil {
			return nil, fmt.Errorf("there is no run %q: %w", in.ID, state.ErrNotFound)
		}
		return v.RunAccounts(state.RunID(in.ID)), nil
	})
}

type watchInput struct {
	ID       string `path:"id"`
	Wait     string `query:"wait" doc:"how long to wait for another revision, such as 20s; at most a minute"`
	Revision string `query:"revision" doc:"the revision that the caller has"`
}

type watchOutput struct {
	ETag string `header:"ETag"`
	Body RunView
}

// getRun answers at once, or as soon as the run is not as the caller knows it.
func (s *Server) getRun(ctx context.Context, in *watchInput) (*watchOutput, error) {
	var wait time.Duration
	if in.Wait != "" {
		d, err := time.ParseDuration(in.Wait)
		if err != nil {
			return nil, fmt.Errorf("read wait: %w: %w", err, state.ErrInvalid)
		}
		wait = waitFor(d)
	}
	until := time.NewTimer(wait)
	defer until.Stop()
	for {
		var changed <-chan struct{}
		if s.cfg.Changed != nil {
			changed = s.cfg.Changed()
		}
		run, err := s.cfg.API.Run(ctx, state.RunID(in.ID))
		if err != nil {
			return nil, err
		}
		revision, err := revisionOf(run)
		if err != nil {
			return nil, err
		}
		out := &watchOutput{ETag: `"` + revision + `"`, Body: RunView{Revision: revision, Run: run}}
		if in.Revision != revision || wait == 0 || run.Status.Ended() {
			return out, nil
		}
		look := time.NewTimer(runLook)
		select {
		case <-until.C:
			look.Stop()
			return out, nil
		case <-ctx.Done():
			look.Stop()
			return nil, ctx.Err()
		case <-look.C:
		case <-changed:
			look.Stop()
			sleep(ctx, runPause)
		}
	}
}

// revisionOf names what a run looks like, whoever leads.
func revisionOf(r *state.Run) (string, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("encode run %s: %w", r.ID, err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:12]), nil
}
