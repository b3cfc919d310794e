package inventory

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"drp/raftstore/state"
	"drp/runbooks/strictyaml"
)

// Format writes objects as Parse reads them, so that what the platform has can be edited and applied again.
func Format(d state.InventoryData) []byte {
	w := &writer{}
	if p := d.Provider; p != nil {
		w.document("provider", p.Name)
		if p.AS != 0 {
			w.line("as: %d", p.AS)
		}
		w.line("prefixes: %s", flow(texts(p.Prefixes)))
	}
	for _, s := range d.Sites {
		w.site(s)
	}
	for _, s := range d.Servers {
		w.document("server", string(s.Name))
		w.line("site: %s", quote(string(s.Site)))
		w.text("rack", s.Rack)
		w.text("power", s.Power)
		w.line("capacity: %s", resources(s.Capacity))
		w.count("backups", s.Backups)
	}
	for _, p := range d.Policies {
		w.document("policy", string(p.Name))
		w.line("schedule: %s", quote(p.Schedule))
		w.text("time_zone", p.TimeZone)
		w.line("replicas: %s", flow(texts(p.Replicas)))
		w.duration("retention", p.Retention)
		w.keep(p.Keep)
		w.duration("rpo", p.RPO)
		w.duration("check_within", p.CheckWithin)
		w.duration("read_within", p.ReadWithin)
		w.duration("prove_within", p.ProveWithin)
	}
	for _, a := range d.Accounts {
		w.account(a)
	}
	return w.Bytes()
}

type writer struct{ bytes.Buffer }

func (w *writer) line(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }

func (w *writer) document(kind, name string) {
	if w.Len() > 0 {
		w.line("---")
	}
	w.line("kind: %s", kind)
	w.line("name: %s", quote(name))
}

func (w *writer) text(field, value string) {
	if value != "" {
		w.line("%s: %s", field, quote(value))
	}
}

func (w *writer) duration(field string, d time.Duration) {
	if d != 0 {
		w.line("%s: %s", field, strictyaml.FormatDuration(d))
	}
}

func (w *writer) count(field string, n int) {
	if n != 0 {
		w.line("%s: %d", field, n)
	}
}

func (w *writer) keep(k *state.Keep) {
	if k == nil {
		return
	}
	w.line("keep:")
	w.count("  daily", k.Daily)
	w.count("  weekly", k.Weekly)
	w.count("  monthly", k.Monthly)
}

func (w *writer) site(s state.Site) {
	w.document("site", string(s.Name))
	if s.Witness {
		w.line("witness: true")
		return
	}
	w.line("gateways: %s", flow(s.Gateways))
	w.count("backups", s.Backups)
	if s.Store == nil {
		return
	}
	w.line("store:")
	w.line("  endpoint: %s", quote(s.Store.Endpoint))
	w.line("  bucket: %s", quote(s.Store.Bucket))
	w.text("  region", s.Store.Region)
}

func (w *writer) account(a state.Account) {
	w.document("account", string(a.Name))
	w.line("plan: %s", resources(a.Plan))
	w.line("tier: %s", quote(string(a.Tier)))
	w.line("policy: %s", quote(string(a.Policy)))
	w.text("site", string(a.Site))
	if len(a.Addresses) > 0 {
		w.line("addresses: %s", flow(texts(a.Addresses)))
	}
	if len(a.Services) > 0 {
		w.line("services:")
	}
	for _, s := range a.Services {
		w.program(s.Program)
		if s.Check != nil {
			w.line("    check:")
			w.line("      http: %s", quote(s.Check.HTTP))
			w.duration("      every", s.Check.Every)
		}
	}
	if len(a.Databases) > 0 {
		w.line("databases:")
	}
	for _, d := range a.Databases {
		w.line("  - {engine: %s, name: %s}", quote(string(d.Engine)), quote(d.Name))
	}
	if len(a.Mailboxes) > 0 {
		w.line("mailboxes:")
	}
	for _, m := range a.Mailboxes {
		w.line("  - {domain: %s, name: %s}", quote(m.Domain), quote(m.Name))
	}
	if len(a.CronJobs) > 0 {
		w.line("cron_jobs:")
	}
	for _, j := range a.CronJobs {
		w.program(j.Program)
		w.line("    schedule: %s", quote(j.Schedule))
		w.text("    time_zone", j.TimeZone)
		w.duration("    timeout", j.Timeout)
	}
}

// program writes the first lines of a service or a cron job.
func (w *writer) program(p state.Program) {
	w.line("  - name: %s", quote(p.Name))
	w.line("    command: %s", flow(p.Command))
	w.line("    user: %d", p.User)
	if len(p.Environment) > 0 {
		w.line("    environment:")
		for _, name := range slices.Sorted(maps.Keys(p.Environment)) {
			w.line("      %s: %s", name, quote(p.Environment[name]))
		}
	}
}

func resources(r state.Resources) string {
	return fmt.Sprintf("{memory: %s, processes: %d, cpu: %s, disk: %s}", strictyaml.FormatSize(r.Memory), r.Processes,
		strconv.FormatFloat(r.CPU, 'f', -1, 64), strictyaml.FormatSize(r.Disk))
}

func texts[T any](list []T) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = fmt.Sprint(v)
	}
	return out
}

func flow(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = quote(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

var (
	plainForm = regexp.MustCompile(`^[a-zA-Z/][a-zA-Z0-9_./-]*$`)
	// What YAML, of one version or another, reads as something else than a text.
	wordForm = regexp.MustCompile(`(?i)^(true|false|yes|no|on|off|null|y|n)$`)
)

// quote writes a text as YAML. A JSON string is one, too.
func quote(s string) string {
	if plainForm.MatchString(s) && !wordForm.MatchString(s) {
		return s
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return strconv.Quote(s)
	}
	return strings.TrimSuffix(b.String(), "\n")
}
