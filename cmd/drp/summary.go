package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"drp/orchestrator"
	"drp/raftstore/state"
)

// result is how a run ended for one account.
type result struct {
	account state.AccountName
	server  state.ServerName
	back    bool
	erased  bool // it left for good meanwhile, and was not to come back
	rpo     time.Duration
	rto     time.Duration
	reason  string // when it is not back
}

// summary is how a run ended.
type summary struct {
	run     *state.Run
	results []result // in order of recovery
	waited  time.Duration
}

// summarize reads the accounts' fate out of the steps: the last word on an account counts, and a failure stays one.
func summarize(r *state.Run, notFit []orchestrator.PlanRefusal) summary {
	s := summary{run: r}
	at := map[state.AccountName]int{}
	for i, step := range r.Steps {
		for _, item := range step.Items {
			n, ok := at[item.Account]
			if !ok {
				n = len(s.results)
				at[item.Account] = n
				s.results = append(s.results, result{account: item.Account})
			}
			res := &s.results[n]
			if item.Server != "" {
				res.server = item.Server
			}
			switch {
			case item.Erased:
				res.erased, res.reason = true, item.Message
			case item.Status == state.StepFailed:
				res.back, res.reason = false, item.Message
			case res.reason != "":
			default:
				res.back = item.Status == state.StepDone && lastWithItems(r, i)
				res.rpo, res.rto = item.RPO, item.RTO
			}
		}
	}
	for i := range s.results {
		if res := &s.results[i]; !res.back && res.reason == "" {
			res.reason = "the run ended before it answered"
			if r.Error != "" {
				res.reason = r.Error
			}
		}
	}
	for _, a := range notFit {
		if _, ok := at[a.Account]; !ok {
			s.results = append(s.results, result{account: a.Account, reason: a.Reason})
		}
	}
	if !r.ConfirmedAt.IsZero() {
		s.waited = r.ConfirmedAt.Sub(r.Created)
	}
	return s
}

// lastWithItems reports whether the run has gone through to the end, and step i is the last one that has accounts.
func lastWithItems(r *state.Run, i int) bool {
	for _, s := range r.Steps[i+1:] {
		if len(s.Items) > 0 || s.Status == state.StepPending {
			return false
		}
	}
	return true
}

// missing are the accounts that are not back.
func (s summary) missing() []result {
	var list []result
	for _, r := range s.results {
		if !r.back && !r.erased {
			list = append(list, r)
		}
	}
	return list
}

func (s summary) print(w io.Writer, title string) {
	if len(s.results) > 0 {
		fmt.Fprintln(w)
		t := newTable("ACCOUNT", "SERVER", "RPO", "RTO", "RESULT")
		for _, r := range s.results {
			switch {
			case r.back:
				t.add(string(r.account), or(string(r.server)), short(r.rpo), short(r.rto), "back")
			case r.erased:
				t.add(string(r.account), "-", "-", "-", r.reason)
			default:
				t.add(string(r.account), or(string(r.server)), "-", "-", "not back: "+r.reason)
			}
		}
		t.print(w)
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w, clean(s.line(title)))
}

// line is the last line of the command.
func (s summary) line(title string) string {
	if title == "" {
		title = "run " + string(s.run.ID) + " of " + s.run.Runbook
	}
	if len(s.results) == 0 {
		if s.run.Error != "" {
			return fmt.Sprintf("%s: %s: %s", title, s.run.Status, s.run.Error)
		}
		return fmt.Sprintf("%s: %s", title, s.run.Status)
	}
	var rpo, rto []time.Duration
	for _, r := range s.results {
		if r.back {
			rpo, rto = append(rpo, r.rpo), append(rto, r.rto)
		}
	}
	text := fmt.Sprintf("%s: %s: accounts=%d back=%d", title, s.run.Status, len(s.results), len(rto))
	if erased := len(s.results) - len(s.missing()) - len(rto); erased > 0 {
		text += fmt.Sprintf(" erased=%d", erased)
	}
	if len(rto) > 0 {
		slices.Sort(rto)
		text += fmt.Sprintf(" rpo_max=%s rto_p50=%s rto_max=%s", short(slices.Max(rpo)), short(rto[(len(rto)-1)/2]), short(rto[len(rto)-1]))
	}
	if s.waited > 0 {
		text += " waited_for_confirmation=" + short(s.waited)
	}
	return text
}

// err is nil when everything came back that was to.
func (s summary) err() error {
	missing := s.missing()
	switch {
	case s.run.Status == state.RunCancelled:
		return errRunCancelled
	case len(missing) > 0:
		list := make([]string, len(missing))
		for i, r := range missing {
			list[i] = fmt.Sprintf("%s (%s)", r.account, r.reason)
		}
		return &runError{fmt.Sprintf("run %s: %d of %d accounts did not come back: %s", s.run.ID, len(missing), len(s.results), strings.Join(list, ", "))}
	case s.run.Status != state.RunDone:
		return &runError{fmt.Sprintf("run %s failed: %s", s.run.ID, s.run.Error)}
	}
	return nil
}
