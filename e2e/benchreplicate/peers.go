package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// cost is what one run took.
type cost struct {
	wall   float64 // seconds
	cpu    float64 // seconds of processor time, of the copier alone
	memory int64   // bytes, the most
	stores float64 // seconds of processor time of both stores
}

// peer is one way to copy the source's bucket to the target's.
type peer struct {
	name string
	run  func(ctx context.Context) (cost, error)
}

func (b *bench) peers() []peer {
	return []peer{{"drp", b.drp}, {"bare", b.bareLoop}, {"mc", b.mc}, {"rclone", b.rclone}}
}

func (b *bench) drp(ctx context.Context) (cost, error) {
	return b.child(ctx, []string{
		"DRP_FROM_ACCESS_KEY=" + accessKey, "DRP_FROM_SECRET_KEY=" + secretKey, "DRP_TO_ACCESS_KEY=" + accessKey, "DRP_TO_SECRET_KEY=" + secretKey,
	}, "drp", "replicate", "--parallel", fmt.Sprint(parallel), "--from", "s3://"+b.source.bucket, "--from-endpoint", b.source.endpoint,
		"--to", "s3://"+b.target.bucket, "--to-endpoint", b.target.endpoint)
}

func (b *bench) bareLoop(ctx context.Context) (cost, error) {
	self, err := os.Executable()
	if err != nil {
		return cost{}, err
	}
	return b.child(ctx, nil, self, bareCommand, b.source.endpoint, b.source.bucket, b.target.endpoint, b.target.bucket)
}

func (b *bench) mc(ctx context.Context) (cost, error) {
	host := func(s *store) string {
		return "http://" + accessKey + ":" + secretKey + "@" + strings.TrimPrefix(s.endpoint, "http://")
	}
	return b.child(ctx, []string{"MC_CONFIG_DIR=" + filepath.Join(b.dir, "mc"), "MC_HOST_src=" + host(b.source), "MC_HOST_dst=" + host(b.target)},
		"mc", "mirror", "--quiet", "--overwrite", "src/"+b.source.bucket, "dst/"+b.target.bucket)
}

// rclone with its own numbers raised to those of the others.
func (b *bench) rclone(ctx context.Context) (cost, error) {
	var env []string
	for name, s := range map[string]*store{"SRC": b.source, "DST": b.target} {
		for key, value := range map[string]string{
			"TYPE": "s3", "PROVIDER": "Other", "ACCESS_KEY_ID": accessKey, "SECRET_ACCESS_KEY": secretKey, "REGION": region, "ENDPOINT": s.endpoint,
		} {
			env = append(env, "RCLONE_CONFIG_"+name+"_"+key+"="+value)
		}
	}
	return b.child(ctx, append(env, "RCLONE_CONFIG="+filepath.Join(b.dir, "rclone.conf")),
		"rclone", "sync", "--checksum", "--fast-list", "--transfers", fmt.Sprint(parallel), "--checkers", "16", "src:"+b.source.bucket, "dst:"+b.target.bucket)
}

const password = "bench"

// restic runs restic on a repository of the source's, or for copy of the target's.
func (b *bench) restic(ctx context.Context, s *store, repository string, args ...string) (cost, error) {
	env := []string{
		"AWS_ACCESS_KEY_ID=" + accessKey, "AWS_SECRET_ACCESS_KEY=" + secretKey, "AWS_DEFAULT_REGION=" + region,
		"RESTIC_PASSWORD=" + password, "RESTIC_FROM_PASSWORD=" + password, "RESTIC_REPOSITORY=" + address(s, repository),
	}
	return b.child(ctx, env, "restic", append([]string{"--no-cache", "--quiet"}, args...)...)
}

func address(s *store, repository string) string {
	return "s3:" + s.endpoint + "/" + s.bucket + "/" + repository
}

// resticCopy copies some of the repositories, whose destinations were made before. Of the first ones many are alike.
func (b *bench) resticCopy(ctx context.Context, repositories []string) (cost, error) {
	var sum cost
	for _, r := range repositories {
		c, err := b.restic(ctx, b.target, r, "copy", "--from-repo", address(b.source, r))
		if err != nil {
			return sum, err
		}
		sum.wall, sum.cpu, sum.memory, sum.stores = sum.wall+c.wall, sum.cpu+c.cpu, max(sum.memory, c.memory), sum.stores+c.stores
	}
	return sum, nil
}

// child runs a program to its end. It inherits nothing that could make it behave otherwise elsewhere.
func (b *bench) child(ctx context.Context, env []string, program string, args ...string) (cost, error) {
	if !filepath.IsAbs(program) {
		program = filepath.Join(b.programs, program)
	}
	before, err := b.storesTime()
	if err != nil {
		return cost{}, err
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.dir, "TMPDIR=" + b.dir}, env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return cost{}, fmt.Errorf("run %s %s: %w\n%s", filepath.Base(program), args[0], err, &out)
	}
	c := cost{wall: time.Since(began).Seconds()}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return cost{}, errors.New("no usage of a process")
	}
	c.cpu = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	c.memory = usage.Maxrss << 10
	after, err := b.storesTime()
	c.stores = after - before
	return c, err
}

func (b *bench) storesTime() (float64, error) {
	s, err := b.source.processorTime()
	if err != nil {
		return 0, err
	}
	t, err := b.target.processorTime()
	return s + t, err
}
