package orchestrator

import (
	"bytes"

	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

// tellMemory is what an agent tells coordinators that have lost theirs.
func (w *world) tellMemory(s state.ServerName, report wire.AgentReport) {
	report.Memory = &wire.Memory{}
	for a, token := range w.seenToken[s] {
		report.Memory.Tokens = append(report.Memory.Tokens, wire.SeenToken{Account: a, Token: token, Stopped: w.stopped[copyOf{s, a, token}]})
	}
	w.seen.agent(report, w.at)
}

// export keeps the state as it is now.
func (w *world) export() {
	var b bytes.Buffer
	if err := w.state.Persist(&b); err != nil {
		w.t.Fatal(err)
	}
	w.highest = max(w.highest, w.view().Cluster().Incarnation)
	w.saved = append(w.saved, b.Bytes())
}

// loseCoordinators ends all of them; what comes back knows one of the exports, perhaps an old one.
func (w *world) loseCoordinators(which int) {
	if len(w.saved) == 0 {
		return
	}
	s, err := state.Restore(bytes.NewReader(w.saved[which]))
	if err != nil {
		w.t.Fatal(err)
	}
	w.note("coordinators lost, export %d of %d", which, len(w.saved))
	w.losses++
	w.state = s
	w.seen.reset()
	w.since = w.at
	w.apply(state.ClusterRecover, state.ClusterRecoverData{UUID: "c", Incarnation: w.highest + 1, How: state.RecoveredExport})
	w.export() // as drp recover resume does before anything is given out
}

// resume is Resume without its proposals' way. A person gives those servers up that cannot be heard, or waits for them.
func (w *world) resume(without bool) {
	if !held(w.view()) {
		return
	}
	request := ResumeRequest{Cluster: "c"}
	n := w.now()
	if without {
		for _, s := range w.servers() {
			if !n.heard(s) {
				request.Without = append(request.Without, s)
			}
		}
	}
	if err := checkResume(n, request); err != nil {
		return
	}
	adopted := adoptions(n)
	for _, a := range append(adopted, lostTrack(n, adopted)...) {
		w.apply(state.AssignmentAdopt, a)
	}
	for _, t := range w.view().Tasks() {
		if t.Status == state.TaskPending {
			w.apply(state.TaskFinish, state.TaskFinishData{Task: t.ID, Error: "lost"})
		}
	}
	for _, r := range w.view().Runs() {
		if r.Status.Ended() {
			continue
		}
		for _, a := range w.view().RunAccounts(r.ID) {
			if a.Status == state.StepPending {
				w.apply(state.RunAccountEnd, state.RunAccountEndData{Run: r.ID, Account: a.Account, Status: state.StepFailed, At: w.at, Message: "lost"})
			}
		}
		w.apply(state.RunUpdate, state.RunUpdateData{Run: r.ID, ExpectStep: r.Step, ExpectStatus: r.Steps[r.Step].Status,
			Status: state.RunFailed, Step: r.Step, Steps: r.Steps})
	}
	w.note("resume without %v", request.Without)
	w.apply(state.ClusterResume, state.ClusterResumeData{Incarnation: n.incarnation()})
	for _, s := range request.Without {
		for a, token := range w.running[s] {
			w.wrong[copyOf{s, a, token}] = true
		}
	}
	w.export()
}
