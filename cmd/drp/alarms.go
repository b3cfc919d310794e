package main

import (
	"fmt"
	"io"

	"drp/orchestrator"
)

// printAlarms comes before everything else.
func printAlarms(w io.Writer, r *orchestrator.StatusReport) {
	if len(r.Alarms) == 0 {
		return
	}
	fmt.Fprintf(w, "ALARM: look at this first (%d)\n", len(r.Alarms))
	for _, a := range r.Alarms {
		for i, line := range wrap(clean(alarmText(r, a)), tableWidth-4) {
			mark := "!!  "
			if i > 0 {
				mark = "    "
			}
			fmt.Fprintln(w, mark+line)
		}
	}
	fmt.Fprintln(w)
}

func alarmText(r *orchestrator.StatusReport, a orchestrator.Alarm) string {
	text := a.Kind
	if a.Member != "" {
		text += " " + a.Member
	}
	if !a.Since.IsZero() {
		text += ", since " + localTime(a.Since) + " (" + ago(r.At, a.Since) + ")"
	}
	return text + ": " + a.Message
}

// checkStatus is for monitoring: one line for each thing that a person has to look at, and an error when there is one.
func checkStatus(w io.Writer, r *orchestrator.StatusReport, json bool) error {
	type problems struct {
		OK          bool                         `json:"ok"`
		Alarms      []orchestrator.Alarm         `json:"alarms,omitempty"`
		Unprotected []orchestrator.AccountStatus `json:"unprotected,omitempty"`
	}
	p := problems{Alarms: r.Alarms}
	for _, a := range r.Accounts {
		if !a.Protected {
			p.Unprotected = append(p.Unprotected, a)
		}
	}
	p.OK = len(p.Alarms)+len(p.Unprotected) == 0
	switch {
	case json:
		if err := printJSON(w, p); err != nil {
			return err
		}
	case p.OK:
		fmt.Fprintf(w, "ok: no alarms, all accounts protected (%d)\n", len(r.Accounts))
	default:
		for _, a := range p.Alarms {
			fmt.Fprintf(w, "alarm: %s\n", clean(alarmText(r, a)))
		}
		for _, a := range p.Unprotected {
			fmt.Fprintf(w, "unprotected: %s: %s\n", clean(string(a.Account)), clean(a.Why))
		}
	}
	if p.OK {
		return nil
	}
	return fmt.Errorf("alarms: %d; accounts that are not protected: %d of %d", len(p.Alarms), len(p.Unprotected), len(r.Accounts))
}
