package agent

import (
	"fmt"

	"go.etcd.io/bbolt"
)

const keyObeyed = "obeyed"

// Obeyed is the highest incarnation whose orders were taken.
func (j *journal) Obeyed() (n uint64, err error) {
	if err := j.db.View(func(tx *bbolt.Tx) error { return load(tx, bucketCluster, keyObeyed, &n) }); err != nil {
		return 0, fmt.Errorf("read the incarnation from the journal: %w", err)
	}
	return n, nil
}

// Obey writes it down.
func (j *journal) Obey(n uint64) error {
	if err := j.db.Update(func(tx *bbolt.Tx) error { return store(tx, bucketCluster, keyObeyed, n) }); err != nil {
		return fmt.Errorf("write incarnation %d into the journal: %w", n, err)
	}
	return nil
}
