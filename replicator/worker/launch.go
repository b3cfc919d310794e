package worker

import "context"

// launch has a job done on a goroutine of its own. When it is over its turn is given back (free), and its end is noted by the loop.
func launch[J, R any](ctx context.Context, r *run, j *upkeepJob[J], do func(context.Context, J) (R, error), free func(J), ended func(J, R, error)) {
	work := j.want
	jobContext, cancel := context.WithCancel(ctx)
	j.cancel = cancel
	r.jobs.Go(func() {
		defer cancel()
		result, err := do(jobContext, work)
		free(work)
		r.ended <- func() { ended(work, result, err) }
	})
}

// takeOver is what is to be done from now on, by name. A job that is the same as before goes on; any other is broken off: what it
// has done by then, the next one finds.
func takeOver[J any](before map[string]*upkeepJob[J], wanted []J, name func(J) string, same func(a, b J) bool) map[string]*upkeepJob[J] {
	jobs := make(map[string]*upkeepJob[J])
	for _, want := range wanted {
		at := name(want)
		if jobs[at] != nil {
			continue
		}
		j := before[at]
		if j == nil || !same(j.want, want) {
			j.drop()
			j = &upkeepJob[J]{want: want}
		}
		jobs[at] = j
	}
	for at, j := range before {
		if jobs[at] == nil {
			j.drop()
		}
	}
	return jobs
}
