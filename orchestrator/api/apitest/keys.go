package apitest

import (
	"context"

	"drp/orchestrator"
	"drp/raftstore/state"
)

// BreakGlass implements orchestrator.API.
func (b *Brain) BreakGlass(context.Context) (*orchestrator.BreakGlassReport, error) {
	if err := b.note("BreakGlass", "", ""); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.Protected.BreakGlass
	return &r, nil
}

// RecordBreakGlass implements orchestrator.API.
func (b *Brain) RecordBreakGlass(_ context.Context, by string, d state.BreakGlassRecordData) error {
	return b.note("RecordBreakGlass", by, "%s %d %v %s", d.Store, d.Count, d.Failed, d.Error)
}

// RotateKeys implements orchestrator.API. All accounts that are named are begun but the one called "busy".
func (b *Brain) RotateKeys(_ context.Context, by string, r orchestrator.RotationRequest) (*orchestrator.RotationAnswer, error) {
	if err := b.note("RotateKeys", by, "%v all %t older than %s", r.Accounts, r.All, r.OlderThan); err != nil {
		return nil, err
	}
	answer := &orchestrator.RotationAnswer{Begun: []state.AccountName{}, Refused: map[state.AccountName]string{}}
	for _, a := range r.Accounts {
		if a == "busy" {
			answer.Refused[a] = "the password of account busy is being changed already"
		} else {
			answer.Begun = append(answer.Begun, a)
		}
	}
	return answer, nil
}
