package state

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestState_Apply_Stops(t *testing.T) {
	tests := []struct {
		name    string
		command Command
		words   string
	}{
		{"unknown command", Command{Name: "account.explode", ID: "x", Data: []byte("{}")}, "this drp is older"},
		{"broken payload", Command{Name: TaskForget, ID: "x", Data: []byte(`{"task":`)}, "decode payload"},
		{"wrong type", Command{Name: TaskForget, ID: "x", Data: []byte(`{"task":5}`)}, "decode payload"},
		{"unknown field", Command{Name: TaskForget, ID: "x", Data: []byte(`{"task":"t","really":true}`)}, `unknown field "really"`},
		{"two values", Command{Name: TaskForget, ID: "x", Data: []byte(`{"task":"t"} {}`)}, "more after the value"},
		{"no id", Command{Name: TaskForget, Data: []byte(`{"task":"t"}`)}, "no id"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			n := newPlatform(t)
			before := persisted(t, n.view())
			_, err := n.state.Apply(n.index+1, test.command)
			if err == nil || !strings.Contains(err.Error(), test.words) {
				t.Errorf("Apply: got %v, want the words %q", err, test.words)
			}
			if err := test.command.Validate(); err == nil || !strings.Contains(err.Error(), test.words) {
				t.Errorf("Validate: got %v, want the words %q", err, test.words)
			}
			if !bytes.Equal(persisted(t, n.view()), before) {
				t.Error("the state changed")
			}
		})
	}
	var unknown *UnknownCommandError
	if _, err := New().Apply(1, tests[0].command); !errors.As(err, &unknown) {
		t.Errorf("got %v, want an UnknownCommandError", err)
	}
}

func TestState_Apply_SameIDAnswersAgain(t *testing.T) {
	n, token := running(t)
	accepted := n.command(AssignmentStop, AssignmentStopData{Account: "guestbook", Token: token})
	first := n.applyCommand(accepted)
	refused := n.command(AssignmentReady, AssignmentReadyData{Account: "static"})
	firstRefused := n.applyCommand(refused)
	assigned := n.command(Assign, AssignData{Account: "static", Server: "par2-s1"})
	firstAssigned := n.applyCommand(assigned)

	check := func(t *testing.T) {
		for _, c := range []struct {
			command Command
			want    Result
		}{{accepted, first}, {refused, firstRefused}, {assigned, firstAssigned}} {
			before := n.content()
			got := n.applyCommand(c.command)
			if diff := cmp.Diff(c.want, got, cmp.Comparer(sameRefusal)); diff != "" {
				t.Errorf("%s again (-want +got):\n%s", c.command.Name, diff)
			}
			if n.content() != before {
				t.Errorf("%s again changed the state", c.command.Name)
			}
			if got, want := n.view().Index(), n.index; got != want {
				t.Errorf("got index %d after a retry, want %d", got, want)
			}
		}
	}
	t.Run("at once", check)
	n.state = restored(t, persisted(t, n.view()))
	t.Run("after a restore", check)

	other := n.command(AssignmentReady, AssignmentReadyData{Account: "guestbook", Token: token})
	other.ID = accepted.ID
	if r := n.applyCommand(other); !errors.Is(r.Err, ErrInvalid) {
		t.Errorf("got %v for an id of another command, want a refusal", r.Err)
	}
}

func sameRefusal(a, b error) bool {
	for _, kind := range kinds {
		if errors.Is(a, kind) != errors.Is(b, kind) {
			return false
		}
	}
	return (a == nil) == (b == nil) && (a == nil || a.Error() == b.Error())
}

func TestState_Apply_ForgetsOldestAnswers(t *testing.T) {
	n := newNode(t)
	n.state.answers = 10
	forget := func(i int) Command {
		return Command{Name: TaskForget, ID: "c" + strconv.Itoa(i), At: epoch, Data: []byte(`{"task":"t"}`)}
	}
	for i := range 15 {
		n.applyCommand(forget(i))
	}
	txn := n.view().txn
	if got := len(appliedTable.list(txn)); got != 10 {
		t.Errorf("got %d answers, want %d", got, 10)
	}
	if got, want := appliedTable.first(txn, "index").ID, "c5"; got != want {
		t.Errorf("got the oldest answer of %s, want %s", got, want)
	}
}

func restored(tb testing.TB, data []byte) *State {
	tb.Helper()
	s, err := Restore(bytes.NewReader(data))
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func TestState_PersistRestore(t *testing.T) {
	n, token, id := backedUp(t)
	n.must(ReplicationRecord, ReplicationRecordData{Account: "guestbook", From: "par1", To: "par2", Snapshots: []SnapshotID{id}})
	n.must(RunCreate, RunCreateData{Run: newRun("run1")})
	n.must(TaskCreate, backupTask("b2", token))
	data := persisted(t, n.view())
	again := restored(t, data)
	if got := persisted(t, again.View()); !bytes.Equal(got, data) {
		t.Errorf("persisted again (-want +got):\n%s", cmp.Diff(string(data), string(got)))
	}
	if got, want := again.View().Index(), n.index; got != want {
		t.Errorf("got index %d, want %d", got, want)
	}

	lines := strings.SplitAfter(string(data), "\n")
	for _, broken := range []struct{ name, data, words string }{
		{"empty", "", "read header"},
		{"newer", strings.Replace(string(data), `{"drp_state":2}`, `{"drp_state":3}`, 1), "format 3 is not known"},
		{"cut at a line", strings.Join(lines[:len(lines)-2], ""), "unexpected EOF"},
		{"cut in a line", string(data[:len(data)/2]), "unexpected EOF"},
		{"a row lost", strings.Replace(string(data), lines[3], "", 1), "rows, want"},
		{"unknown table", strings.Replace(string(data), `{"t":"sites"`, `{"t":"moons"`, 1), `unknown table "moons"`},
		{"row of a newer drp", strings.Replace(string(data), `{"name":"par1"}`, `{"name":"par1","moon":1}`, 1), `unknown field "moon"`},
	} {
		t.Run(broken.name, func(t *testing.T) {
			if _, err := Restore(strings.NewReader(broken.data)); err == nil || !strings.Contains(err.Error(), broken.words) {
				t.Errorf("got %v, want the words %q", err, broken.words)
			}
		})
	}
	if err := n.state.Persist(failingWriter{}); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("got %v from a writer that fails, want its error", err)
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

// BenchmarkState_Persist is for 100,000 accounts, assigned and with a snapshot each.
func BenchmarkState_Persist(b *testing.B) {
	n := newPlatform(b)
	var d InventoryData
	for i := range 100_000 {
		d.Accounts = append(d.Accounts, Account{Name: AccountName("a" + strconv.Itoa(i)), Policy: "hourly", Tier: Gold})
	}
	n.must(InventoryApply, d)
	for i := range d.Accounts {
		n.must(Assign, AssignData{Account: d.Accounts[i].Name, Server: "par1-s1"})
	}
	b.Run("view", func(b *testing.B) {
		for b.Loop() {
			_ = n.state.View()
		}
	})
	b.Run("persist", func(b *testing.B) {
		for b.Loop() {
			if err := n.state.Persist(io.Discard); err != nil {
				b.Fatal(err)
			}
		}
	})
	data := persisted(b, n.view())
	b.Run("restore", func(b *testing.B) {
		for b.Loop() {
			restored(b, data)
		}
	})
}
