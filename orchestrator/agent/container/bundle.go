package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"drp/orchestrator/agent/home"
	"drp/raftstore/state"
)

// writeBundle makes the bundle of a container: the skeleton of its root, its own /etc, and its configuration. What
// is there already is written again; nothing is removed, since a home could be mounted below.
func writeBundle(dir string, s Spec, spec *specs.Spec) error {
	root := filepath.Join(dir, "rootfs")
	for _, d := range []string{"usr", "etc", "home", "tmp", "run", "dev", "proc", "sys", "var", ".drp"} {
		if err := makeDir(filepath.Join(root, d)); err != nil {
			return err
		}
	}
	// runc gives a tmpfs the mode of what it covers.
	if err := os.Chmod(filepath.Join(root, "tmp"), 0o777|fs.ModeSticky); err != nil {
		return err
	}
	for name, to := range map[string]string{
		"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64",
		"var/lib": "/run/lib", "var/log": "/run/log", "var/run": "/run", "var/tmp": "/tmp",
	} {
		if err := os.Symlink(to, filepath.Join(root, name)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	for _, m := range spec.Mounts {
		if err := mountPoint(root, m); err != nil {
			return err
		}
	}
	if err := writeEtc(root, s.Account); err != nil {
		return err
	}
	if err := writePrograms(filepath.Join(root, servicesInside), s.Account.Services, s.IDs); err != nil {
		return err
	}
	// No program of the account has run yet: its init begins with what is written here.
	if err := writeCronJobs(dir, s); err != nil {
		return err
	}
	if err := noteCronJobs(dir, s); err != nil {
		return err
	}
	raw, err := json.MarshalIndent(spec, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, "config.json"), raw, 0o600, 0)
}

// writePrograms: their environment may hold secrets of the account. Only its root, the init, reads them here.
func writePrograms(path string, list any, ids home.IDs) error {
	raw, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return writeFile(path, raw, 0o400, ids.Host(0))
}

// forgetSecrets removes from a bundle what only a running container needs.
func forgetSecrets(dir string) error {
	var failed error
	for _, name := range []string{filepath.Join("rootfs", servicesInside), filepath.Join("rootfs", cronInside), cronNoted} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

func writeEtc(root string, a state.Account) error {
	for name, content := range etc(a) {
		if err := writeFile(filepath.Join(root, "etc", name), []byte(content), 0o644, 0); err != nil {
			return err
		}
	}
	return nil
}

// mountPoint makes what a bind mount covers; the root is read-only and has nothing that was not put there.
func mountPoint(root string, m specs.Mount) error {
	at := filepath.Join(root, m.Destination)
	if m.Type != "bind" || !strings.HasPrefix(at, root+"/") {
		return nil
	}
	info, err := os.Stat(m.Source)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return makeDir(at)
	}
	if err := makeDir(filepath.Dir(at)); err != nil {
		return err
	}
	f, err := os.OpenFile(at, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// etc is the account's own /etc, without what comes from the host.
func etc(a state.Account) map[string]string {
	name := string(a.Name)
	var users strings.Builder
	line := func(user string, uid, gid uint32) {
		fmt.Fprintf(&users, "%s:x:%d:%d::/home/%s:/bin/sh\n", user, uid, gid, name)
	}
	line("root", 0, 0)
	line(name, home.User, home.User)
	seen := map[uint32]bool{0: true, home.User: true, 65534: true}
	for _, p := range a.Programs() {
		if !seen[p.User] {
			seen[p.User] = true
			line(fmt.Sprintf("%s-%d", name, p.User), p.User, home.User)
		}
	}
	users.WriteString("nobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n")

	hosts := "127.0.0.1 localhost\n::1 localhost ip6-localhost\n"
	for _, addr := range a.Addresses {
		hosts += addr.String() + " " + name + "\n"
	}
	files := map[string]string{
		"passwd":        users.String(),
		"group":         fmt.Sprintf("root:x:0:\ntty:x:5:\n%s:x:%d:\nnogroup:x:65534:\n", name, home.User),
		"hosts":         hosts,
		"hostname":      name + "\n",
		"nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
		"resolv.conf":   "",
	}
	if raw, err := os.ReadFile("/etc/resolv.conf"); err == nil {
		files["resolv.conf"] = string(raw)
	}
	return files
}

func makeDir(path string) error {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	return os.Chmod(path, 0o755)
}

func writeFile(path string, content []byte, mode fs.FileMode, owner int) error {
	next := path + ".new"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(next, content, mode); err != nil {
		return err
	}
	if err := os.Chmod(next, mode); err != nil {
		return err
	}
	if owner != 0 {
		if err := os.Lchown(next, owner, owner); err != nil {
			return err
		}
	}
	return os.Rename(next, path)
}
