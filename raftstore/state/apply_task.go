package state

import (
	"path/filepath"
	"strings"
	"time"
)

func applyTaskCreate(c *change, d TaskCreateData) (bool, error) {
	t := d.Task
	if err := checkID("task", string(t.ID)); err != nil {
		return false, err
	}
	assignment, err := c.present(t.Account, t.Token)
	if err != nil {
		return false, err
	}
	if assignment.Stop || assignment.Fenced != nil {
		return false, refuse(ErrConflict, "account %s is being moved away from server %s: no new task for it", t.Account, assignment.Server)
	}
	if t.Server == "" {
		t.Server = assignment.Server
	}
	if t.Server != assignment.Server {
		return false, refuse(ErrConflict, "account %s is on server %s, and not on %s", t.Account, assignment.Server, t.Server)
	}
	if err := c.checkTask(&t); err != nil {
		return false, err
	}
	if t.Created.IsZero() {
		t.Created = c.at
	}
	t.Status, t.Finished, t.Error, t.Detail = TaskPending, time.Time{}, "", ""
	taskTable.put(c.Txn, &t)
	return true, nil
}

func (c *change) checkTask(t *Task) error {
	if taskTable.get(c.Txn, string(t.ID)) != nil {
		return refuse(ErrConflict, "there is a task %s already", t.ID)
	}
	for _, other := range taskTable.find(c.Txn, "account", string(t.Account)) {
		if other.Status == TaskPending && other.Kind == t.Kind {
			return refuse(ErrConflict, "account %s has a pending %s already: task %s", t.Account, t.Kind, other.ID)
		}
	}
	switch t.Kind {
	case TaskBackup:
		return nil
	case TaskRestoreFiles:
		if t.Restore == nil {
			return refuse(ErrInvalid, "task %s does not say which snapshot to restore from", t.ID)
		}
		if !filepath.IsLocal(t.Path) || !filepath.IsLocal(t.Target) {
			return refuse(ErrInvalid, "task %s: path %q and target %q have to lie inside of the account's home", t.ID, t.Path, t.Target)
		}
		return c.restorePoint(t.Account, t.Restore)
	default:
		return refuse(ErrInvalid, "task %s: there is no kind of task %q", t.ID, t.Kind)
	}
}

func applyTaskFinish(c *change, d TaskFinishData) (bool, error) {
	t := taskTable.get(c.Txn, string(d.Task))
	if t == nil {
		return false, refuse(ErrNotFound, "there is no task %s", d.Task)
	}
	failure, detail := Shorten(d.Error), Shorten(d.Detail)
	if t.Status != TaskPending {
		if t.Error == failure && t.Detail == detail {
			return false, nil
		}
		return false, refuse(ErrConflict, "task %s has ended already: %s", d.Task, t.Status)
	}
	var snapshot SnapshotID
	if t.Kind == TaskBackup && failure == "" {
		if err := c.recordSnapshot(t, d.Snapshot); err != nil {
			// An agent repeats what it reported. Were this refused, the task would stay pending for ever.
			failure = Shorten(err.Error())
		} else {
			snapshot = d.Snapshot.ID
		}
	}
	c.endTask(t, failure, detail, snapshot)
	return true, nil
}

// maxText is how many bytes of a text of an agent are kept.
const maxText = 2 << 10

// Shorten cuts a text to what the state keeps of it: at most 2 KiB of valid UTF-8.
func Shorten(text string) string { return cut(text, maxText) }

func cut(text string, limit int) string {
	const ellipsis = "…"
	text = strings.ToValidUTF8(text, "?")
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit-len(ellipsis)], "") + ellipsis // perhaps without half a rune
}

// recordSnapshot puts a new snapshot into the catalogue. Whose it is and where it was made we know ourselves, and when
// within bounds: failovers restore the newest. The agent's word on that does not count. An id that is known is refused,
// since only a complete pass of a worker makes a copy.
func (c *change) recordSnapshot(t *Task, made *Snapshot) error {
	if made == nil {
		return refuse(ErrInvalid, "task %s: a backup that worked has a snapshot", t.ID)
	}
	s := *made
	if err := checkSnapshotID(s.ID); err != nil {
		return err
	}
	server, err := c.server(t.Server)
	if err != nil {
		return err
	}
	old := snapshotOf(c.Txn, t.Account, s.ID)
	if old == nil {
		old = snapshotTable.get(c.Txn, string(s.ID)) // another account's: there, ids are keys
	}
	if old != nil {
		return refuse(ErrConflict, "snapshot %s is known already: server %s made it of account %s", s.ID.Short(), old.Server, old.Account)
	}
	s.Repository = 0
	if repo := repositoryTable.get(c.Txn, string(t.Account)); repo != nil {
		s.Repository = repo.Number // a renewal ends the backups that began before it
	}
	var own []string
	if a := accountTable.get(c.Txn, string(t.Account)); a != nil {
		own = a.Parts()
	}
	s.Parts, s.Copied = ShortenParts(s.Parts, own), max(s.Copied, 0)
	s.Account, s.Server, s.Token = t.Account, t.Server, t.Token
	s.Start = between(s.Start, t.Created, c.at)
	s.Finished = between(s.Finished, s.Start, c.at)
	s.Sites, s.ForgetAt = []Copy{{Site: server.Site, CopiedAt: c.at}}, time.Time{}
	c.putSnapshots(t.Account, &s)
	return nil
}

// endTask writes the outcome of a pending task. A failure has a text. Of backups only the newest outcome is kept.
func (c *change) endTask(t *Task, failure, detail string, snapshot SnapshotID) {
	if t.Kind == TaskBackup {
		c.recordBackup(t, failure, snapshot)
		taskTable.drop(c.Txn, t)
		return
	}
	next := *t
	next.Status, next.Finished, next.Error, next.Detail = TaskDone, c.at, failure, detail
	if failure != "" {
		next.Status = TaskFailed
	}
	taskTable.put(c.Txn, &next)
}

// recordBackup writes the outcome of an account's newest backup. The slot that was served last never goes back: a
// backup asked for by hand has none. But one that lies in the future is the mark of a clock that was wrong, and would
// put off all backups until then.
func (c *change) recordBackup(t *Task, failure string, snapshot SnapshotID) {
	next := &BackupStatus{
		Account: t.Account, Due: earlier(t.Due, c.at), Started: earlier(t.Created, c.at), Finished: c.at,
		Snapshot: snapshot, Error: failure,
	}
	old := backupStatusTable.get(c.Txn, string(t.Account))
	if old != nil {
		next.Due = later(next.Due, earlier(old.Due, c.at))
	}
	if failure != "" {
		next.Failures = 1
		if old != nil {
			next.Failures += old.Failures
		}
	}
	backupStatusTable.put(c.Txn, next)
}

func applyTaskForget(c *change, d TaskForgetData) (bool, error) {
	t := taskTable.get(c.Txn, string(d.Task))
	if t == nil {
		return false, refuse(ErrNotFound, "there is no task %s", d.Task)
	}
	if t.Status == TaskPending {
		return false, refuse(ErrConflict, "task %s has not ended yet", d.Task)
	}
	taskTable.drop(c.Txn, t)
	return true, nil
}
