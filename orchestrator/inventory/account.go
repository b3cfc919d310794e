package inventory

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"drp/orchestrator/schedule"
	"drp/raftstore/state"
	"drp/runbooks/strictyaml"
)

func (r *reader) policy(v strictyaml.Value) {
	m, ok := v.Map("kind", "name", "schedule", "time_zone", "replicas", "retention", "keep", "rpo", "check_within", "read_within", "prove_within")
	if !ok {
		return
	}
	name, at := r.name(m, "policy")
	p := state.Policy{
		Name: state.PolicyName(name), TimeZone: m.Text("time_zone"),
		Retention: m.Duration("retention"), RPO: m.Duration("rpo"),
		CheckWithin: m.Duration("check_within"), ReadWithin: m.Duration("read_within"), ProveWithin: m.Duration("prove_within"),
	}
	if v, ok := m.Field("keep"); ok {
		p.Keep = readKeep(v, m)
	}
	o := origin{at: at}
	if m.Require("schedule", `schedule: "0 3 * * *"`) {
		p.Schedule = r.schedule(m, p.TimeZone)
	}
	if m.Require("replicas", "replicas: [par2]") {
		for _, v := range m.List("replicas") {
			text, ok := v.Text()
			if !ok || !goodName(v, text) {
				continue
			}
			site := state.SiteName(text)
			if slices.Contains(p.Replicas, site) {
				v.Fail(fmt.Sprintf("site %s is there twice", site), "remove one of them")
				continue
			}
			p.Replicas, o.addresses = append(p.Replicas, site), append(o.addresses, v.Position())
		}
	}
	r.doc.Data.Policies = append(r.doc.Data.Policies, p)
	r.doc.policies = append(r.doc.policies, o)
}

// mostKept bounds each count of keep: more than 27 years of days.
const mostKept = 10_000

// readKeep reads what is kept beyond the retention. Without a retention everything is, so that it would say nothing.
func readKeep(v strictyaml.Value, policy strictyaml.Map) *state.Keep {
	m, ok := v.Map("daily", "weekly", "monthly")
	if !ok {
		return nil
	}
	k := state.Keep{Daily: int(m.Int("daily", 1, mostKept)), Weekly: int(m.Int("weekly", 1, mostKept)), Monthly: int(m.Int("monthly", 1, mostKept))}
	switch {
	case !policy.Has("retention"):
		v.Fail("there is no retention, and without one every snapshot is kept for ever", "add retention: 7d, or remove keep")
	case !m.Has("daily") && !m.Has("weekly") && !m.Has("monthly"):
		v.Fail("it keeps nothing", "write it as in {daily: 7, weekly: 4, monthly: 12}, or remove it")
	default:
		return &k
	}
	return nil
}

// schedule reads the line. Which of line and zone is wrong decides the place of the error.
func (r *reader) schedule(m strictyaml.Map, zone string) string {
	v, _ := m.Field("schedule")
	line, ok := v.Text()
	if !ok {
		return ""
	}
	key := [2]string{line, zone}
	err, known := r.schedules[key]
	if !known {
		_, err = schedule.Parse(line, zone)
		r.schedules[key] = err
	}
	var e *schedule.Error
	if !errors.As(err, &e) {
		return line
	}
	if z, ok := m.Field("time_zone"); ok && e.OfZone {
		z.Bare().Fail(fmt.Sprintf("unknown time zone %q", zone), e.Fix)
	} else {
		v.Fail(fmt.Sprintf("%q: %s", line, e.Message), e.Fix)
	}
	return line
}

var tiers = []string{string(state.Gold), string(state.Silver), string(state.Bronze)}

// reservedName is a folder beside the homes of a server.
const reservedName = "aside"

func (r *reader) account(v strictyaml.Value) {
	m, ok := v.Map("kind", "name", "plan", "tier", "policy", "site", "addresses", "services", "databases", "mailboxes", "cron_jobs")
	if !ok {
		return
	}
	name, at := r.name(m, "account")
	if v, ok := m.Field("name"); ok && name == reservedName {
		v.Fail(fmt.Sprintf("account %s: servers keep what they set aside under this name", name), "choose another name")
	}
	a := state.Account{Name: state.AccountName(name), Tier: state.Bronze}
	o := origin{at: at}
	if m.Require("plan", "plan: {memory: 256MiB, processes: 100, cpu: 1, disk: 1GiB}") {
		v, _ := m.Field("plan")
		a.Plan = readResources(v)
	}
	if v, ok := m.Field("tier"); ok {
		if text, ok := v.Text(); ok && !slices.Contains(tiers, text) {
			v.Bare().Fail(fmt.Sprintf("unknown tier %q", text), strictyaml.Hint(text, tiers))
		} else if ok {
			a.Tier = state.Tier(text)
		}
	}
	m.Require("policy", "policy: hourly-two-sites")
	var policy, site string
	policy, o.policy = reference(m, "policy")
	site, o.site = reference(m, "site")
	a.Policy, a.Site = state.PolicyName(policy), state.SiteName(site)
	r.addresses(m, &a, &o)
	names := programNames{}
	if v, ok := m.Field("services"); ok {
		a.Services = readServices(v, m, names)
	}
	if v, ok := m.Field("cron_jobs"); ok {
		a.CronJobs = r.cronJobs(v, m, names)
	}
	r.parts(m, &a, &o)
	r.doc.Data.Accounts = append(r.doc.Data.Accounts, a)
	r.doc.accounts = append(r.doc.accounts, o)
}

// addresses reads an account's addresses; none of them is in the files twice.
func (r *reader) addresses(m strictyaml.Map, a *state.Account, o *origin) {
	v, ok := m.Field("addresses")
	if !ok {
		return
	}
	list, ok := v.List()
	if ok && len(list) == 0 {
		v.Fail("the list is empty", "leave the field out, and an address is allocated")
	}
	for _, v := range list {
		address, ok := readAddress(v)
		if !ok {
			continue
		}
		if first, taken := r.holders[address]; taken {
			v.Fail(fmt.Sprintf("%s is the address of %s too", address, first.subject), "the first is at "+first.at.String())
			continue
		}
		r.holders[address] = holder{"account " + string(a.Name), v.Position()}
		a.Addresses, o.addresses = append(a.Addresses, address), append(o.addresses, v.Position())
	}
}

func readServices(v strictyaml.Value, account strictyaml.Map, names programNames) []state.Service {
	list, _ := v.List()
	var services []state.Service
	for _, v := range list {
		m, ok := v.About(programSubject(account, "service", v)).Map("name", "command", "user", "environment", "check")
		if !ok {
			continue
		}
		s := state.Service{Program: readProgram(m)}
		if v, ok := m.Field("check"); ok {
			s.Check = readCheck(v)
		}
		if names.take(m, s.Name) {
			services = append(services, s)
		}
	}
	return services
}

var variableForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func readProgram(m strictyaml.Map) state.Program {
	var p state.Program
	if m.Require("name", "name: web") {
		v, _ := m.Field("name")
		if text, ok := v.Text(); ok && goodName(v, text) {
			p.Name = text
		}
	}
	if m.Require("command", `command: [php, -S, "[::]:80"]`) {
		v, _ := m.Field("command")
		p.Command = readCommand(v)
	}
	// Required: a forgotten user would be the account's root.
	m.Require("user", "user: 1000")
	p.User = uint32(m.Int("user", 0, 65535))
	if v, ok := m.Field("environment"); ok {
		entries, _ := v.Secret().Entries()
		for _, e := range entries {
			if !variableForm.MatchString(e.Key) {
				e.Fail("this is no name of a variable", "it has letters, digits and _")
				continue
			}
			if text, ok := e.Value.Text(); ok {
				if p.Environment == nil {
					p.Environment = map[string]string{}
				}
				p.Environment[e.Key] = text
			}
		}
	}
	return p
}

func readCommand(v strictyaml.Value) []string {
	list, ok := v.List()
	if !ok {
		return nil
	}
	if len(list) == 0 {
		v.Fail("the command is empty", `write the program and its arguments, such as: [php, -S, "[::]:80"]`)
	}
	var command []string
	for i, v := range list {
		text, ok := v.Text()
		if ok && i == 0 && strings.TrimSpace(text) == "" {
			v.Fail("the program's name is empty", "")
		}
		command = append(command, text)
	}
	return command
}

// readCheck reads how a service shows that it works. The request is made inside of the account, or to its address
// instead of the host: so the host says only that it is the account's own.
func readCheck(v strictyaml.Value) *state.Check {
	m, ok := v.Map("http", "every")
	if !ok {
		return nil
	}
	c := &state.Check{Every: m.Duration("every")}
	if m.Require("http", `http: "http://[::1]:80/health"`) {
		v, _ := m.Field("http")
		c.HTTP = readCheckURL(v)
	}
	if v, ok := m.Field("every"); ok && c.Every > 0 && (c.Every < time.Second || c.Every > time.Hour) {
		v.Fail(fmt.Sprintf("%s is not from 1s to 1h", strictyaml.FormatDuration(c.Every)), "")
	}
	return c
}

func readCheckURL(v strictyaml.Value) string {
	text, ok := v.Text()
	if !ok {
		return ""
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "http" || !goodHost(u, false) || u.User != nil || u.Fragment != "":
		v.Fail(fmt.Sprintf("%q is no http URL", text), `write it as in "http://[::1]:80/health"`)
	case !ownHost(u.Hostname()):
		v.Fail(fmt.Sprintf("the check asks %q, not the account itself", u.Hostname()), `the host is "[::1]" or "localhost"`)
	}
	return text
}

func ownHost(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || (err == nil && a == netip.IPv6Loopback())
}
