package inventory

import (
	"fmt"

	"drp/raftstore/state"
	"drp/runbooks/strictyaml"
)

// programNames are those of an account's services and cron jobs, and where they stand: each is there once.
type programNames map[string]strictyaml.Position

func (n programNames) take(m strictyaml.Map, name string) bool {
	if first, twice := n[name]; twice && name != "" {
		m.Fail("the name is there twice", "the first is at "+first.String())
		return false
	}
	n[name] = m.At("name")
	return true
}

func programSubject(account strictyaml.Map, what string, v strictyaml.Value) string {
	subject := "account " + account.Peek("name") + ": " + what
	if name := v.Peek("name"); name != "" {
		subject += " " + name
	}
	return subject
}

// cronJobs reads what an account runs at its times.
func (r *reader) cronJobs(v strictyaml.Value, account strictyaml.Map, names programNames) []state.CronJob {
	list, _ := v.List()
	var jobs []state.CronJob
	for i, v := range list {
		if i == state.MaxCronJobs {
			v.Fail(fmt.Sprintf("an account has up to %d cron jobs, and this is one more", state.MaxCronJobs), "have one of them do what several do at the same time")
			break
		}
		m, ok := v.About(programSubject(account, "cron job", v)).Map("name", "schedule", "time_zone", "command", "user", "environment", "timeout")
		if !ok {
			continue
		}
		j := state.CronJob{Program: readProgram(m), TimeZone: m.Text("time_zone"), Timeout: m.Duration("timeout")}
		if m.Require("schedule", `schedule: "0 3 * * *"`) {
			j.Schedule = r.schedule(m, j.TimeZone)
		}
		if names.take(m, j.Name) {
			jobs = append(jobs, j)
		}
	}
	return jobs
}
