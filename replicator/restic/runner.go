// Package restic drives the restic child process: credentials by memory files, output line by line, exit codes as
// typed errors, an end that is asked for before it is forced, and a deadline of our own.
package restic

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"syscall"
	"time"
)

// Runner starts restic. The zero values of all fields but Binary work. It is safe for concurrent use.
type Runner struct {
	Binary string
	// Env is added to the environment, which holds nothing of our own: GOMAXPROCS=1, TMPDIR=….
	Env []string
	// Command makes the child where something else than exec.Command is wanted: a user namespace in SysProcAttr, a
	// working directory. It has to use exec.CommandContext with ctx. Env, Stdin, Stdout, Stderr, Cancel and WaitDelay are
	// set afterwards; ExtraFiles are kept.
	Command func(ctx context.Context, binary string, args ...string) *exec.Cmd
	// Quick limits init, cat, snapshots and unlock (default 2 min); Limit limits backup, restore and check (default 12 h).
	// restic itself retries a dead endpoint for 15 minutes.
	Quick, Limit time.Duration
	// Grace is how long a child may take from SIGTERM, at which it removes its lock, to SIGKILL (default 20 s).
	Grace time.Duration
	Log   *slog.Logger
}

// Repository says where a repository lies and what opens it.
type Repository struct {
	URL      string // rest:https://…/, s3:http://host:port/bucket/prefix, or a directory
	Password string

	// For rest: the authority that the server's certificate must chain to, and our certificate and key. PEM.
	Authority, Certificate, Key []byte

	// For s3.
	AccessKey, SecretKey, Region string

	// Cache is a directory of this repository *in this store* alone: a copied repository has the same id, and with a
	// shared cache it looks whole when it is not. Empty: no cache.
	Cache string
}

// String keeps the secrets out of logs and messages.
func (r Repository) String() string { return r.URL }

// GoString keeps them out of %#v as well.
func (r Repository) GoString() string { return fmt.Sprintf("restic.Repository{%q}", r.URL) }

// LogValue keeps them out of slog.
func (r Repository) LogValue() slog.Value { return slog.StringValue(r.URL) }

// call is one run of restic.
type call struct {
	verb  string
	args  []string // after the verb
	dir   string   // working directory; empty: as Command made it
	limit time.Duration
	line  func(line []byte) // each line of stdout
	long  int               // longest line that line wants; 0: 1 MiB

	newPassword string // of key add; empty: none
}

// run returns what stderr said, and an *Error unless the exit code was 0.
func (r *Runner) run(ctx context.Context, repo Repository, c call) (*stderr, error) {
	ctx, cancel := context.WithTimeout(ctx, c.limit)
	defer cancel()

	args := []string{"--json"}
	if repo.Cache != "" {
		args = append(args, "--cache-dir="+repo.Cache)
	} else {
		args = append(args, "--no-cache")
	}
	args = append(append(args, c.verb), c.args...)

	command := r.Command
	if command == nil {
		command = exec.CommandContext
	}
	cmd := command(ctx, r.Binary, args...)
	said := &stderr{}
	refuse := func(err error) (*stderr, error) {
		return said, &Error{Verb: c.verb, Code: -1, Class: ErrFailed, Cause: err}
	}

	held := &secrets{first: 3 + len(cmd.ExtraFiles)}
	defer held.close()
	env, err := environment(repo, held)
	if err != nil {
		return refuse(err)
	}
	cmd.Env = append(env, r.Env...)
	if c.newPassword != "" {
		path, err := held.add("new-password", []byte(c.newPassword))
		if err != nil {
			return refuse(err)
		}
		cmd.Args = append(cmd.Args, "--new-password-file="+path)
	}
	cmd.ExtraFiles = append(cmd.ExtraFiles, held.files...)
	if c.dir != "" {
		cmd.Dir = c.dir
	}
	out, errs := &lines{each: func([]byte) {}, max: cmp.Or(c.long, 1<<20)}, &lines{each: said.line, max: 1 << 20}
	if c.line != nil {
		out.each = c.line
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = nil, out, errs

	// Once ctx ends, Wait asks the child to end, and forces it after WaitDelay.
	if cmd.Cancel == nil {
		return refuse(errors.New("command hook: made without exec.CommandContext"))
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = cmp.Or(r.Grace, 20*time.Second)
	started := time.Now()
	if err := cmd.Start(); err != nil {
		return refuse(err)
	}
	waitErr := cmd.Wait()
	out.flush()
	errs.flush()

	code := -1
	if cmd.ProcessState != nil {
		code = cmd.ProcessState.ExitCode() // −1 after a signal
	}
	r.log().Debug("restic ended", "verb", c.verb, "repository", repo, "code", code, "took", time.Since(started))
	if code == 0 {
		return said, nil // also when ctx ended at that very moment: what was done is done
	}
	e := &Error{Verb: c.verb, Code: code, Class: classOf(code), Message: said.last, Tail: said.text()}
	switch {
	// The others tell what it had found before. A search for the key that was broken off has found none, and says so.
	case ctx.Err() != nil && (code < 0 || code == 1 || code == 12 || code == 130):
		e.Class, e.Cause = ErrCancelled, ctx.Err()
	case code < 0:
		e.Cause = waitErr
	}
	return said, e
}

// environment is all that the child gets: no variable of ours leaks into it, and no secret is in it.
func environment(repo Repository, held *secrets) ([]string, error) {
	env := []string{
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/nonexistent",
		"TZ=UTC",
		"RESTIC_PROGRESS_FPS=1",
		"RESTIC_REPOSITORY=" + repo.URL,
	}
	add := func(variable, name string, content []byte) error {
		path, err := held.add(name, content)
		if err == nil {
			env = append(env, variable+"="+path)
		}
		return err
	}
	if err := add("RESTIC_PASSWORD_FILE", "password", []byte(repo.Password)); err != nil {
		return nil, err
	}
	if len(repo.Authority) > 0 {
		if err := add("RESTIC_CACERT", "authority", repo.Authority); err != nil {
			return nil, err
		}
	}
	if len(repo.Certificate) > 0 {
		pem := append(append(append([]byte{}, repo.Certificate...), '\n'), repo.Key...)
		if err := add("RESTIC_TLS_CLIENT_CERT", "certificate", pem); err != nil {
			return nil, err
		}
	}
	if repo.AccessKey != "" {
		file := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", repo.AccessKey, repo.SecretKey)
		if err := add("AWS_SHARED_CREDENTIALS_FILE", "store", []byte(file)); err != nil {
			return nil, err
		}
	}
	if repo.Region != "" {
		env = append(env, "AWS_DEFAULT_REGION="+repo.Region)
	}
	return env, nil
}

func (r *Runner) log() *slog.Logger {
	if r.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return r.Log
}
