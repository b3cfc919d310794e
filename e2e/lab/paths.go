package lab

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// paths names everything in the state directory.
type paths struct{ state string }

func (p paths) bin() string                 { return filepath.Join(p.state, "bin") }
func (p paths) binary() string              { return filepath.Join(p.bin(), "drp") }
func (p paths) logs() string                { return filepath.Join(p.state, "logs") }
func (p paths) run() string                 { return filepath.Join(p.state, "run") }
func (p paths) hosts() string               { return filepath.Join(p.state, "hosts") }
func (p paths) host(name string) string     { return filepath.Join(p.hosts(), name) }
func (p paths) etc(name string) string      { return filepath.Join(p.host(name), "etc") }
func (p paths) data(name string) string     { return filepath.Join(p.host(name), "data") }
func (p paths) coordinator(n string) string { return filepath.Join(p.data(n), "server") }
func (p paths) image(name string) string    { return filepath.Join(p.host(name), "homes.img") }
func (p paths) spec(name string) string     { return filepath.Join(p.host(name), "host.json") }
func (p paths) root(name string) string     { return filepath.Join(p.host(name), "root") }
func (p paths) control(name string) string  { return filepath.Join(p.run(), name+".sock") }
func (p paths) dev() string                 { return filepath.Join(p.run(), "dev.sock") }
func (p paths) api(name string) string      { return filepath.Join(p.run(), "drp-"+name+".sock") }
func (p paths) provisioned(n string) string { return filepath.Join(p.host(n), "provisioned") }
func (p paths) keys() string                { return filepath.Join(p.state, "keys") }
func (p paths) platform() string            { return filepath.Join(p.state, "platform.yaml") }
func (p paths) marker() string              { return filepath.Join(p.state, ".drp-dev") }
func (p paths) hostSocket(n string) string  { return filepath.Join(p.root(n), hostRun, "server.sock") }
func (p paths) home(n, acc string) string   { return filepath.Join(p.root(n), homes, acc, "home") }
func (p paths) serviceLog(n, s string) string {
	return filepath.Join(p.logs(), n+"-"+s+".log")
}

// make creates the state directory. It refuses one that holds anything that is not the lab's.
func (p paths) make(hosts []Host) error {
	entries, err := os.ReadDir(p.state)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read state directory: %w", err)
	}
	if _, err := os.Stat(p.marker()); err != nil && len(entries) > 0 {
		return fmt.Errorf("the state directory %s holds other files; give an empty or a new one with --state", p.state)
	}
	if err := os.MkdirAll(p.state, 0o755); err != nil {
		return fmt.Errorf("make state directory: %w", err)
	}
	if err := os.WriteFile(p.marker(), []byte("This directory is made and removed by drp dev.\n"), 0o644); err != nil {
		return fmt.Errorf("mark state directory: %w", err)
	}
	for _, dir := range []string{p.bin(), p.logs(), p.run(), p.hosts()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make state directory: %w", err)
		}
	}
	if err := os.MkdirAll(p.keys(), 0o700); err != nil {
		return fmt.Errorf("make state directory: %w", err)
	}
	for _, h := range hosts {
		for _, dir := range []string{p.etc(h.Name), p.data(h.Name)} {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return fmt.Errorf("make disks of %s: %w", h.Name, err)
			}
		}
	}
	return nil
}

// remove deletes the directory that make marked, with whatever is in it by now. With keepLogs the logs stay, and the
// mark, so that the next start may remove them.
func (p paths) remove(keepLogs bool) error {
	if _, err := os.Stat(p.marker()); err != nil {
		return nil // not ours, or gone
	}
	entries, err := os.ReadDir(p.state)
	if err != nil {
		return fmt.Errorf("read state directory: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(p.state, e.Name())
		if path == p.marker() || keepLogs && path == p.logs() {
			continue
		}
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("remove %s: %w", path, err)
		}
	}
	if keepLogs {
		return nil
	}
	if err := os.RemoveAll(p.state); err != nil { // the mark last: a removal that is interrupted can be done again
		return fmt.Errorf("remove state directory: %w", err)
	}
	return nil
}

// install puts a program where each host sees it: a hard link where that is possible and every id may execute it.
func install(from, to string) error {
	from, err := filepath.EvalSymlinks(from) // a hard link to a link would be one
	if err != nil {
		return fmt.Errorf("install %s: %w", filepath.Base(to), err)
	}
	info, err := os.Stat(from)
	if err != nil {
		return fmt.Errorf("install %s: %w", filepath.Base(to), err)
	}
	if info.Mode().Perm()&0o555 == 0o555 && os.Link(from, to) == nil {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("install %s: %w", filepath.Base(to), err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return fmt.Errorf("install %s: %w", filepath.Base(to), err)
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("install %s: %w", filepath.Base(to), err)
	}
	return nil
}
