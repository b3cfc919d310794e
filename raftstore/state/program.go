package state

import (
	"iter"
	"slices"
	"time"
)

// Program is what services and cron jobs have in common. Of an account with cron jobs no two have one name: their logs and
// what is sealed of them are known by it.
type Program struct {
	Name        string            `json:"name"`
	Command     []string          `json:"command"`
	User        uint32            `json:"user"`                  // inside the account
	Environment map[string]string `json:"environment,omitempty"` // as applied; in the log only of those before level 2
	// SealedEnvironment is the environment as a JSON object, sealed to the keyring. Variables are the names in it, sorted.
	SealedEnvironment []byte   `json:"sealed_environment,omitempty"`
	Variables         []string `json:"variables,omitempty"`
}

// Service is a program that an account always runs.
type Service struct {
	Program
	Check *Check `json:"check,omitempty"`
}

// Check says how a service shows that it works.
type Check struct {
	HTTP  string        `json:"http"` // URL as seen inside the account: http://[::1]:80/health
	Every time.Duration `json:"every,omitempty"`
}

// CronJob is a program that an account runs at its times.
type CronJob struct {
	Program
	Schedule string `json:"schedule"`            // as a policy's
	TimeZone string `json:"time_zone,omitempty"` // IANA name; empty: UTC
	// Timeout is how long it may run; zero: for ever.
	Timeout time.Duration `json:"timeout,omitempty"`
}

// Programs are all that an account runs, each with what it is to a person. They are the account's own, not copies.
func (a *Account) Programs() iter.Seq2[string, *Program] {
	return func(yield func(string, *Program) bool) {
		for i := range a.Services {
			if !yield("service", &a.Services[i].Program) {
				return
			}
		}
		for i := range a.CronJobs {
			if !yield("cron job", &a.CronJobs[i].Program) {
				return
			}
		}
	}
}

// WithOwnPrograms is a copy of a row whose programs may be changed.
func (a *Account) WithOwnPrograms() Account {
	own := *a
	own.Services, own.CronJobs = slices.Clone(a.Services), slices.Clone(a.CronJobs)
	return own
}

// MaxCronJobs is how many an account may have.
const MaxCronJobs = 100

// checkPrograms holds what the log and the agents rely on. An account of an earlier level has services alone, and of
// those the log may hold anything.
func (c *change) checkPrograms(a *Account) error {
	names := map[string]bool{}
	for what, p := range a.Programs() {
		if err := c.checkSealed(p.SealedEnvironment, "the environment of "+what+" "+p.Name+" of account "+string(a.Name)); err != nil {
			return err
		}
		if names[p.Name] && len(a.CronJobs) > 0 {
			return refuse(ErrInvalid, "account %s: %s %s has the name of another service or cron job", a.Name, what, p.Name)
		}
		names[p.Name] = true
	}
	if n := len(a.CronJobs); n > MaxCronJobs {
		return refuse(ErrInvalid, "account %s has %d cron jobs, and may have %d", a.Name, n, MaxCronJobs)
	}
	for _, j := range a.CronJobs {
		if err := checkName("cron job", j.Name); err != nil {
			return err
		}
		if len(j.Command) == 0 || j.Schedule == "" || j.Timeout < 0 {
			return refuse(ErrInvalid, "account %s: cron job %s needs a command and a schedule, and no timeout below zero", a.Name, j.Name)
		}
	}
	return nil
}
