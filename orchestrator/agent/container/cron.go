package container

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"drp/raftstore/state"
)

// cronNoted is a file of the bundle that only the host sees: which list of cron jobs the init was told of.
const cronNoted = "cron.noted"

// SetCronJobs has the init of a running container go by these cron jobs, without a new start of anything. It costs
// nothing when it does already, and may be broken off anywhere: the init is told again then. The init of an earlier drp
// ends by the signal, so that the container is started anew, with one that knows cron jobs.
func (r *Runtime) SetCronJobs(ctx context.Context, s Spec) error {
	name := s.Account.Name
	dir := r.bundle(name)
	noted, err := os.ReadFile(filepath.Join(dir, cronNoted))
	switch {
	case err == nil && string(noted) == cronDigest(s.Account.CronJobs):
		return nil
	case errors.Is(err, fs.ErrNotExist) && len(s.Account.CronJobs) == 0 && !exists(filepath.Join(dir, "rootfs", cronInside)):
		return nil // made by an earlier drp
	}
	// Whatever was noted is not sure from here on.
	if err := os.Remove(filepath.Join(dir, cronNoted)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("set cron jobs of %s: %w", name, err)
	}
	if err := writeEtc(filepath.Join(dir, "rootfs"), s.Account); err != nil {
		return fmt.Errorf("set cron jobs of %s: %w", name, err)
	}
	if err := writeCronJobs(dir, s); err != nil {
		return fmt.Errorf("set cron jobs of %s: %w", name, err)
	}
	cli := r.runc(name)
	if err := cli.Kill(ctx, string(name), int(unix.SIGHUP), nil); err != nil {
		return fmt.Errorf("set cron jobs of %s: %w: %s", name, err, lastLine(cli.Log))
	}
	if err := noteCronJobs(dir, s); err != nil {
		return fmt.Errorf("set cron jobs of %s: %w", name, err)
	}
	return nil
}

func writeCronJobs(dir string, s Spec) error {
	return writePrograms(filepath.Join(dir, "rootfs", cronInside), s.Account.CronJobs, s.IDs)
}

func noteCronJobs(dir string, s Spec) error {
	return writeFile(filepath.Join(dir, cronNoted), []byte(cronDigest(s.Account.CronJobs)), 0o600, 0)
}

func cronDigest(jobs []state.CronJob) string {
	raw, err := json.Marshal(jobs)
	if err != nil { // texts and numbers: cannot fail
		panic(err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}
