package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"drp/orchestrator/wire"
	"drp/raftstore/state"
	"drp/replicator/restic"
)

// taskBoard is what the leader wants done, and what of it is done. It is under the agent's lock.
type taskBoard struct {
	wanted  map[state.TaskID]wire.DesiredTask
	results map[state.TaskID]wire.TaskReport // of wanted ones only
	later   map[state.TaskID]bool            // cannot begin as things are
	round   int                              // grows when things have changed, so that no change is missed
	backups int                              // that may still begin
	base    context.Context
	running *sync.WaitGroup
}

// runningTask is the one task of an account that is under way.
type runningTask struct {
	id      state.TaskID
	cancel  context.CancelCauseFunc
	done    chan struct{}
	round   int  // of the board when it began
	limited bool // it counts as one of the backups
}

// errAnswered ends a task whose answer is the cause itself.
type errAnswered struct{ because string }

func (e errAnswered) Error() string { return e.because }

// errUnwanted ends a task that the leader has taken back: it has no answer.
var errUnwanted = errors.New("the task is no longer wanted")

func newTaskBoard(parallel int) taskBoard {
	return taskBoard{wanted: map[state.TaskID]wire.DesiredTask{}, results: map[state.TaskID]wire.TaskReport{},
		later: map[state.TaskID]bool{}, backups: parallel}
}

func (b *taskBoard) reports() []wire.TaskReport {
	var list []wire.TaskReport
	for _, r := range b.results {
		list = append(list, r)
	}
	slices.SortFunc(list, func(x, y wire.TaskReport) int { return cmp.Compare(x.Task, y.Task) })
	return list
}

// setTasks takes over the leader's list. A task that is under way and no longer wanted is given up: whatever it still
// did would be done to an account that went its way without it. Wanted again, it begins again.
func (a *Agent) setTasks(list []wire.DesiredTask) {
	a.held.Lock()
	b := &a.held.tasks
	clear(b.wanted)
	for _, t := range list {
		b.wanted[t.Task.ID] = t
	}
	for id := range b.results {
		if _, ok := b.wanted[id]; !ok {
			delete(b.results, id)
		}
	}
	for _, w := range a.held.accounts {
		if w.task == nil {
			continue
		}
		if _, ok := b.wanted[w.task.id]; !ok {
			w.task.cancel(errUnwanted)
		}
	}
	a.held.Unlock()
	a.reconsider()
}

// reconsider also begins what could not begin before.
func (a *Agent) reconsider() {
	a.held.Lock()
	clear(a.held.tasks.later)
	a.held.tasks.round++
	a.held.Unlock()
	a.kick()
}

// kick begins what can begin: one task for each account, restores before backups, older ones first.
func (a *Agent) kick() {
	a.held.Lock()
	defer a.held.Unlock()
	b := &a.held.tasks
	var list []wire.DesiredTask
	for id, t := range b.wanted {
		if _, done := b.results[id]; !done && !b.later[id] {
			list = append(list, t)
		}
	}
	slices.SortFunc(list, func(x, y wire.DesiredTask) int {
		backup := func(t wire.DesiredTask) int {
			if t.Task.Kind == state.TaskBackup {
				return 1
			}
			return 0
		}
		return cmp.Or(cmp.Compare(backup(x), backup(y)), x.Task.Created.Compare(y.Task.Created), cmp.Compare(x.Task.ID, y.Task.ID))
	})
	for _, t := range list {
		w := a.held.accounts[t.Task.Account]
		if w == nil || w.task != nil || b.base.Err() != nil {
			continue // no order for that account yet, or it is busy
		}
		limited := t.Task.Kind == state.TaskBackup
		if limited && b.backups == 0 {
			continue
		}
		if limited {
			b.backups--
		}
		ctx, cancel := context.WithCancelCause(b.base)
		w.task = &runningTask{id: t.Task.ID, cancel: cancel, done: make(chan struct{}), round: b.round, limited: limited}
		running := w.task
		b.running.Go(func() { w.runTask(ctx, t, running) })
	}
}

// runTask does one task and notes the answer. w.task is this one until it ends.
func (w *account) runTask(ctx context.Context, t wire.DesiredTask, running *runningTask) {
	result, err := w.answer(ctx, t)
	w.held.Lock()
	if result == nil {
		w.held.tasks.later[t.Task.ID] = err != nil || running.round == w.held.tasks.round
	} else if _, wanted := w.held.tasks.wanted[t.Task.ID]; wanted {
		w.held.tasks.results[t.Task.ID] = *result
		w.news()
	}
	running.cancel(nil)
	w.task = nil
	if running.limited {
		w.held.tasks.backups++
	}
	w.held.Unlock()
	close(running.done)
	if err != nil {
		w.Log.Error("task has no answer yet", "task", t.Task.ID, "account", w.name, "error", err)
	}
	w.kick()
}

// answer is nil when the task cannot begin yet, when it was taken back, or when the agent ends: the next one does it
// then.
func (w *account) answer(ctx context.Context, t wire.DesiredTask) (*wire.TaskReport, error) {
	task := t.Task
	if known, err := w.journal.result(task.ID); known != nil || err != nil {
		return known, err
	}
	verdict, err := w.admit(task)
	if err != nil || verdict == later {
		return nil, err
	}
	result := &wire.TaskReport{Task: task.ID}
	if verdict == now {
		if err := w.journal.begin(task, time.Now()); err != nil {
			return nil, err
		}
		w.Log.Info("task begins", "task", task.ID, "kind", task.Kind, "account", task.Account)
		result, err = w.perform(ctx, t)
		if w.held.tasks.base.Err() != nil {
			return nil, nil // not done, not failed: interrupted
		}
		if err != nil && errors.Is(context.Cause(ctx), errUnwanted) {
			w.Log.Info("task given up", "task", task.ID, "kind", task.Kind, "account", task.Account)
			return nil, nil
		}
		var because errAnswered
		if err != nil && errors.As(context.Cause(ctx), &because) {
			err = because
		}
		if err != nil {
			result = &wire.TaskReport{Task: task.ID, Error: sentence(err.Error()), Damaged: errors.Is(err, restic.ErrDamaged)}
		}
		w.Log.Info("task ended", "task", task.ID, "kind", task.Kind, "account", task.Account, "error", result.Error, "detail", result.Detail)
	} else {
		result.Error = fmt.Sprintf("account %s does not run on this server under token %s any more", task.Account, task.Token)
	}
	if err := w.journal.finish(task, *result, time.Now()); err != nil {
		return nil, err
	}
	return result, nil
}

type verdict int

const (
	later verdict = iota
	now
	never
)

// admit says whether a task may begin: under the token that the account is held under, with a whole home of it.
func (w *account) admit(task state.Task) (verdict, error) {
	f, err := w.journal.fenceOf(task.Account)
	if err != nil {
		return later, err
	}
	if task.Token.Less(f.Token) || task.Token == f.Token && f.Stopped {
		return never, nil
	}
	rec, held, err := w.Homes.Held(task.Account)
	if err != nil || !held || rec.Token != task.Token || f.Token != task.Token {
		return later, err
	}
	w.held.Lock()
	defer w.held.Unlock()
	if w.want == nil || !w.want.Run || w.want.Token != task.Token {
		return later, nil
	}
	return now, nil
}

func (w *account) perform(ctx context.Context, t wire.DesiredTask) (*wire.TaskReport, error) {
	switch t.Task.Kind {
	case state.TaskBackup:
		return w.backup(ctx, t)
	case state.TaskRestoreFiles:
		return w.restoreFiles(ctx, t)
	default:
		return nil, fmt.Errorf("this agent does not know the task %q: upgrade drp on this server", t.Task.Kind)
	}
}

// cancelTask ends the task of the account that is under way, if there is one; because is its answer.
func (w *account) cancelTask(because string) {
	w.held.Lock()
	defer w.held.Unlock()
	if w.task != nil {
		w.task.cancel(errAnswered{because})
	}
}

// awaitTask returns when no task of the account is under way.
func (w *account) awaitTask(ctx context.Context) error {
	w.held.Lock()
	task := w.task
	w.held.Unlock()
	if task == nil {
		return nil
	}
	select {
	case <-task.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
