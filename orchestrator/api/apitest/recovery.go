package apitest

import (
	"context"
	"fmt"

	"drp/orchestrator"
)

// Recovery answers with Recovering; nil: nothing is being recovered.
func (b *Brain) Recovery(context.Context) (*orchestrator.RecoveryReport, error) {
	if err := b.note("Recovery", "", ""); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.Recovering == nil {
		return nil, fmt.Errorf("the cluster is not held: nothing is being recovered: %w", orchestrator.ErrRefused)
	}
	return b.Recovering, nil
}

func (b *Brain) Resume(_ context.Context, by string, r orchestrator.ResumeRequest) error {
	return b.note("Resume", by, "%s without %v", r.Cluster, r.Without)
}

func (b *Brain) ExportState(_ context.Context, by string) (*orchestrator.ExportedState, error) {
	return &orchestrator.ExportedState{Sealed: []byte("sealed")}, b.note("ExportState", by, "")
}

func (b *Brain) ExportNow(_ context.Context, by string) ([]orchestrator.SiteExport, error) {
	return []orchestrator.SiteExport{{Site: "par1", Name: "i000001-1", At: Start}}, b.note("ExportNow", by, "")
}
