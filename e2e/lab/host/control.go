package host

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Command is run inside the host by Exec.
type Command struct {
	Args        []string `json:"args"`
	Stdin       []byte   `json:"stdin,omitempty"`
	Environment []string `json:"environment,omitempty"` // added to the host's
}

// Output is how a Command ended.
type Output struct {
	Stdout []byte `json:"stdout"`
	Stderr []byte `json:"stderr"`
	Status int    `json:"status"` // exit status; 128+signal when it was killed
}

func (h *host) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", h.serveStatus)
	mux.HandleFunc("POST /services/{name}/start", func(w http.ResponseWriter, r *http.Request) {
		if s := h.find(w, r.PathValue("name")); s != nil {
			s.Start()
		}
	})
	mux.HandleFunc("POST /services/{name}/stop", func(w http.ResponseWriter, r *http.Request) {
		if s := h.find(w, r.PathValue("name")); s != nil {
			s.Stop()
		}
	})
	mux.HandleFunc("POST /services/{name}/kill", func(w http.ResponseWriter, r *http.Request) {
		if s := h.find(w, r.PathValue("name")); s != nil {
			if err := s.Kill(); err != nil {
				http.Error(w, err.Error(), http.StatusConflict)
			}
		}
	})
	mux.HandleFunc("POST /exec", h.serveExec)
	return mux
}

func (h *host) serveStatus(w http.ResponseWriter, _ *http.Request) {
	list := make([]ServiceStatus, 0, len(h.spec.Services))
	for _, s := range h.spec.Services {
		list = append(list, h.services[s.Name].Status())
	}
	json.NewEncoder(w).Encode(list)
}

func (h *host) serveExec(w http.ResponseWriter, r *http.Request) {
	var c Command
	if err := json.NewDecoder(r.Body).Decode(&c); err != nil || len(c.Args) == 0 {
		http.Error(w, "want a command", http.StatusBadRequest)
		return
	}
	out, err := h.exec(r.Context(), c)
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	json.NewEncoder(w).Encode(out)
}

// exec runs a command to its end, or until nobody waits for it any more.
func (h *host) exec(ctx context.Context, c Command) (*Output, error) {
	var streams [3]*os.File // the child's ends
	var done sync.WaitGroup
	out := new(Output)
	stdin, err := feed(c.Stdin)
	if err != nil {
		return nil, err
	}
	streams[0] = stdin
	defer func() {
		for _, f := range streams {
			if f != nil {
				f.Close()
			}
		}
	}()
	for i, into := range []*[]byte{&out.Stdout, &out.Stderr} {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, fmt.Errorf("make pipe: %w", err)
		}
		streams[i+1] = w
		done.Go(func() {
			defer r.Close()
			var b bytes.Buffer
			io.Copy(&b, r)
			*into = b.Bytes()
		})
	}
	cmd := exec.Command(c.Args[0], c.Args[1:]...)
	cmd.Env = slices.Concat(h.spec.Environment, c.Environment)
	cmd.Dir = "/"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = streams[0], streams[1], streams[2]
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	pid, ended, err := h.children.start(cmd)
	if err != nil {
		return nil, err
	}
	for i, f := range streams {
		f.Close()
		streams[i] = nil
	}
	var status unix.WaitStatus
	select {
	case status = <-ended:
	case <-ctx.Done():
		unix.Kill(-pid, unix.SIGKILL) // its session: what it started goes with it
		status = <-ended
	}
	done.Wait()
	out.Status = status.ExitStatus()
	if status.Signaled() {
		out.Status = 128 + int(status.Signal())
	}
	return out, nil
}

// feed gives data to a command as a file, so that nobody has to copy it through a pipe.
func feed(data []byte) (*os.File, error) {
	if len(data) == 0 {
		f, err := os.Open(os.DevNull)
		if err != nil {
			return nil, fmt.Errorf("open input: %w", err)
		}
		return f, nil
	}
	fd, err := unix.MemfdCreate("stdin", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open input: %w", err)
	}
	f := os.NewFile(uintptr(fd), "stdin")
	if _, err := f.WriteAt(data, 0); err != nil {
		f.Close()
		return nil, fmt.Errorf("write input: %w", err)
	}
	return f, nil
}

// Client talks to a running host through its control socket.
type Client struct{ http *http.Client }

// ErrHost is what a host refused, in its own words.
var ErrHost = errors.New("host refused")

// NewClient makes a client. It dials anew for each request, since a host that boots again has a new socket.
func NewClient(control string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", control)
	}
	return &Client{http: &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// Status lists the host's services in the order of its spec.
func (c *Client) Status(ctx context.Context) ([]ServiceStatus, error) {
	var list []ServiceStatus
	return list, c.do(ctx, http.MethodGet, "/status", nil, &list)
}

// Start, Stop and Kill act on one service. Stop returns when it is gone.
func (c *Client) Start(ctx context.Context, service string) error {
	return c.do(ctx, http.MethodPost, "/services/"+service+"/start", nil, nil)
}

func (c *Client) Stop(ctx context.Context, service string) error {
	return c.do(ctx, http.MethodPost, "/services/"+service+"/stop", nil, nil)
}

func (c *Client) Kill(ctx context.Context, service string) error {
	return c.do(ctx, http.MethodPost, "/services/"+service+"/kill", nil, nil)
}

// Exec runs a command inside the host. It is killed when ctx ends. An exit status other than 0 is no error here.
func (c *Client) Exec(ctx context.Context, command Command) (*Output, error) {
	out := new(Output)
	return out, c.do(ctx, http.MethodPost, "/exec", command, out)
}

func (c *Client) do(ctx context.Context, method, path string, body, into any) error {
	var r io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		r = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://host"+path, r)
	if err != nil {
		return fmt.Errorf("ask host: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("ask host: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return fmt.Errorf("%w: %s", ErrHost, strings.TrimSpace(string(text)))
	}
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("read host's answer: %w", err)
	}
	return nil
}
