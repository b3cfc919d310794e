package state

import (
	"fmt"
	"testing"
	"time"
)

func cronJob(name string) CronJob {
	return CronJob{Program: Program{Name: name, Command: []string{"php", name}, User: 1000}, Schedule: "0 3 * * *"}
}

func withCronJobs(jobs ...CronJob) InventoryData {
	d := inventory()
	d.Accounts[0].Services = []Service{{Program: Program{Name: "web", Command: []string{"x"}}}}
	d.Accounts[0].CronJobs = jobs
	return d
}

func TestInventory_cronJobs(t *testing.T) {
	n, _ := running(t)
	n.must(InventoryApply, withCronJobs(cronJob("clean"), cronJob("send")))
	n.same(InventoryApply, withCronJobs(cronJob("clean"), cronJob("send")))
	later := cronJob("send")
	later.Timeout = time.Minute
	n.must(InventoryApply, withCronJobs(cronJob("clean"), later))
	if got := n.view().Account("guestbook").CronJobs; len(got) != 2 || got[1].Timeout != time.Minute || got[1].Schedule != "0 3 * * *" {
		t.Errorf("got %+v", got)
	}
	many := []CronJob{}
	for i := range MaxCronJobs + 1 {
		many = append(many, cronJob(fmt.Sprintf("j%d", i)))
	}
	n.must(InventoryApply, withCronJobs(many[1:]...))
	bad := func(change func(*CronJob)) []CronJob {
		j := cronJob("bad")
		change(&j)
		return []CronJob{cronJob("clean"), j}
	}
	for word, jobs := range map[string][]CronJob{
		"may have 100":                           many,
		"cron job clean has the name of another": {cronJob("clean"), cronJob("clean")},
		"cron job web has the name of another":   {cronJob("web")},
		"has no name":                            {cronJob("")},
		"begins with a letter":                   {cronJob("../a")},
		"bad needs a command and a schedule":     bad(func(j *CronJob) { j.Command = nil }),
		"needs a command and a schedule, and":    bad(func(j *CronJob) { j.Schedule = "" }),
		"and no timeout below zero":              bad(func(j *CronJob) { j.Timeout = -1 }),
	} {
		n.refused(ErrInvalid, word, InventoryApply, withCronJobs(jobs...))
	}
	// The log of an earlier level may hold what nobody looked at then.
	d := withCronJobs()
	d.Accounts[0].Services = append(d.Accounts[0].Services, d.Accounts[0].Services[0])
	n.must(InventoryApply, d)
}

// What cron jobs keep secret is sealed, sealed anew, and kept from losing its key, as that of services.
func TestKeyring_cronJobs(t *testing.T) {
	n, _ := running(t)
	for _, id := range []string{"k1", "k2"} {
		n.must(KeyringSet, KeyringSetData{Key: Key{ID: id, Recipient: "age1" + id, Sealed: []byte("s"), Recipients: []string{"age1c"}}})
	}
	sealed := func(id string) InventoryData {
		j := cronJob("clean")
		j.SealedEnvironment = SealedWith(id, []byte("env"))
		return withCronJobs(j)
	}
	n.refused(ErrConflict, "environment of cron job clean", InventoryApply, sealed("k0"))
	n.must(InventoryApply, sealed("k1"))
	before := n.view().Account("guestbook")
	n.refused(ErrConflict, "environment of cron job clean", KeyringRetire, KeyringRetireData{ID: "k1"})
	n.must(SecretsReseal, SecretsResealData{Items: []ResealItem{{
		Kind: SecretEnvironment, Account: "guestbook", Service: "clean", Old: Sum(SealedWith("k1", []byte("env"))), Sealed: SealedWith("k2", []byte("env")),
	}}})
	if got := SealedTo(n.view().Account("guestbook").CronJobs[0].SealedEnvironment); got != "k2" {
		t.Errorf("sealed to %q, want k2", got)
	}
	if got := SealedTo(before.CronJobs[0].SealedEnvironment); got != "k1" {
		t.Errorf("a row that was read before is sealed to %q now: rows never change in place", got)
	}
	n.must(KeyringRetire, KeyringRetireData{ID: "k1"})
}
