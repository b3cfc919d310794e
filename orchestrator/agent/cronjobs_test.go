package agent

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"drp/orchestrator/inventory"
	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

func cronJob(name, schedule string) state.CronJob {
	return state.CronJob{Program: state.Program{Name: name, Command: []string{"php", name + ".php"}, User: 1000,
		Environment: map[string]string{"KEY": "x"}}, Schedule: schedule, TimeZone: "Europe/Paris", Timeout: time.Hour}
}

func withCronJobs(d wire.DesiredAccount, jobs ...state.CronJob) wire.DesiredAccount {
	d.Account.CronJobs = jobs
	return d
}

func (w *world) cronJobs(account state.AccountName) []state.CronJob {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.containers[account].spec.Account.CronJobs
}

// Whoever edits a cron job does not restart a customer's services.
func TestAgent_cronJobs(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		stop := w.agent()
		defer func() { stop() }()
		w.want(these(withCronJobs(run("shop", 1), cronJob("a", "@daily"))))
		if got := w.cronJobs("shop"); len(got) != 1 || w.told("shop") != "1.1 running" {
			t.Fatalf("%s with %+v", w.told("shop"), got)
		}
		w.happened()
		two := withCronJobs(run("shop", 1), cronJob("a", "@daily"), cronJob("b", "@daily"))
		w.want(these(two))
		if got := w.happened(); !slices.Contains(got, "cron jobs of shop: 2") || slices.Contains(got, "stop shop") {
			t.Errorf("two jobs: %q", got)
		}
		w.want(these(two))
		if got := w.happened(); len(got) != 0 {
			t.Errorf("the same again: %q", got)
		}

		// The agent goes and comes back: the container is told what it missed.
		stop()
		w.want(these(withCronJobs(run("shop", 1), cronJob("b", "@hourly"))))
		stop = w.agent()
		w.settle()
		if got := w.happened(); !slices.Contains(got, "cron jobs of shop: 1") || slices.Contains(got, "stop shop") {
			t.Errorf("after a restart: %q", got)
		}

		// It cannot be told: the account runs, the agent says so and tries again.
		w.mu.Lock()
		w.cronFails = true
		w.mu.Unlock()
		w.want(these(run("shop", 1)))
		if got := w.last().Accounts[0]; got.Phase != wire.Running || got.Message != "no cron" {
			t.Errorf("told %+v", got)
		}
		w.mu.Lock()
		w.cronFails = false
		w.mu.Unlock()
		time.Sleep(lastWait)
		w.settle()
		if got := w.last().Accounts[0]; got.Phase != wire.Running || got.Message != "" || len(w.cronJobs("shop")) != 0 {
			t.Errorf("told %+v, with %+v", got, w.cronJobs("shop"))
		}
	})
}

// A restore that is under way goes on.
func TestAgent_cronJobsChangeDuringARestore(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.agent()()
		w.restores["snap"] = make(chan struct{})
		id := state.SnapshotID("snap")
		order := withCronJobs(run("shop", 1), cronJob("a", "@daily"))
		order.Restore, order.Repository = &id, &wire.RepositoryAccess{}
		w.want(these(order))
		order = withCronJobs(order, cronJob("a", "@daily"), cronJob("b", "@daily"))
		w.want(these(order))
		close(w.restores["snap"])
		w.settle()
		got := w.happened()
		if n := strings.Count(strings.Join(got, "\n"), "restore snap"); n != 1 || w.told("shop") != "1.1 running" || len(w.cronJobs("shop")) != 2 {
			t.Errorf("%s, %d restores, with %+v: %q", w.told("shop"), n, w.cronJobs("shop"), got)
		}
	})
}

// With account.json alone an account can be applied again as it was, to a platform that knows nothing of it.
func TestBackup_recordBringsTheAccountBack(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.agent()()
		order := withCronJobs(run("shop", 1), cronJob("a", "@daily"), cronJob("b", "30 2 * * 1-5"))
		order.Account.Plan = state.Resources{Memory: 1 << 20, Processes: 1, CPU: 1, Disk: 1 << 20}
		order.Account.Tier, order.Account.Policy = state.Gold, "hourly"
		order.Account.Services = []state.Service{{Program: state.Program{Name: "web", Command: []string{"x"}, User: 1000}}}
		order.Account.Mailboxes = []state.Mailbox{{Domain: "example.org", Name: "info"}}
		w.want(these(order))
		w.want(these(order), backupTask("b1", "shop", 1))
		var kept record
		if err := json.Unmarshal([]byte(w.document), &kept); err != nil {
			t.Fatalf("account.json: %v: %s", err, w.document)
		}
		text := inventory.Format(state.InventoryData{Accounts: []state.Account{kept.Account}})
		doc, err := inventory.Parse([]inventory.File{{Name: "a.yaml", Data: text}})
		if err != nil {
			t.Fatalf("%v:\n%s", err, text)
		}
		if diff := cmp.Diff(order.Account, doc.Data.Accounts[0], cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
}
