package raftstoretest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"drp/raftstore/state"
)

// replayed is set in the processes that a log is replayed in.
const replayed = "DRP_TEST_REPLAY"

// Other processes, with other seeds of their maps and other numbers of threads, come to the same state by the same log.
func TestReplay_SameDigestInAnyProcess(t *testing.T) {
	if path := os.Getenv(replayed); path != "" {
		fmt.Println("digest:", digestOf(t, path))
		return
	}
	seed := Seed(t)
	path := filepath.Join(t.TempDir(), "log")
	var want string
	synctest.Test(t, func(t *testing.T) {
		c := New(t, Options{Seed: seed})
		var h History
		c.Furnish(&h)
		stop := c.Load(&h, 4, nil)
		time.Sleep(20 * time.Second) // of the bubble's time
		stop()
		c.Do(token("created-when-it-is-applied"))
		c.everyCommand(t)
		c.Agree()
		leader := c.Leader()
		want = leader.Store().View().Digest().String()
		writeLog(t, path, leader.Disk)
	})
	for _, threads := range []string{"1", "2", "4"} {
		child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		child.Env = append(os.Environ(), replayed+"="+path, "GOMAXPROCS="+threads)
		out, err := child.CombinedOutput()
		if err != nil {
			t.Fatalf("replay with %s threads: %v\n%s", threads, err, out)
		}
		if !strings.Contains(string(out), "digest: "+want+"\n") {
			t.Errorf("with %s threads: got %s, want the digest %s", threads, out, want)
		}
	}
}

// everyCommand proposes each command that the log has ever known. Most are refused, which is an answer like any other.
func (c *Cluster) everyCommand(t *testing.T) {
	t.Helper()
	f, err := os.Open("../state/testdata/commands.golden")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for i := 0; lines.Scan(); i++ {
		var cmd state.Command
		if err := json.Unmarshal(lines.Bytes(), &cmd); err != nil {
			t.Fatal(err)
		}
		if cmd.Name == state.ClusterInit || cmd.Name == state.ClusterRecover {
			continue // there is a cluster, and its incarnation is what it is
		}
		cmd.ID = fmt.Sprintf("golden-%d", i)
		c.Do(cmd)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}

func writeLog(t *testing.T, path string, d *Disk) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	indexes, commands := d.Commands()
	for i, data := range commands {
		for line := range bytes.SplitSeq(data, []byte("\n")) { // an entry may hold several
			if _, err := fmt.Fprintf(f, "%d %s\n", indexes[i], line); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func digestOf(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s := state.New()
	for line := range strings.Lines(string(data)) {
		var index uint64
		number, rest, _ := strings.Cut(line, " ")
		if _, err := fmt.Sscan(number, &index); err != nil {
			t.Fatal(err)
		}
		var cmd state.Command
		if err := json.Unmarshal([]byte(rest), &cmd); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Apply(index, cmd); err != nil {
			t.Fatal(err)
		}
	}
	return s.View().Digest().String()
}
