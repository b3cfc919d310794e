package state

import (
	"fmt"
)

// rememberedAnswers reaches back further than any retry does.
const rememberedAnswers = 20_000

// applied is the answer that a command got, kept so that a retry gets the same one.
type applied struct {
	ID     string `json:"id"`
	Index  uint64 `json:"index"`
	Name   Name   `json:"name"`
	Result Result `json:"result"`
}

// again answers a command whose ID was applied before.
func (a *applied) again(cmd Command) (Result, error) {
	if a.Name != cmd.Name {
		return Result{Err: refuse(ErrInvalid, "the id %s belongs to a command %s; a command %s needs one of its own", cmd.ID, a.Name, cmd.Name)}, nil
	}
	if err := cmd.Validate(); err != nil {
		return Result{}, fmt.Errorf("apply: %w", err)
	}
	return a.Result, nil
}

// remember writes down the answer, and forgets the oldest one when there are too many.
func (s *State) remember(txn *transaction, next *progress, cmd Command, result Result) error {
	if cmd.ID == "" {
		return fmt.Errorf("apply %s at %d: the command has no id", cmd.Name, next.Index)
	}
	appliedTable.put(txn, &applied{ID: cmd.ID, Index: next.Index, Name: cmd.Name, Result: result})
	next.Applied++
	if next.Applied > s.answers {
		appliedTable.drop(txn, appliedTable.first(txn, "index"))
		next.Applied--
	}
	return nil
}
