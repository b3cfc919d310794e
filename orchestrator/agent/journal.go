package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"drp/orchestrator/agent/home"
	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

// journal is what the agent must not forget: the highest token of each account and whether that is over, which host
// ids an account has, and what was begun and finished of each task. Each write is on disk when it returns (bbolt
// syncs each commit). It is safe for concurrent use.
type journal struct{ db *bbolt.DB }

var bucketFences, bucketIDs, bucketTasks, bucketCluster = []byte("fences"), []byte("ids"), []byte("tasks"), []byte("cluster")

// resultsKept is how long the result of a task is remembered. A leader asks for it within minutes or never.
const resultsKept = 7 * 24 * time.Hour

// fence is the word that an account is held to.
type fence struct {
	Token state.Token `json:"token"` // the highest seen
	// Stopped: nothing runs under Token any more, and never will; the leader was or may have been told so.
	Stopped bool `json:"stopped,omitempty"`
	// Made: there was a whole home of Token here. It is never made a second time, whatever the leader still believes.
	Made bool `json:"made,omitempty"`
	// Kept: what the engines held of the account before Token is in a file, so that it may be replaced.
	Kept bool `json:"kept,omitempty"`
}

// taskEntry is a task that was begun.
type taskEntry struct {
	Task     state.Task       `json:"task"`
	Begun    time.Time        `json:"begun"`
	Finished time.Time        `json:"finished,omitzero"`
	Result   *wire.TaskReport `json:"result,omitempty"`
	// Placing is the directory that a restore was about to put into its place: found there, the task is done.
	Placing string `json:"placing,omitempty"`
}

func openJournal(path string) (*journal, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("open journal %s: another agent has it open", path)
	}
	if err != nil {
		return nil, fmt.Errorf("open journal %s: %w", path, err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, b := range [][]byte{bucketFences, bucketIDs, bucketTasks, bucketCluster} {
			if _, err := tx.CreateBucketIfNotExists(b); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		db.Close()
		return nil, fmt.Errorf("open journal %s: %w", path, err)
	}
	return &journal{db}, nil
}

func (j *journal) close() error { return j.db.Close() }

// fenceOf gives the zero fence for an account that was never seen.
func (j *journal) fenceOf(account state.AccountName) (f fence, err error) {
	err = j.db.View(func(tx *bbolt.Tx) error { return load(tx, bucketFences, string(account), &f) })
	if err != nil {
		return fence{}, fmt.Errorf("read journal of account %s: %w", account, err)
	}
	return f, nil
}

// fences gives the entries of all accounts that were ever seen.
func (j *journal) fences() (map[state.AccountName]fence, error) {
	all := map[state.AccountName]fence{}
	err := j.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketFences).ForEach(func(k, raw []byte) error {
			var f fence
			if err := json.Unmarshal(raw, &f); err != nil {
				return err
			}
			all[state.AccountName(k)] = f
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	return all, nil
}

// fence changes an account's entry. A token never goes down, and stopped never goes away under the same token.
func (j *journal) fence(account state.AccountName, change func(*fence)) error {
	err := j.db.Update(func(tx *bbolt.Tx) error {
		var f fence
		if err := load(tx, bucketFences, string(account), &f); err != nil {
			return err
		}
		old := f
		change(&f)
		if f.Token.Less(old.Token) || f.Token == old.Token && old.Stopped && !f.Stopped {
			return fmt.Errorf("token %s is older than %s, or was stopped", f.Token, old.Token)
		}
		if f == old {
			return nil
		}
		return store(tx, bucketFences, string(account), f)
	})
	if err != nil {
		return fmt.Errorf("write journal of account %s: %w", account, err)
	}
	return nil
}

// ids gives an account its range, the same one for ever. A range that an old home has (held) is taken over.
func (j *journal) ids(account state.AccountName, held *home.IDs, from Identities) (ids home.IDs, err error) {
	err = j.db.Update(func(tx *bbolt.Tx) error {
		if err := load(tx, bucketIDs, string(account), &ids); err != nil || ids != (home.IDs{}) {
			return err
		}
		if held != nil {
			ids = *held
			return store(tx, bucketIDs, string(account), ids)
		}
		taken := map[uint32]bool{}
		err := tx.Bucket(bucketIDs).ForEach(func(_, raw []byte) error {
			var r home.IDs
			if err := json.Unmarshal(raw, &r); err != nil {
				return err
			}
			// Also when the configuration was another one: every number that a range touches is taken.
			if last := uint64(r.First) + uint64(r.Size) - 1; r.Size > 0 && last >= uint64(from.First) {
				for n := (max(r.First, from.First) - from.First) / from.Size; uint64(n) <= (last-uint64(from.First))/uint64(from.Size); n++ {
					taken[n] = true
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for n := range from.Count {
			if !taken[n] {
				ids = from.nth(n)
				return store(tx, bucketIDs, string(account), ids)
			}
		}
		return fmt.Errorf("all %d ranges of ids are taken", from.Count)
	})
	if err != nil {
		return home.IDs{}, fmt.Errorf("allocate ids for account %s: %w", account, err)
	}
	return ids, nil
}

// begin writes the intent. A task that was begun before is begun again; what it was about to place stays known.
func (j *journal) begin(task state.Task, now time.Time) error {
	err := j.db.Update(func(tx *bbolt.Tx) error {
		var before taskEntry
		if err := load(tx, bucketTasks, string(task.ID), &before); err != nil {
			return err
		}
		return store(tx, bucketTasks, string(task.ID), taskEntry{Task: task, Begun: now, Placing: before.Placing})
	})
	if err != nil {
		return fmt.Errorf("write intent of task %s: %w", task.ID, err)
	}
	return nil
}

// place writes which directory a task is about to put into its place.
func (j *journal) place(task state.Task, placing string) error {
	err := j.db.Update(func(tx *bbolt.Tx) error {
		e := taskEntry{Task: task}
		if err := load(tx, bucketTasks, string(task.ID), &e); err != nil {
			return err
		}
		e.Placing = placing
		return store(tx, bucketTasks, string(task.ID), e)
	})
	if err != nil {
		return fmt.Errorf("write what task %s places: %w", task.ID, err)
	}
	return nil
}

// placing is empty when the task was never about to place a directory.
func (j *journal) placing(task state.TaskID) (string, error) {
	var e taskEntry
	err := j.db.View(func(tx *bbolt.Tx) error { return load(tx, bucketTasks, string(task), &e) })
	if err != nil {
		return "", fmt.Errorf("read journal of task %s: %w", task, err)
	}
	return e.Placing, nil
}

// finish writes the result, and forgets results that nobody asks for any more.
func (j *journal) finish(task state.Task, result wire.TaskReport, now time.Time) error {
	err := j.db.Update(func(tx *bbolt.Tx) error {
		e := taskEntry{Begun: now}
		if err := load(tx, bucketTasks, string(task.ID), &e); err != nil {
			return err
		}
		e.Task, e.Finished, e.Result = task, now, &result
		if err := forgetResults(tx, now.Add(-resultsKept)); err != nil {
			return err
		}
		return store(tx, bucketTasks, string(task.ID), e)
	})
	if err != nil {
		return fmt.Errorf("write result of task %s: %w", task.ID, err)
	}
	return nil
}

// result is nil when the task is not known to be finished.
func (j *journal) result(task state.TaskID) (r *wire.TaskReport, err error) {
	var e taskEntry
	err = j.db.View(func(tx *bbolt.Tx) error { return load(tx, bucketTasks, string(task), &e) })
	if err != nil {
		return nil, fmt.Errorf("read journal of task %s: %w", task, err)
	}
	return e.Result, nil
}

func forgetResults(tx *bbolt.Tx, before time.Time) error {
	var old [][]byte
	err := tx.Bucket(bucketTasks).ForEach(func(k, raw []byte) error {
		var e taskEntry
		if err := json.Unmarshal(raw, &e); err != nil {
			return err
		}
		if e.Result != nil && e.Finished.Before(before) || e.Result == nil && e.Begun.Before(before) {
			old = append(old, k)
		}
		return nil
	})
	for _, k := range old {
		err = errors.Join(err, tx.Bucket(bucketTasks).Delete(k))
	}
	return err
}

func load(tx *bbolt.Tx, bucket []byte, key string, into any) error {
	raw := tx.Bucket(bucket).Get([]byte(key))
	if raw == nil {
		return nil
	}
	return json.Unmarshal(raw, into)
}

func store(tx *bbolt.Tx, bucket []byte, key string, value any) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return tx.Bucket(bucket).Put([]byte(key), raw)
}
