package inventory

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"drp/raftstore/state"
)

var _ View = (*state.View)(nil)

// valid is a small platform without fault; what is wrong is put in its place by the tests.
const valid = `kind: provider
name: example
as: 64512
prefixes: ["2001:db8:a::/48", "2001:db8:b::/48"]
---
kind: site
name: par1
gateways: ["https://[2001:db8:f001::30]:7460"]
store: {endpoint: "http://[2001:db8:f001::40]:7480", bucket: drp-par1, region: us-east-1}
---
kind: site
name: par2
gateways: ["https://[2001:db8:f002::30]:7460/"]
store:
  endpoint: https://s3.par2.example
  bucket: drp-par2
backups: 12
---
kind: site
name: par3
witness: true
---
kind: server
name: par1-s1
site: par1
rack: r1
power: a
capacity: {memory: 1.5GiB, processes: 2000, cpu: 1.5, disk: 20GiB}
backups: 3
---
kind: policy
name: hourly-two-sites
schedule: "30 * * * *"
time_zone: Europe/Paris
replicas: [par2]
retention: 7d
keep: {daily: 14, monthly: 12}
rpo: 90m
check_within: 3d
read_within: 20d
prove_within: 2w
---
# The guestbook.
kind: account
name: guestbook
plan: {memory: 256MiB, processes: 100, cpu: 1, disk: 1GiB}
tier: gold
policy: hourly-two-sites
site: par1
addresses: ["2001:db8:a::100", 2001:db8:b::1]
services:
  - name: web
    command: [php, -S, "[::]:80", -t, /home/guestbook/www]
    user: 1000
    environment: {TZ: Europe/Paris, DEBUG: "1"}
    check: {http: "http://[::1]:80/health", every: 5s}
  - name: worker
    command:
      - /usr/bin/php
      - worker.php
    user: 0
databases:
  - {engine: postgresql, name: guestbook}
  - {engine: mariadb, name: Guest_book-2}
mailboxes:
  - {domain: example.org, name: info}
cron_jobs:
  - name: newsletter
    schedule: "30 2 * * mon-fri"
    time_zone: Europe/Paris
    command: [php, /home/guestbook/bin/send.php]
    user: 1000
    environment: {KEY: x}
    timeout: 1h
  - {name: clean, schedule: "@daily", command: [sh, -c, "rm -f tmp/*"], user: 1001}
---
kind: account
name: static
plan: {memory: 64MiB, processes: 20, cpu: 0.25, disk: 100MiB}
policy: hourly-two-sites
`

func want() state.InventoryData {
	return state.InventoryData{
		Provider: &state.Provider{Name: "example", AS: 64512,
			Prefixes: []netip.Prefix{netip.MustParsePrefix("2001:db8:a::/48"), netip.MustParsePrefix("2001:db8:b::/48")}},
		Sites: []state.Site{
			{Name: "par1", Gateways: []string{"https://[2001:db8:f001::30]:7460"},
				Store: &state.Store{Endpoint: "http://[2001:db8:f001::40]:7480", Bucket: "drp-par1", Region: "us-east-1"}},
			{Name: "par2", Gateways: []string{"https://[2001:db8:f002::30]:7460"},
				Store: &state.Store{Endpoint: "https://s3.par2.example", Bucket: "drp-par2"}, Backups: 12},
			{Name: "par3", Witness: true},
		},
		Servers: []state.Server{{Name: "par1-s1", Site: "par1", Rack: "r1", Power: "a",
			Capacity: state.Resources{Memory: 3 << 29, Processes: 2000, CPU: 1.5, Disk: 20 << 30}, Backups: 3}},
		Policies: []state.Policy{{Name: "hourly-two-sites", Schedule: "30 * * * *", TimeZone: "Europe/Paris",
			Replicas: []state.SiteName{"par2"}, Retention: 7 * 24 * time.Hour, RPO: 90 * time.Minute,
			Keep: &state.Keep{Daily: 14, Monthly: 12}, CheckWithin: 3 * 24 * time.Hour, ReadWithin: 20 * 24 * time.Hour, ProveWithin: 14 * 24 * time.Hour}},
		Accounts: []state.Account{
			{Name: "guestbook", Plan: state.Resources{Memory: 256 << 20, Processes: 100, CPU: 1, Disk: 1 << 30}, Tier: state.Gold,
				Policy: "hourly-two-sites", Site: "par1",
				Addresses: []netip.Addr{netip.MustParseAddr("2001:db8:a::100"), netip.MustParseAddr("2001:db8:b::1")},
				Services: []state.Service{
					{Program: state.Program{Name: "web", Command: []string{"php", "-S", "[::]:80", "-t", "/home/guestbook/www"}, User: 1000,
						Environment: map[string]string{"TZ": "Europe/Paris", "DEBUG": "1"}},
						Check: &state.Check{HTTP: "http://[::1]:80/health", Every: 5 * time.Second}},
					{Program: state.Program{Name: "worker", Command: []string{"/usr/bin/php", "worker.php"}}},
				},
				Databases: []state.Database{{Engine: state.PostgreSQL, Name: "guestbook"}, {Engine: state.MariaDB, Name: "Guest_book-2"}},
				Mailboxes: []state.Mailbox{{Domain: "example.org", Name: "info"}},
				CronJobs: []state.CronJob{
					{Program: state.Program{Name: "newsletter", Command: []string{"php", "/home/guestbook/bin/send.php"}, User: 1000,
						Environment: map[string]string{"KEY": "x"}}, Schedule: "30 2 * * mon-fri", TimeZone: "Europe/Paris", Timeout: time.Hour},
					{Program: state.Program{Name: "clean", Command: []string{"sh", "-c", "rm -f tmp/*"}, User: 1001}, Schedule: "@daily"},
				}},
			{Name: "static", Plan: state.Resources{Memory: 64 << 20, Processes: 20, CPU: 0.25, Disk: 100 << 20},
				Tier: state.Bronze, Policy: "hourly-two-sites"},
		},
	}
}

func same(t testing.TB, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func parse(t testing.TB, text string) *Document {
	t.Helper()
	doc, err := Parse([]File{{"a.yaml", []byte(text)}})
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestParse(t *testing.T) {
	for name, text := range map[string]string{
		"as it is":          valid,
		"CRLF":              strings.ReplaceAll(valid, "\n", "\r\n"),
		"byte order mark":   "\ufeff" + valid,
		"without final end": strings.TrimSuffix(valid, "\n"),
		"empty documents":   "---\n---\n# nothing\n---\n" + strings.ReplaceAll(valid, "---\n", "...\n---\n---\n") + "---\n...\n",
	} {
		t.Run(name, func(t *testing.T) {
			doc := parse(t, text)
			same(t, doc.Data, want())
			if err := Check(doc, Known{}); err != nil {
				t.Error(err)
			}
		})
	}
}

var update = flag.Bool("update", false, "write what the errors are now to testdata/errors.txt; read the difference")

// Each case of testdata/errors.txt is a piece of YAML and, after "=>", every error that it gives. A case that begins with
// "+" is put behind the valid platform, so that only what it says itself is wrong.
func TestParse_Errors(t *testing.T) {
	file := filepath.Join("testdata", "errors.txt")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const separator = "\n====\n"
	var updated []string
	for _, block := range strings.Split(strings.TrimSuffix(string(data), "\n"), separator) {
		input, golden, found := strings.Cut(block, "\n=>\n")
		if !found {
			t.Fatalf("case without =>: %q", block)
		}
		text, onTop := strings.CutPrefix(input, "+\n")
		text = strings.ReplaceAll(text, "<TAB>", "\t")
		t.Run(firstLines(text), func(t *testing.T) {
			files := []File{{"a.yaml", []byte(text + "\n")}}
			if onTop {
				files = append([]File{{"valid.yaml", []byte(valid)}}, files...)
			}
			doc, err := Parse(files)
			if err == nil {
				err = Check(doc, Known{})
			}
			var typed Errors
			if !errors.As(err, &typed) {
				t.Fatalf("got %v, want Errors", err)
			}
			if got := err.Error(); got != golden && !*update {
				t.Errorf("\n%s\ngot:\n%s\nwant:\n%s", text, got, golden)
			}
			updated = append(updated, input+"\n=>\n"+err.Error())
		})
	}
	if *update && !t.Failed() {
		if err := os.WriteFile(file, []byte(strings.Join(updated, separator)+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// More databases and mailboxes than a snapshot's record holds would never count as held.
func TestParse_TooManyParts(t *testing.T) {
	text := "kind: account\nname: a\nplan: {memory: 1MiB, processes: 1, cpu: 1, disk: 1MiB}\npolicy: hourly-two-sites\ndatabases:\n"
	for n := range state.MaxParts {
		text += fmt.Sprintf("  - {engine: mariadb, name: d%d}\n", n)
	}
	parse := func(more string) string {
		_, err := Parse([]File{{"valid.yaml", []byte(valid)}, {"a.yaml", []byte(text + more)}})
		if err == nil {
			return ""
		}
		return err.Error()
	}
	if got := parse(""); got != "" {
		t.Errorf("%d databases: %s", state.MaxParts, got)
	}
	want := "a.yaml:1007:5: account a: mailboxes: an account has up to 1000 databases and mailboxes, and this is one more; give the rest to another account"
	if got := parse("mailboxes:\n  - {domain: example.org, name: a}\n  - {domain: example.org, name: b}\n"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestParse_TooManyCronJobs(t *testing.T) {
	text := "kind: account\nname: a\nplan: {memory: 1MiB, processes: 1, cpu: 1, disk: 1MiB}\npolicy: hourly-two-sites\ncron_jobs:\n"
	for n := range state.MaxCronJobs + 2 {
		text += fmt.Sprintf("  - {name: j%d, schedule: '@daily', command: [x], user: 1}\n", n)
	}
	_, err := Parse([]File{{"valid.yaml", []byte(valid)}, {"a.yaml", []byte(text)}})
	want := "a.yaml:106:5: account a: cron_jobs: an account has up to 100 cron jobs, and this is one more; have one of them do what several do at the same time"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func firstLines(text string) string {
	lines := strings.Split(text, "\n")
	return strings.Join(lines[:min(3, len(lines))], " ")
}

// What is wrong with an environment is named by its place: its values are secrets, and an answer ends in transcripts.
func TestParse_secretEnvironment(t *testing.T) {
	const secret = "817263544536271819"
	for _, environment := range []string{
		"{PASSWORD: " + secret + "}",
		"{PASSWORD: " + secret + ".5}",
		"{PASSWORD: [" + secret + "]}",
		"PASSWORD=" + secret,
		secret,
		"[" + secret + "]",
		"{PASSWORD: @" + secret + "}",
		"\n      PASSWORD: @" + secret,
		"\n      PASSWORD: !" + secret,
		"\n      PASSWORD: &" + secret,
		"\n      PASSWORD: \"" + secret,
		"\n      PASSWORD: \"\\q" + secret + "\"",
		"\n      PASSWORD: " + secret + "\n      PASSWORD: \"" + secret + "\"",
	} {
		for _, field := range []string{"services", "cron_jobs"} {
			text := "kind: account\nname: guestbook\n" + field + ":\n  - name: web\n    command: [x]\n    user: 1000\n    environment: " + environment + "\n"
			_, err := Parse([]File{{Name: "a.yaml", Data: []byte(text)}})
			if err == nil || !strings.Contains(err.Error(), "a.yaml:") {
				t.Errorf("%s: %s: got %v, want its place", field, environment, err)
			} else if strings.Contains(err.Error(), secret[:9]) {
				t.Errorf("%s: %s: got %v, which shows the value", field, environment, err)
			}
		}
	}
}

func TestCheck(t *testing.T) {
	known := func() Known {
		d := want()
		k := Known{}.with(&d)
		k.Erased = map[state.AccountName]*state.Erasure{"gone": {Account: "gone", Begun: time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)}}
		return k
	}
	account := func(name, more string) string {
		return "kind: account\nname: " + name + "\nplan: {memory: 1MiB, processes: 1, cpu: 1, disk: 1MiB}\npolicy: hourly-two-sites\n" + more + "---\n"
	}
	for _, test := range []struct{ name, text, want string }{
		{"what is known can be referred to", account("b", "site: par2\naddresses: [2001:db8:a::5]\n"), ""},
		{"the name of one that was erased", account("gone", ""),
			"a.yaml:2:7: account gone: it is erased since 2026-03-01 03:00, and its name is never used again; take another name"},
		{"an unknown policy", strings.Replace(account("b", ""), "hourly", "yearly", 1),
			`a.yaml:4:9: account b: unknown policy "yearly-two-sites"; did you mean "hourly-two-sites"?`},
		{"a database of another account", account("b", "databases: [{engine: mariadb, name: guestbook}, {engine: postgresql, name: guestbook}]\n"),
			"a.yaml:5:49: account b: postgresql/guestbook belongs to account guestbook; choose another name: any two accounts may come to share a server"},
		{"a database changes hands", account("guestbook", "") + account("b", "databases: [{engine: postgresql, name: guestbook}]\n"), ""},
		{"a mailbox of another account", account("b", "mailboxes: [{domain: example.org, name: info}]\n"),
			"a.yaml:5:13: account b: mails/example.org/info belongs to account guestbook; choose another name: any two accounts may come to share a server"},
		{"an address of another account", account("b", "addresses: [2001:db8:a::100]\n"),
			"a.yaml:5:13: account b: addresses: 2001:db8:a::100 is the address of account guestbook; take another one, or leave the field out, and one is allocated"},
		{"an account keeps its address", account("guestbook", "addresses: [2001:db8:a::100]\n"), ""},
		{"an address changes hands", account("guestbook", "addresses: [2001:db8:a::7]\n") + account("b", "addresses: [2001:db8:a::100]\n"), ""},
		{"an account that names no address keeps its own", account("guestbook", "") + account("b", "addresses: [2001:db8:a::100]\n"),
			"a.yaml:10:13: account b: addresses: 2001:db8:a::100 is the address of account guestbook; take another one, or leave the field out, and one is allocated"},
		{"an address outside of the prefixes", account("b", "addresses: [2001:db8:c::1]\n"),
			"a.yaml:5:13: account b: addresses: 2001:db8:c::1 lies outside of the provider's prefixes; take one from 2001:db8:a::/48, 2001:db8:b::/48"},
		{"a prefix that is in use is taken away", "kind: provider\nname: example\nprefixes: [\"2001:db8:a::/48\"]\n",
			"a.yaml:2:7: provider example: no prefix covers 2001:db8:b::1 of account guestbook any more; keep the prefix, or give the account another address in the same apply"},
		{"a prefix is taken away and the account moved", "kind: provider\nname: example\nprefixes: [\"2001:db8:a::/48\"]\n---\n" + account("guestbook", "addresses: [2001:db8:a::100]\n"), ""},
		{"a site with servers becomes a witness", "kind: site\nname: par1\nwitness: true\n",
			"a.yaml:3:10: site par1: cannot be a witness, server par1-s1 is there"},
		{"a site with copies becomes a witness", "kind: site\nname: par2\nwitness: true\n",
			"a.yaml:3:10: site par2: cannot be a witness, policy hourly-two-sites keeps copies there"},
		{"replicas at a witness, and nowhere", "kind: policy\nname: p\nschedule: \"@hourly\"\nreplicas: [par3, par9]\n",
			"a.yaml:4:12: policy p: site par3 is a witness; it has neither servers nor a store; name another site\n" +
				`a.yaml:4:18: policy p: unknown site "par9"; did you mean "par1"?`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := ""
			if err := Check(parse(t, test.text), known()); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
	t.Run("no provider", func(t *testing.T) {
		k := known()
		k.Provider = nil
		err := Check(parse(t, account("b", "")+account("c", "")), k)
		want := `a.yaml:2:7: account b: there is no provider yet, whose prefixes hold the accounts' addresses; add a document "kind: provider"`
		if err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	})
}

func TestAllocate(t *testing.T) {
	text := valid + "---\n" + strings.ReplaceAll("kind: account\nname: x\nplan: {memory: 1MiB, processes: 1, cpu: 1, disk: 1MiB}\npolicy: hourly-two-sites\n", "x\n", "b\n")
	text = strings.Replace(text, `"2001:db8:a::/48", "2001:db8:b::/48"`, `"2001:db8:a::/119", "2001:db8:b::/48"`, 1) // 512 addresses
	text = strings.Replace(text, "2001:db8:a::100", "2001:db8:a::101", 1)
	doc := parse(t, text)
	if err := Allocate(doc, Known{}); err != nil {
		t.Fatal(err)
	}
	got := []netip.Addr{doc.Data.Accounts[1].Addresses[0], doc.Data.Accounts[2].Addresses[0]}
	same(t, got, []netip.Addr{netip.MustParseAddr("2001:db8:a::100"), netip.MustParseAddr("2001:db8:a::102")})

	again := parse(t, text)
	if err := Allocate(again, Known{}.with(&doc.Data)); err != nil {
		t.Fatal(err)
	}
	same(t, again.Data, doc.Data)

	t.Run("no room", func(t *testing.T) {
		doc := parse(t, strings.Replace(text, `"2001:db8:a::/119", "2001:db8:b::/48"`, `"2001:db8:a::/120"`, 1))
		err := Allocate(doc, Known{})
		want := "a.yaml:78:7: account static: the provider's prefixes have no free address; add a prefix to the provider"
		if err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	})
}

func TestFormat_RoundTrip(t *testing.T) {
	d := want()
	d.Accounts[0].Services[0].Environment["QUOTES"] = "a: \"b\" # c\n\t\\ \u2028 é 😀 <&> "
	d.Accounts[0].Services[0].Environment["on"] = ""
	d.Accounts[0].Services[1].Command = []string{"true", "yes", "12", "-", "*x", "", "null", "0x1f", "~", "a b", " a", "!x", "@x", "---", "..."}
	text := Format(d)
	got := parse(t, string(text))
	same(t, got.Data, d)
	if again := Format(got.Data); string(again) != string(text) {
		t.Errorf("the second text differs from the first:\n%s\n%s", again, text)
	}
}

func TestParse_Large(t *testing.T) {
	var b strings.Builder
	b.WriteString(valid)
	const accounts = 4_000
	for i := range accounts {
		b.WriteString(strings.ReplaceAll("---\nkind: account\nname: accountN\nplan: {memory: 256MiB, processes: 100, cpu: 1, disk: 1GiB}\npolicy: hourly-two-sites\nservices:\n  - name: web\n    command: [php]\n    user: 1000\n", "N", strconv.Itoa(i)))
	}
	doc := parse(t, b.String())
	if err := Check(doc, Known{}); err != nil {
		t.Fatal(err)
	}
	if err := Allocate(doc, Known{}); err != nil {
		t.Fatal(err)
	}
	if got, want := len(doc.Data.Accounts), accounts+2; got != want {
		t.Errorf("got %d accounts, want %d", got, want)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(valid))
	data, err := os.ReadFile(filepath.Join("testdata", "errors.txt"))
	if err != nil {
		f.Fatal(err)
	}
	for _, block := range strings.Split(string(data), "\n====\n") {
		text, _, _ := strings.Cut(block, "\n=>\n")
		f.Add([]byte(strings.TrimPrefix(text, "+\n")))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		doc, err := Parse([]File{{"a.yaml", data}})
		if err != nil {
			for _, e := range err.(Errors) {
				if e.Line < 1 || e.Column < 1 || e.Message == "" || e.Line > strings.Count(string(data), "\n")+2 {
					t.Errorf("error without a place: %+v", e)
				}
			}
			return
		}
		text := Format(doc.Data)
		again, err := Parse([]File{{"b.yaml", text}})
		if err != nil {
			t.Fatalf("%s\ncannot be read back: %v", text, err)
		}
		same(t, again.Data, doc.Data)
	})
}
