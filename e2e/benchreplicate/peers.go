package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"drp/e2e/measure"
)

// peer is one way to copy the source's bucket to the target's.
type peer struct {
	name string
	run  func(ctx context.Context) (measure.Cost, error)
}

func (b *bench) peers() []peer {
	return []peer{{"drp", b.drp}, {"bare", b.bareLoop}, {"mc", b.mc}, {"rclone", b.rclone}}
}

func (b *bench) drp(ctx context.Context) (measure.Cost, error) {
	return b.child(ctx, []string{
		"DRP_FROM_ACCESS_KEY=" + measure.AccessKey, "DRP_FROM_SECRET_KEY=" + measure.SecretKey, "DRP_TO_ACCESS_KEY=" + measure.AccessKey, "DRP_TO_SECRET_KEY=" + measure.SecretKey,
	}, "drp", "replicate", "--parallel", fmt.Sprint(parallel), "--from", "s3://"+b.source.Bucket, "--from-endpoint", b.source.Endpoint,
		"--to", "s3://"+b.target.Bucket, "--to-endpoint", b.target.Endpoint)
}

func (b *bench) bareLoop(ctx context.Context) (measure.Cost, error) {
	self, err := os.Executable()
	if err != nil {
		return measure.Cost{}, err
	}
	return b.child(ctx, nil, self, bareCommand, b.source.Endpoint, b.source.Bucket, b.target.Endpoint, b.target.Bucket)
}

func (b *bench) mc(ctx context.Context) (measure.Cost, error) {
	host := func(s *measure.Store) string {
		return "http://" + measure.AccessKey + ":" + measure.SecretKey + "@" + strings.TrimPrefix(s.Endpoint, "http://")
	}
	return b.child(ctx, []string{"MC_CONFIG_DIR=" + filepath.Join(b.dir, "mc"), "MC_HOST_src=" + host(b.source), "MC_HOST_dst=" + host(b.target)},
		"mc", "mirror", "--quiet", "--overwrite", "src/"+b.source.Bucket, "dst/"+b.target.Bucket)
}

// rclone with its own numbers raised to those of the others.
func (b *bench) rclone(ctx context.Context) (measure.Cost, error) {
	var env []string
	for name, s := range map[string]*measure.Store{"SRC": b.source, "DST": b.target} {
		for key, value := range map[string]string{
			"TYPE": "s3", "PROVIDER": "Other", "ACCESS_KEY_ID": measure.AccessKey, "SECRET_ACCESS_KEY": measure.SecretKey, "REGION": measure.Region, "ENDPOINT": s.Endpoint,
		} {
			env = append(env, "RCLONE_CONFIG_"+name+"_"+key+"="+value)
		}
	}
	return b.child(ctx, append(env, "RCLONE_CONFIG="+filepath.Join(b.dir, "rclone.conf")),
		"rclone", "sync", "--checksum", "--fast-list", "--transfers", fmt.Sprint(parallel), "--checkers", "16", "src:"+b.source.Bucket, "dst:"+b.target.Bucket)
}

const password = "bench"

// restic runs restic on a repository of the source's, or for copy of the target's.
func (b *bench) restic(ctx context.Context, s *measure.Store, repository string, args ...string) (measure.Cost, error) {
	env := []string{
		"AWS_ACCESS_KEY_ID=" + measure.AccessKey, "AWS_SECRET_ACCESS_KEY=" + measure.SecretKey, "AWS_DEFAULT_REGION=" + measure.Region,
		"RESTIC_PASSWORD=" + password, "RESTIC_FROM_PASSWORD=" + password, "RESTIC_REPOSITORY=" + address(s, repository),
	}
	return b.child(ctx, env, "restic", append([]string{"--no-cache", "--quiet"}, args...)...)
}

func address(s *measure.Store, repository string) string {
	return "s3:" + s.Endpoint + "/" + s.Bucket + "/" + repository
}

// resticCopy copies some of the repositories, whose destinations were made before. Of the first ones many are alike.
func (b *bench) resticCopy(ctx context.Context, repositories []string) (measure.Cost, error) {
	var sum measure.Cost
	for _, r := range repositories {
		c, err := b.restic(ctx, b.target, r, "copy", "--from-repo", address(b.source, r))
		if err != nil {
			return sum, err
		}
		sum.Wall, sum.CPU, sum.Memory, sum.Others = sum.Wall+c.Wall, sum.CPU+c.CPU, max(sum.Memory, c.Memory), sum.Others+c.Others
	}
	return sum, nil
}

func (b *bench) child(ctx context.Context, env []string, program string, args ...string) (measure.Cost, error) {
	return measure.Children{Programs: b.programs, Home: b.dir, Others: b.storesTime}.Run(ctx, "", env, program, args...)
}

func (b *bench) storesTime() (float64, error) {
	s, err := b.source.ProcessorTime()
	if err != nil {
		return 0, err
	}
	t, err := b.target.ProcessorTime()
	return s + t, err
}
