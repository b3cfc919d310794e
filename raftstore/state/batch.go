package state

import (
	"errors"
	"fmt"
	"slices"
)

// Batch applies entries of the log that come together. Nobody sees anything of them before Commit, and a node of a tree
// that several of them change is copied once.
type Batch struct {
	state *State
	txn   *transaction
}

// Batch begins one. There is no other before its Commit.
func (s *State) Batch() *Batch { return &Batch{state: s, txn: s.db.write()} }

// Apply carries out one entry. Its error means that this node cannot go on: it does not know the command, or cannot
// read it; what was applied before may still be committed. A refusal is an answer like any other, and is in Result.Err.
func (b *Batch) Apply(index uint64, cmd Command) (Result, error) {
	handle, ok := handlers[cmd.Name]
	if !ok {
		return Result{}, &UnknownCommandError{Name: cmd.Name}
	}
	result, err := b.apply(index, cmd, handle)
	if err != nil {
		b.txn.undo()
		return Result{}, err
	}
	b.txn.forget()
	return result, nil
}

func (b *Batch) apply(index uint64, cmd Command, handle handler) (Result, error) {
	next := progressOf(b.txn)
	next.Index = index
	if first := appliedTable.get(b.txn, cmd.ID); first != nil {
		result, err := first.again(cmd)
		if err != nil {
			return Result{}, err
		}
		progressTable.put(b.txn, &next)
		return result, nil
	}
	c := &change{Txn: b.txn, at: cmd.At.UTC().Round(0), by: cmd.By, progress: &next}
	changed, err := handle(c, cmd.Data)
	if err == nil {
		err = c.checkHold(cmd.Name)
	}
	result := Result{Changed: changed, Notes: c.notes, Token: c.token}
	if err != nil {
		var refused *refusal
		if !errors.As(err, &refused) {
			return Result{}, fmt.Errorf("apply %s %s at %d: %w", cmd.Name, cmd.ID, index, err)
		}
		b.txn.undo()
		next = progressOf(b.txn)
		next.Index = index
		result = Result{Err: refused}
	}
	if err := b.state.remember(b.txn, &next, cmd, result); err != nil {
		return Result{}, err
	}
	if hasTrail(b.txn) {
		next.Audit.extend(b.txn, c.auditEntry(index, cmd, result))
	}
	if next.Digest, err = next.Digest.after(b.txn.changes); err != nil {
		return Result{}, fmt.Errorf("apply %s %s at %d: %w", cmd.Name, cmd.ID, index, err)
	}
	progressTable.put(b.txn, &next)
	return result, nil
}

// Digest is that of the state with what was applied so far.
func (b *Batch) Digest() Digest { return progressOf(b.txn).Digest }

// Commit shows what was applied.
func (b *Batch) Commit() { b.txn.commit() }

// undo takes back what was changed since forget.
func (t *transaction) undo() {
	changes := t.changes
	t.changed = nil // what follows is no change
	for _, c := range slices.Backward(changes) {
		switch {
		case c.before != nil:
			c.table.insert(t, c.before)
		case c.after != nil: // else it came and went
			c.table.remove(t, c.after)
		}
	}
	t.changed = map[rowKey]int{}
	t.forget()
}

// forget lets what was changed so far stand.
func (t *transaction) forget() {
	t.changes = t.changes[:0]
	clear(t.changed)
}
