package orchestrator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"drp/orchestrator/inventory"
	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

// Cron jobs on their way from the inventory to the server that runs them, over an exchange of the key.
func TestOrchestrator_cronJobs(t *testing.T) {
	c := newCollege(t, "a", "b", "c")
	a := c.lead("a")
	const jobs = `cron_jobs:
  - name: clean
    schedule: "30 2 * * *"
    time_zone: Europe/Paris
    command: [php, clean.php]
    user: 1000
    environment: {SECRET: %q}
    timeout: 1h
`
	apply := func(f *fellow, secret string, changes int) {
		t.Helper()
		text := fmt.Sprintf(accountYAML, "shop", "hunter2") + fmt.Sprintf(jobs, secret)
		got, err := f.Apply(t.Context(), "operator/olga", "", []inventory.File{{Name: "a.yaml", Data: []byte(text)}}, false)
		if err != nil || len(got) != changes {
			t.Fatalf("got %q, %v; want %d changes", got, err, changes)
		}
		if strings.Contains(strings.Join(got, " "), secret) {
			t.Errorf("what changed shows what is in it: %q", got)
		}
	}
	apply(a, "hunter3", 1)
	apply(a, "hunter3", 0)
	apply(a, "hunter4", 1)
	if raw, err := json.Marshal(c.View().Account("shop")); err != nil || bytes.Contains(raw, []byte("hunter")) {
		t.Errorf("the state has it in clear: %s", raw)
	}
	a.createRepository(t.Context(), createRepository{"shop", "par1"})
	c.must(state.Assign, state.AssignData{Account: "shop", Server: "par1-s1"})
	given := func(f *fellow) (wire.AgentDesired, state.CronJob) {
		t.Helper()
		d, err := f.AgentSync(t.Context(), wire.AgentReport{Server: "par1-s1"})
		if err != nil || len(d.Accounts) != 1 || len(d.Accounts[0].Account.CronJobs) != 1 {
			t.Fatalf("got %+v, %v; want the account with its cron job", d, err)
		}
		return d, d.Accounts[0].Account.CronJobs[0]
	}
	first, job := given(a)
	if job.Name != "clean" || job.Schedule != "30 2 * * *" || job.TimeZone != "Europe/Paris" || job.Timeout != time.Hour ||
		job.Environment["SECRET"] != "hunter4" || job.SealedEnvironment != nil || job.Variables != nil {
		t.Errorf("the agent gets %+v", job)
	}
	c.remove("c")
	b := c.lead("b")
	if got, _ := given(b); got.Revision != first.Revision {
		t.Errorf("got revision %d after the exchange, want %d: nothing has changed for the agent", got.Revision, first.Revision)
	}
	c.secretsOpen("b", c.members["b"].identity, map[string]string{
		"the environment of service web of account shop":    `{"SECRET":"hunter2","TZ":"UTC"}`,
		"the environment of cron job clean of account shop": `{"SECRET":"hunter4"}`,
	})

	broken := c.View().Account("shop").WithOwnPrograms()
	broken.CronJobs[0].SealedEnvironment = []byte("not age's")
	c.must(state.InventoryApply, state.InventoryData{Accounts: []state.Account{broken}})
	d, err := b.AgentSync(t.Context(), wire.AgentReport{Server: "par1-s1"})
	if err != nil || len(d.Accounts) != 0 {
		t.Errorf("got %+v, %v; want an account whose secrets do not open left as it is", d.Accounts, err)
	}
	c.must(state.AssignmentStop, state.AssignmentStopData{Account: "shop", Token: c.View().Assignment("shop").Token})
	if d, err = b.AgentSync(t.Context(), wire.AgentReport{Server: "par1-s1"}); err != nil || len(d.Accounts) != 1 || d.Accounts[0].Run {
		t.Errorf("got %+v, %v; want it stopped all the same", d.Accounts, err)
	}
}
