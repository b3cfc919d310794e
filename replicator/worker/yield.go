package worker

import "time"

// All passes are from other sites, and one of those may be so slow that its passes never end: by and by it would hold all the room
// that there is, and the others would have none. So when a site waits from which no pass runs, one from the site with the most makes
// room. What it has copied by then is here, and the next one of that account goes on from there.

const (
	yieldAfter = 2 * time.Minute  // a pass makes room when it has run for so long
	yieldAlone = 30 * time.Minute // and the only one from its site: there are more sites than room
	capFor     = time.Hour        // its site has no more room than that for so long,
	capAlone   = time.Minute      // or none, until whoever waited has begun
	yieldWait  = 10 * time.Second // before it goes on itself, if there is room
)

// pass is one that is under way.
type pass struct {
	from  string
	job   *copyJob
	since time.Time
}

// room is how many passes from a site may run until a time.
type room struct {
	most  int
	until time.Time
}

// running is how many passes are under way, by where they are from.
func (b *board) running() map[string]int {
	running := make(map[string]int)
	for _, p := range b.passing {
		running[p.from]++
	}
	return running
}

// hasRoom reports whether one more pass from a site may begin, as far as that site goes.
func (b *board) hasRoom(from string, running int, now time.Time) bool {
	r, bounded := b.rooms[from]
	return !bounded || !now.Before(r.until) || running < r.most
}

// beginFirst counts the first job that may begin as under way; nil: none may.
func (b *board) beginFirst(due []*copyJob, running map[string]int, now time.Time) *copyJob {
	for _, j := range due {
		_, busy := b.passing[j.want.Account]
		from := j.want.From
		if busy || b.sick[from] && running[from] > 0 || !b.hasRoom(from, running[from], now) || !b.turns.begin(j.want.Account, copying) {
			continue
		}
		b.passing[j.want.Account] = &pass{from, j, now}
		running[from]++
		return j
	}
	return nil
}

// yield chooses the pass that has to make room now, if one has to, and notes when the next one may have to.
func (b *board) yield(now time.Time, limit int) *copyJob {
	b.yieldAt = time.Time{}
	running := b.running()
	if len(b.passing) < limit || !b.keptOut(now, running) {
		return nil
	}
	var longest *pass
	for _, p := range b.passing {
		if p.job.dropped || p.job.yielded {
			return nil // room is being made
		}
		more, same := longest == nil || running[p.from] > running[longest.from], longest != nil && running[p.from] == running[longest.from]
		if more || same && p.since.Before(longest.since) {
			longest = p
		}
	}
	after, bound := yieldAfter, room{running[longest.from] - 1, now.Add(capFor)}
	if bound.most == 0 {
		after, bound.until = yieldAlone, now.Add(capAlone)
	}
	if at := longest.since.Add(after); at.After(now) {
		b.yieldAt = at
		return nil
	}
	b.rooms[longest.from] = bound
	longest.job.yielded = true
	return longest.job
}

// keptOut reports whether a job waits for nothing but room, and none from its site has any.
func (b *board) keptOut(now time.Time, running map[string]int) bool {
	for _, at := range b.order {
		j := b.copies[at]
		if due, ok := j.due(); !ok || due.After(now) || running[at.from] > 0 || b.passing[at.account] != nil || !b.hasRoom(at.from, 0, now) {
			continue
		}
		if b.turns.begin(at.account, copying) {
			b.turns.end(at.account, copying)
			return true
		}
	}
	return false
}
