package state

import (
	"testing"
	"time"
)

// Which snapshot a failover restores follows from Start. It is not for an agent's clock to choose.
func TestTaskFinish_SnapshotTimesAreWithinTheTask(t *testing.T) {
	for name, clock := range map[string]time.Time{
		"past":   time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC),
		"future": time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
		"none":   {},
	} {
		t.Run(name, func(t *testing.T) {
			n, token, first := backedUp(t)
			n.must(TaskCreate, backupTask("b2", token))
			created := n.view().Task("b2").Created
			n.must(TaskFinish, TaskFinishData{Task: "b2", Snapshot: &Snapshot{ID: snapshotID("b"), Start: clock, Finished: clock.Add(-time.Hour)}})
			recorded := epoch.Add(time.Duration(n.index) * time.Second)
			s := n.view().Snapshot("guestbook", snapshotID("b"))
			if s.Start.Before(created) || s.Finished.Before(s.Start) || s.Finished.After(recorded) {
				t.Errorf("got %s to %s, want it within %s to %s", s.Start, s.Finished, created, recorded)
			}
			n.must(TaskCreate, backupTask("b3", token))
			n.must(TaskFinish, TaskFinishData{Task: "b3", Snapshot: &Snapshot{ID: snapshotID("0")}})
			list := n.view().Snapshots("guestbook")
			if len(list) != 3 || list[0].ID != snapshotID("0") || list[2].ID != first {
				t.Errorf("got %+v, want the newest first", list)
			}
		})
	}
}

func TestServerSeen_ContactInTheFutureIsNotBelieved(t *testing.T) {
	n := newPlatform(t)
	n.must(ServerSeen, ServerSeenData{Server: "par1-s1", Status: Up, LastContact: epoch.Add(time.Hour)})
	now := epoch.Add(time.Duration(n.index) * time.Second)
	if got := n.view().ServerStatus("par1-s1").LastContact; !got.Equal(now) {
		t.Errorf("got a last contact at %s, want %s", got, now)
	}
	// the leader whose clock was an hour ahead is gone
	early := NewCommand(ServerSeen, "early", epoch, "operator/ada", ServerSeenData{Server: "par1-s1", Status: Down, LastContact: epoch.Add(-time.Minute)})
	if r := n.applyCommand(early); r.Err != nil || !r.Changed {
		t.Fatalf("got %+v", r)
	}
	if got := n.view().ServerStatus("par1-s1").LastContact; !got.Equal(epoch) {
		t.Errorf("got a last contact at %s, want it lowered to %s", got, epoch)
	}
}

func TestTaskFinish_SlotInTheFutureIsNotServed(t *testing.T) {
	n, token := running(t)
	// backup made and ended by a leader whose clock is an hour ahead
	ahead := backupTask("b1", token)
	ahead.Task.Due, ahead.Task.Created = epoch.Add(time.Hour), epoch.Add(time.Hour)
	n.applyCommand(NewCommand(TaskCreate, "ahead 1", epoch.Add(time.Hour), "operator/ada", ahead))
	n.applyCommand(NewCommand(TaskFinish, "ahead 2", epoch.Add(time.Hour), "operator/ada", TaskFinishData{Task: "b1", Error: "failed"}))
	if b := n.view().BackupStatus("guestbook"); !b.Due.Equal(epoch.Add(time.Hour)) {
		t.Fatalf("got %+v, want the slot that was served", b)
	}
	// and the next one by one whose clock is right
	n.must(TaskCreate, backupTask("b2", token))
	n.must(TaskFinish, TaskFinishData{Task: "b2", Error: "failed"})
	now := epoch.Add(time.Duration(n.index) * time.Second)
	b := n.view().BackupStatus("guestbook")
	if b.Due.After(now) || b.Started.After(now) || b.Finished.After(now) {
		t.Errorf("got %+v, want nothing after %s", b, now)
	}
	// one that was created ahead and ends under the right clock
	ahead.Task.ID = "b3"
	n.must(TaskCreate, ahead)
	n.must(TaskFinish, TaskFinishData{Task: "b3", Snapshot: &Snapshot{ID: snapshotID("a"), Start: epoch.Add(time.Hour)}})
	now = epoch.Add(time.Duration(n.index) * time.Second)
	b, s := n.view().BackupStatus("guestbook"), n.view().Snapshot("guestbook", snapshotID("a"))
	if b.Due.After(now) || b.Started.After(now) || s.Start.After(now) || s.Finished.After(now) {
		t.Errorf("got %+v and %+v, want nothing after %s", b, s, now)
	}
}
