package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"drp/orchestrator"
	"drp/orchestrator/api"
	"drp/raftstore/identity"
	"drp/raftstore/state"
	"drp/replicator"
	"drp/replicator/keyfiles"
	"drp/replicator/restic"
)

func newBreakGlassCommand(c *connection) *cobra.Command {
	cmd := &cobra.Command{
		Use: "breakglass", Short: "Open repositories with an offline key, without any coordinator", RunE: group,
		Long: `Each repository has a second key. Its password is made by the worker of the repository's home and sealed to the operators' offline
recipients only; it lies beside the repository in every site's store, in .breakglass/NAME.age. One surviving store and one offline
key are enough to read everything, when no coordinator and no export of the state is left.`,
	}
	cmd.AddCommand(newBreakGlassOpenCommand(), newBreakGlassTestCommand(c), newBreakGlassStatusCommand(c))
	return cmd
}

// glass is a store whose repositories are opened with an offline key.
type glass struct {
	bucket           storeFlags
	identity, binary string

	store      *replicator.Store
	tool       *restic.Runner
	identities []age.Identity
}

func (g *glass) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	g.bucket.addFlags(f, "a site's store")
	f.StringVar(&g.identity, "identity", "", "`FILE` with an offline age key (AGE-SECRET-KEY-1…)")
	f.StringVar(&g.binary, "restic", "restic", "the restic `program`")
}

func (g *glass) open() error {
	if g.identity == "" || g.bucket.name == "" {
		return usageError{errors.New("give --store with --endpoint and --credentials, and --identity")}
	}
	var err error
	if g.identities, err = identity.ReadAgeIdentities(g.identity); err != nil {
		return usageError{fmt.Errorf("read offline key: %w", err)}
	}
	if g.store, err = g.bucket.open(); err != nil {
		return err
	}
	g.tool = &restic.Runner{Binary: g.binary}
	return nil
}

// repository is one of the store, without its password.
func (g *glass) repository(name string) restic.Repository {
	s := g.store.Config()
	return restic.Repository{
		URL: "s3:" + s.Endpoint + "/" + s.Bucket + "/" + name, AccessKey: s.AccessKey, SecretKey: s.SecretKey, Region: s.Region}
}

func (g *glass) try(ctx context.Context, name string) (password string, key restic.Key, err error) {
	return keyfiles.Open(ctx, g.store, g.tool, g.repository(name), name, g.identities...)
}

func newBreakGlassOpenCommand() *cobra.Command {
	g, out := &glass{}, ""
	cmd := &cobra.Command{
		Use: "open REPOSITORY", Short: "Open one repository with an offline key, and say what to type", Args: cobra.ExactArgs(1),
		Long: `Open decrypts the break-glass password of one repository, tries it on the repository in that store, and says which commands of
restic read it. No coordinator is asked. A repository is named like its account; later ones of an account are ACCOUNT~2, ACCOUNT~3 …

The password goes into a new file that only you can read (--out), and never to the terminal.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := g.open(); err != nil {
				return err
			}
			password, key, err := g.try(cmd.Context(), args[0])
			if errors.Is(err, keyfiles.ErrNoBreakGlass) {
				return errors.Join(err, g.others(cmd.Context(), args[0]))
			}
			if err != nil {
				return err
			}
			repo := g.repository(args[0])
			repo.Password = password
			snapshots, err := g.tool.Snapshots(cmd.Context(), repo)
			if err != nil {
				return err
			}
			if out != "" {
				if err := writeSecret(out, password); err != nil {
					return err
				}
			}
			printOpened(cmd.OutOrStdout(), repo.URL, key, snapshots, out, g.bucket.credentials)
			return nil
		},
	}
	g.addFlags(cmd)
	cmd.Flags().StringVar(&out, "out", "", "write the password into this new `FILE`, mode 0600")
	return cmd
}

// others are names that were perhaps meant.
func (g *glass) others(ctx context.Context, name string) error {
	names, err := keyfiles.Sealed(ctx, g.store)
	if err != nil {
		return err
	}
	account, _, _ := state.ParseRepositoryName(name)
	like := slices.DeleteFunc(names, func(n string) bool {
		a, _, err := state.ParseRepositoryName(n)
		return err != nil || a != account
	})
	if len(like) == 0 {
		return nil
	}
	return fmt.Errorf("of that account there are: %v", like)
}

// writeSecret makes a file that nobody else reads. One that is there stays as it is.
func writeSecret(path, secret string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write the password: %w", err)
	}
	_, err = io.WriteString(f, secret+"\n")
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write the password: %w", err)
	}
	return nil
}

func printOpened(w io.Writer, url string, key restic.Key, snapshots []restic.Snapshot, out, credentials string) {
	fmt.Fprintf(w, "%s opens with its break-glass password (key %.8s): %d snapshots\n", clean(url), key.ID, len(snapshots))
	for _, s := range snapshots[max(0, len(snapshots)-3):] {
		fmt.Fprintf(w, "  %.8s  %s\n", s.ID, localTime(s.Time))
	}
	if out == "" {
		fmt.Fprintln(w, "To read it, ask for the password with --out FILE.")
		return
	}
	fmt.Fprintf(w, "The password is in %s. With AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY set to the keys in %s:\n\n", clean(out), clean(credentials))
	for _, command := range []string{"snapshots", "restore latest --target DIRECTORY"} {
		fmt.Fprintf(w, "  restic -r %s --password-file %s --no-lock --no-cache %s\n", clean(url), clean(out), command)
	}
	fmt.Fprintln(w, "\nDelete the file when you are done.")
}

func newBreakGlassTestCommand(c *connection) *cobra.Command {
	g, count, unrecorded := &glass{}, 0, false
	cmd := &cobra.Command{
		Use: "test [REPOSITORY…]", Short: "Try whether an offline key opens repositories: a random sample, or those that are named",
		Long: `Test opens the break-glass passwords of a random sample of the repositories in one store, or of those that are named, with an
offline key, and each repository with its password. It costs about a second for each. The outcome is recorded by the coordinators,
under your name; without a coordinator it is only printed. drp status raises an alarm when no test has passed for 90 days.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if count < 1 {
				return usageError{fmt.Errorf("--count %d: want 1 at least", count)}
			}
			if err := g.open(); err != nil {
				return err
			}
			d, err := g.test(cmd, args, count)
			if err != nil {
				return err
			}
			if !unrecorded {
				err = recordTest(cmd, c, d)
			}
			if len(d.Failed) > 0 {
				err = errors.Join(fmt.Errorf("%d of %d do not open", len(d.Failed), d.Count), err)
			}
			return err
		},
	}
	g.addFlags(cmd)
	cmd.Flags().IntVar(&count, "count", 20, "how many to try when none is named")
	cmd.Flags().BoolVar(&unrecorded, "unrecorded", false, "do not tell the coordinators")
	return cmd
}

func (g *glass) test(cmd *cobra.Command, names []string, count int) (state.BreakGlassRecordData, error) {
	d := state.BreakGlassRecordData{Store: g.store.String(), Tested: []string{}}
	if len(names) == 0 {
		all, err := keyfiles.Sealed(cmd.Context(), g.store)
		if err != nil {
			return d, err
		}
		if len(all) == 0 {
			return d, fmt.Errorf("there is no sealed break-glass password in %s", g.store)
		}
		rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		names = all[:min(count, len(all))]
		slices.Sort(names)
	}
	d.Tested, d.Count = names, len(names)
	for _, name := range names {
		_, key, err := g.try(cmd.Context(), name)
		if cmd.Context().Err() != nil {
			return d, context.Cause(cmd.Context())
		}
		if err == nil {
			fmt.Fprintf(cmd.OutOrStdout(), "%s opens (key %.8s)\n", clean(name), key.ID)
			continue
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s does NOT open: %s\n", clean(name), clean(err.Error()))
		d.Failed, d.Error = append(d.Failed, name), cmp.Or(d.Error, err.Error())
	}
	return d, nil
}

// recordTest tells the coordinators. That there is none is no failure of the test.
func recordTest(cmd *cobra.Command, c *connection, d state.BreakGlassRecordData) error {
	client, err := c.client()
	if err == nil {
		err = client.RecordBreakGlass(cmd.Context(), d)
	}
	if err != nil {
		fmt.Fprintf(cmd.OutOrStdout(), "%d tried, %d failed; not recorded: %s\n", d.Count, len(d.Failed), clean(err.Error()))
		return nil
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%d tried, %d failed; recorded\n", d.Count, len(d.Failed))
	return nil
}

func newBreakGlassStatusCommand(c *connection) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show how many repositories the offline keys open, and when somebody tried", Args: cobra.NoArgs,
		RunE: c.run(func(cmd *cobra.Command, client *api.Client, _ []string) error {
			r, err := client.BreakGlass(cmd.Context())
			if err != nil {
				return err
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), r)
			}
			printBreakGlass(cmd.OutOrStdout(), r)
			return nil
		}),
	}
}

func printBreakGlass(w io.Writer, r *orchestrator.BreakGlassReport) {
	if len(r.Offline) == 0 {
		fmt.Fprintln(w, "There are no offline recipients (recipients in server.yaml), so no break-glass key is made.")
	}
	for _, recipient := range r.Offline {
		fmt.Fprintf(w, "sealed to %s\n", clean(recipient))
	}
	fmt.Fprintf(w, "repositories: %d, with a break-glass key: %d, of them seen at every site that holds a copy: %d\n", r.Repositories, r.Made, r.Everywhere)
	if r.Tests == nil {
		fmt.Fprintln(w, "never tested: drp breakglass test, with an offline key")
		return
	}
	if p := r.Tests.Passed; !p.At.IsZero() {
		fmt.Fprintf(w, "last test that passed: %s, by %s at %s, %d opened (limit %s)\n", ago(r.At, p.At), clean(p.By), clean(p.Store), p.Count, short(r.TestWithin))
	}
	if l := r.Tests.Last; len(l.Failed) > 0 {
		fmt.Fprintf(w, "! the last test, %s, by %s at %s, failed for %d of %d, such as %s: %s\n",
			ago(r.At, l.At), clean(l.By), clean(l.Store), len(l.Failed), l.Count, clean(l.Failed[0]), clean(l.Error))
	}
}
