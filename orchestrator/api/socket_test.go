package api

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// askSocket names the environment variable that turns this test binary into a client of a socket.
const askSocket = "DRP_TEST_ASK_SOCKET"

func TestMain(m *testing.M) {
	if path := os.Getenv(askSocket); path != "" {
		res, err := newSocketClient(path).Get("http://drp.local/v1/sites")
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Print(res.StatusCode)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func ownUser(t testing.TB) string {
	t.Helper()
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	return u.Username
}

func TestServer_SocketKnowsWhoAsks(t *testing.T) {
	r := newRig(t, "par1-c")
	// A place that any user reaches: the test's own folders are closed to others.
	dir, err := os.MkdirTemp("/tmp", "drp-socket-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "drp.sock")
	l, err := ListenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.nodes[0].server.Serve(ctx, nil, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	client := filepath.Join(dir, "client")
	if err := os.WriteFile(client, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		uid  uint32
		want string
	}{
		{"own user", uint32(os.Getuid()), "200"},
		{"nobody", 65534, "403"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), client)
			cmd.Dir, cmd.Env = dir, []string{askSocket + "=" + path}
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: c.uid, Gid: c.uid, NoSetGroups: c.uid == 0}}
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if got := string(out); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestListenSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "made", "drp.sock")
	first, err := ListenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	first.(*net.UnixListener).SetUnlinkOnClose(false) // as after a kill
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := ListenSocket(path)
	if err != nil {
		t.Fatalf("after a process that left its socket: %v", err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ListenSocket(file); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("where a file lies: got %v, want a refusal", err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("the file is gone: %v", err)
	}
}
