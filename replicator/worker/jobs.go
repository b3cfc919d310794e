package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"drp/replicator"
	"drp/replicator/maintenance"
	"drp/replicator/restic"
)

// S3Repository is a restic repository straight at a store.
type S3Repository struct {
	Endpoint, Bucket, Region string
	Prefix                   string // without a slash at its end
	AccessKey, SecretKey     string
}

// String keeps the keys out of messages.
func (r S3Repository) String() string { return r.Endpoint + "/" + r.Bucket + "/" + r.Prefix }

// Initialiser creates repositories.
type Initialiser interface {
	// Init creates one where there is nothing.
	Init(ctx context.Context, repo S3Repository, password string) error
	// Open tries the password on one that is there.
	Open(ctx context.Context, repo S3Repository, password string) error
}

// Restic is the Initialiser.
type Restic struct{ Runner *restic.Runner }

// Init implements Initialiser.
func (r Restic) Init(ctx context.Context, repo S3Repository, password string) error {
	return r.Runner.Init(ctx, address(repo, password))
}

// Open implements Initialiser.
func (r Restic) Open(ctx context.Context, repo S3Repository, password string) error {
	there, err := r.Runner.Exists(ctx, address(repo, password))
	if err == nil && !there {
		err = fmt.Errorf("open %s: %w", repo, restic.ErrNoRepository)
	}
	return err
}

func address(r S3Repository, password string) restic.Repository {
	return restic.Repository{
		URL: "s3:" + r.Endpoint + "/" + r.Bucket + "/" + r.Prefix, Password: password,
		AccessKey: r.AccessKey, SecretKey: r.SecretKey, Region: r.Region,
	}
}

// errBucketLost: this site's store has no bucket, and it should.
var errBucketLost = errors.New("is missing: is the disk of the store mounted?")

// bucket sees to it that there is one to write to. Only a store of which nothing is known gets a new one.
func (w *Worker) bucket(ctx context.Context, fresh bool) error {
	if fresh {
		return w.Store.EnsureBucket(ctx)
	}
	ok, err := w.Store.HasBucket(ctx)
	if err == nil && !ok {
		err = fmt.Errorf("the bucket %s of this site %w", w.Store, errBucketLost)
	}
	return err
}

// ready is bucket for what is done to one repository: of an account that was erased here nothing comes back, whatever the
// leader says.
func (w *Worker) ready(ctx context.Context, repository string, fresh bool) error {
	if err := w.bucket(ctx, fresh); err != nil {
		return err
	}
	return maintenance.Erased(ctx, w.Store, repository)
}

// create makes an account's repository in this site's store, or finds that it is there. Done twice it is harmless; what
// an earlier one left half made is made again. fresh is Desired.New.
func (w *Worker) create(ctx context.Context, job InitialJob, fresh bool) error {
	prefix, err := prefixOf(job.Account)
	if err != nil {
		return err
	}
	if w.Initialiser == nil {
		return errors.New("create repository: this worker has no restic")
	}
	// restic itself would wait a quarter of an hour for a store that does not answer.
	if err := w.ready(ctx, job.Account, fresh); err != nil {
		return err
	}
	c := w.Store.Config()
	repo := S3Repository{
		Endpoint: c.Endpoint, Bucket: c.Bucket, Region: c.Region, Prefix: job.Account,
		AccessKey: c.AccessKey, SecretKey: c.SecretKey,
	}
	found, err := w.Store.Look(ctx, prefix)
	if err != nil {
		return err
	}
	if found == replicator.HalfMade {
		if err := w.Store.ClearHalfMade(ctx, prefix); err != nil {
			return err
		}
	}
	if found != replicator.Whole {
		if err := w.Initialiser.Init(ctx, repo, job.Password); err != nil {
			return fmt.Errorf("create repository %s: %w", repo, err)
		}
		return nil
	}
	if err := w.Initialiser.Open(ctx, repo, job.Password); err != nil {
		return fmt.Errorf("there is a repository at %s already: %w", repo, err)
	}
	return nil
}

// copier returns what does one pass, and after it what the home's tombstones ask for.
func (w *Worker) copier(t *turns, log *slog.Logger) func(context.Context, CopyJob, bool) (replicator.Report, error) {
	return func(ctx context.Context, job CopyJob, fresh bool) (replicator.Report, error) {
		prefix, err := prefixOf(job.Account)
		if err != nil {
			return replicator.Report{}, err
		}
		source, err := w.source(job.From, job.Store)
		if err != nil {
			return replicator.Report{}, err
		}
		defer source.Close()
		if err := w.ready(ctx, job.Account, fresh); err != nil {
			return replicator.Report{}, err
		}
		options := replicator.Options{Logger: log.With("account", job.Account, "from", job.From)}
		var lists []maintenance.List
		switch {
		case w.Keeper == nil:
		case job.From == job.Home.Site:
			lists, err = w.Keeper.Pending(ctx, source, job.Account, job.Home.Epoch)
		default:
			options.Skip, err = w.Keeper.Over(ctx, job.Account)
		}
		if err == nil {
			err = w.withKeys(ctx, source, job.Account, &options)
		}
		if err != nil {
			return replicator.Report{}, err
		}
		report, err := replicator.Pass(ctx, source, w.Store, prefix, options)
		if err != nil || len(lists) == 0 || !t.swap(job.Account) {
			return report, err
		}
		defer t.swapBack(job.Account)
		if _, err := w.Keeper.Follow(ctx, source, job.Account, lists); err != nil {
			return report, &followError{followUp{job: job, lists: lists}, err}
		}
		return report, nil
	}
}

// prefixOf is where an account's repository lies in every bucket. The name comes from the leader, and must not lead
// anywhere else.
func prefixOf(account string) (string, error) {
	if account == "" || strings.ContainsAny(account, "/\\\x00") || strings.HasPrefix(account, ".") {
		return "", fmt.Errorf("account name %q cannot be the name of a repository", account)
	}
	return account + "/", nil
}
