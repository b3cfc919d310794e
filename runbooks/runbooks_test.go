package runbooks

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLibrary(t *testing.T) {
	books, err := Library()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, b := range books {
		names = append(names, b.Name)
		t.Run(b.Name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join("library", b.Name+".yaml"))
			if err != nil {
				t.Fatalf("the file's name is not the runbook's: %v", err)
			}
			if got, want := b.Source, string(data); got != want {
				t.Error("Source is not the file")
			}
			if b.Description == "" || b.WithoutDRP == "" {
				t.Error("a runbook that ships says when to use it, and what to do without drp")
			}
			for _, p := range b.Parameters {
				if p.Help == "" {
					t.Errorf("parameter %s has no help", p.Name)
				}
			}
			for _, s := range b.Steps {
				if s.ByHand == "" || s.Title == "" {
					t.Errorf("step %s has no by_hand or no title", s.ID)
				}
			}
			found, err := Lookup(b.Name)
			if err != nil || found.Name != b.Name {
				t.Errorf("Lookup gave %v, %v", found, err)
			}
			page := b.Page()
			if strings.Contains(page, "${") {
				t.Error("the page has a parameter that was not filled in")
			}
			for i, line := range strings.Split(page, "\n") {
				if len([]rune(line)) > 150 {
					t.Errorf("line %d of the page has %d characters", i+1, len([]rune(line)))
				}
			}
		})
	}
	if diff := cmp.Diff([]string{"restore-files", "server-loss", "site-loss"}, names); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestLookup_Unknown(t *testing.T) {
	_, err := Lookup("site-los")
	if !errors.Is(err, ErrUnknown) || err.Error() != `unknown runbook "site-los"; did you mean "site-loss"?` {
		t.Errorf("got %v", err)
	}
}

func TestParse(t *testing.T) {
	const text = `runbook: move
title: An account moves
role: operator
parameters:
  - {name: from, type: site, required: true, help: the old one}
  - {name: folder, type: text, default: www}
steps:
  - {id: ask, type: confirm, timeout: 1d}
  - {id: stop, type: fence, with: {site: "${from}"}}
  - id: give
    type: assign
    title: from ${from}
    with: {site: "${from}"}
    by_hand: |
      Look at ${from}.
`
	got, err := Parse("move.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := &Runbook{
		Name: "move", Title: "An account moves", Role: Operator, Source: text,
		Parameters: []Parameter{{Name: "from", Type: "site", Required: true, Help: "the old one"}, {Name: "folder", Type: "text", Default: "www"}},
		Steps: []Step{
			{ID: "ask", Type: Confirm, Timeout: 24 * time.Hour},
			{ID: "stop", Type: Fence, With: map[string]string{"site": "${from}"}},
			{ID: "give", Type: Assign, Title: "from ${from}", ByHand: "Look at ${from}.", With: map[string]string{"site": "${from}"}},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

var update = flag.Bool("update", false, "write what the errors and pages are now to testdata; read the difference")

// Each case of testdata/errors.txt is a runbook and, after "=>", every error that it gives.
func TestParse_Errors(t *testing.T) {
	file := filepath.Join("testdata", "errors.txt")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const separator = "\n====\n"
	var updated []string
	for _, block := range strings.Split(strings.TrimSuffix(string(data), "\n"), separator) {
		text, golden, found := strings.Cut(block, "\n=>\n")
		if !found {
			t.Fatalf("case without =>: %q", block)
		}
		lines := strings.Split(golden, "\n")
		t.Run(lines[0], func(t *testing.T) {
			_, err := Parse("a.yaml", []byte(text+"\n"))
			var typed Errors
			if !errors.As(err, &typed) {
				t.Fatalf("got %v, want Errors of\n%s", err, text)
			}
			if got := err.Error(); got != golden && !*update {
				t.Errorf("\n%s\ngot:\n%s\nwant:\n%s", text, got, golden)
			}
			updated = append(updated, text+"\n=>\n"+err.Error())
		})
	}
	if *update && !t.Failed() {
		writeFile(t, file, strings.Join(updated, separator)+"\n")
	}
}

func writeFile(t testing.TB, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

const everyType = `runbook: every-type
title: For tests
role: support
parameters:
  - {name: site, type: site}
  - {name: server, type: server}
  - {name: account, type: account, required: true}
  - {name: path, type: path, default: www}
  - {name: at, type: time, default: now}
  - {name: note, type: text}
  - {name: wait, type: duration}
  - {name: sure, type: bool}
steps:
  - {id: restore, type: restore-files, with: {path: "old/${path}"}}
`

func TestRunbook_Bind(t *testing.T) {
	book, err := Parse("a.yaml", []byte(everyType))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 23, 14, 30, 15, 500, time.UTC)
	type values = map[string]string
	for _, test := range []struct {
		name        string
		given, want values
	}{
		{"defaults", values{"account": "a"}, values{"account": "a", "path": "www", "at": "2026-11-23T14:30:16Z"}},
		{"empty is none", values{"account": "a", "path": "", "note": ""}, values{"account": "a", "path": "www", "at": "2026-11-23T14:30:16Z"}},
		{"all", values{"account": "a", "site": "par1", "server": "par1-s1", "path": "./www//images/", "at": "2026-11-23 14:00", "note": "für Frau É", "wait": "90m", "sure": "true"},
			values{"account": "a", "site": "par1", "server": "par1-s1", "path": "www/images", "at": "2026-11-23T14:00:00Z", "note": "für Frau É", "wait": "1h30m", "sure": "true"}},
		{"time with a zone", values{"account": "a", "at": "2026-11-23T14:00:00+01:00"}, values{"account": "a", "path": "www", "at": "2026-11-23T13:00:00Z"}},
		{"time with seconds", values{"account": "a", "at": "2026-11-23 14:00:05"}, values{"account": "a", "path": "www", "at": "2026-11-23T14:00:05Z"}},
		{"time as an age", values{"account": "a", "at": "2h"}, values{"account": "a", "path": "www", "at": "2026-11-23T12:30:16Z"}},
		{"a name with two dots", values{"account": "a", "path": "a..b/..c"}, values{"account": "a", "path": "a..b/..c", "at": "2026-11-23T14:30:16Z"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := book.BindAt(test.given, now)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			again, err := book.BindAt(got, now)
			if diff := cmp.Diff(got, again); diff != "" || err != nil {
				t.Errorf("bound twice: %v (-once +twice)\n%s", err, diff)
			}
		})
	}
	for _, test := range []struct {
		name  string
		given values
		want  string
	}{
		{"missing and unknown", values{"acount": "a"}, `parameter account: is missing; give one of type account
parameter acount: runbook every-type has no such parameter; did you mean "account"?`},
		{"names", values{"account": "A", "site": "par_1", "server": "../x"}, `parameter account: "A" is no valid account name; a name begins with a letter and has up to 32 of a-z, 0-9 and -
parameter server: "../x" is no valid server name; a name begins with a letter and has up to 32 of a-z, 0-9 and -
parameter site: "par_1" is no valid site name; a name begins with a letter and has up to 32 of a-z, 0-9 and -`},
		{"absolute path", values{"account": "a", "path": "/etc"}, `parameter path: the path "/etc" is absolute; write it from the account's home on, as in "www/images"`},
		{"home of somebody", values{"account": "a", "path": "~root"}, `parameter path: the path "~root" is absolute; write it from the account's home on, as in "www/images"`},
		{"path upwards", values{"account": "a", "path": "www/../../b"}, `parameter path: the path "www/../../b" leads upwards; write it from the account's home on, without ".."`},
		{"path with a line break", values{"account": "a", "path": "www\n/x"}, `parameter path: the path has control characters`},
		{"path that is not UTF-8", values{"account": "a", "path": "\xff"}, `parameter path: the path is not UTF-8`},
		{"long path", values{"account": "a", "path": strings.Repeat("x", 5000)}, `parameter path: the path has more than 4096 bytes`},
		{"time", values{"account": "a", "at": "yesterday"}, `parameter at: "yesterday" is no time; write it as in "2026-11-23 14:00" (UTC), "2026-11-23T14:00:00+01:00", or how long ago, as in "2h"`},
		{"time to come", values{"account": "a", "at": "2026-11-23 15:00"}, `parameter at: 2026-11-23T15:00:00Z lies in the future; snapshots are of the past; without a zone, a time is UTC`},
		{"duration, bool and text", values{"account": "a", "wait": "long", "sure": "yes", "note": "a\x1b[2J"}, `parameter note: has control characters
parameter sure: want true or false, got "yes"
parameter wait: "long" is no duration; write a number and a unit, as in "15m"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := book.BindAt(test.given, now)
			var typed ParameterErrors
			if !errors.As(err, &typed) || err.Error() != test.want {
				t.Errorf("got  %v %v\nwant %s", got, err, test.want)
			}
		})
	}
}

func TestRunbook_Arguments(t *testing.T) {
	book, err := Parse("a.yaml", []byte(everyType))
	if err != nil {
		t.Fatal(err)
	}
	bound, err := book.Bind(map[string]string{"account": "a", "path": "www", "at": "2026-11-23 14:00"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := book.Arguments(book.Steps[0], bound)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"account": "a", "path": "old/www", "at": "2026-11-23T14:00:00Z"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	t.Run("put together to lead out", func(t *testing.T) {
		book, err := Parse("a.yaml", []byte(strings.Replace(strings.Replace(everyType, "{name: note", "{name: folder", 1), "old/${path}", "old/${folder}", 1)))
		if err != nil {
			t.Fatal(err)
		}
		_, err = book.Arguments(book.Steps[0], map[string]string{"account": "a", "folder": "../.."})
		want := `step restore of runbook every-type: path: the path "old/../.." leads upwards; write it from the account's home on, without ".."`
		if err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	})
}

func TestRunbook_Page(t *testing.T) {
	book, err := Lookup("restore-files")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", "restore-files.md")
	got := book.PageFor(map[string]string{"account": "guestbook"})
	if *update {
		writeFile(t, file, got)
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(everyType))
	books, err := Library()
	if err != nil {
		f.Fatal(err)
	}
	for _, b := range books {
		f.Add([]byte(b.Source))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		book, err := Parse("a.yaml", data)
		if err != nil {
			return
		}
		bound := map[string]string{}
		for _, p := range book.Parameters {
			bound[p.Name] = "a"
		}
		for _, s := range book.Steps {
			if args, err := book.Arguments(s, bound); err == nil && strings.HasPrefix(args["path"], "..") {
				t.Errorf("step %s got the path %q", s.ID, args["path"])
			}
		}
		_ = book.Page()
	})
}
