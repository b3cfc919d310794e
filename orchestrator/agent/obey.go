package agent

import (
	"fmt"

	"go.etcd.io/bbolt"

	"drp/orchestrator/wire"
)

// firstIncarnation is that of a cluster which was never recovered. Coordinators that do not say theirs are of it.
const firstIncarnation = 1

const keyObeyed = "obeyed"

// obey refuses the word of coordinators from before a recovery. When most of them come back they elect a leader, who knows
// nothing of what was decided since, and would start here what runs elsewhere. The incarnation is on the disk before
// anything is done under it. Coordinators that are being recovered order nothing, whatever they know: they are told what is
// remembered here, and begin a higher incarnation than that.
func (a *Agent) obey(d wire.AgentDesired) error {
	of := max(d.Incarnation, firstIncarnation)
	switch {
	case d.Recovering || of == a.obeyed:
		return nil
	case of < a.obeyed:
		return fmt.Errorf("a leader of incarnation %d answers, and this server has obeyed incarnation %d: it is from before a recovery, and has to be stopped", of, a.obeyed)
	}
	if err := a.journal.obey(of); err != nil {
		return err
	}
	a.obeyed = of
	return nil
}

// obeyed is the highest incarnation whose orders were taken.
func (j *journal) obeyed() (n uint64, err error) {
	if err := j.db.View(func(tx *bbolt.Tx) error { return load(tx, bucketCluster, keyObeyed, &n) }); err != nil {
		return 0, fmt.Errorf("read the incarnation from the journal: %w", err)
	}
	return n, nil
}

func (j *journal) obey(n uint64) error {
	if err := j.db.Update(func(tx *bbolt.Tx) error { return store(tx, bucketCluster, keyObeyed, n) }); err != nil {
		return fmt.Errorf("write incarnation %d into the journal: %w", n, err)
	}
	return nil
}
