package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"drp/orchestrator"
	"drp/orchestrator/api"
	"drp/orchestrator/erasure"
	"drp/raftstore/state"
	"drp/runbooks/strictyaml"
)

func newAccountCommand(c *connection) *cobra.Command {
	cmd := &cobra.Command{Use: "account", Short: "Erase accounts, and show that they are erased", RunE: group}
	cmd.AddCommand(newEraseCommand(c), newErasureCommand(c), newVerifyCertificateCommand(c))
	return cmd
}

const eraseLong = `Order that an account is erased: its backups at every site, the trash too, and all that the coordinators know of it but its name.

Nothing changes before the time of --after is over: the account runs, is backed up, and --cancel takes the order back. Then it
is stopped, and when it runs nowhere any more it leaves the coordinators' state: from then on nobody can take it back, its addresses are free,
and its name is never used again. Each site deletes what it has when its own grace is over, and no more accounts a day than its own
configuration allows.

drp account erasure shows how far it is, and writes the certificate when every site has told that nothing is left. Homes on servers are
not deleted. Without --yes it only says what would be done.`

func newEraseCommand(c *connection) *cobra.Command {
	var r orchestrator.ErasureRequest
	var after string
	var yes, cancel bool
	cmd := &cobra.Command{
		Use: "erase ACCOUNT", Short: "Erase an account's backups everywhere, for good", Long: eraseLong, Args: cobra.ExactArgs(1),
		RunE: c.run(func(cmd *cobra.Command, client *api.Client, args []string) error {
			r.Account, r.DryRun = state.AccountName(args[0]), !yes
			if cancel {
				return cancelErasure(cmd, client, r.Account, c.json)
			}
			wait, err := strictyaml.ParseDuration(after)
			if err != nil {
				return usageError{fmt.Errorf("--after: %w", err)}
			}
			r.After = time.Duration(wait)
			report, err := client.Erase(cmd.Context(), r)
			if err != nil {
				return err
			}
			if c.json {
				err = printJSON(cmd.OutOrStdout(), report)
			} else {
				printErasureReport(cmd.OutOrStdout(), report)
			}
			if err == nil && !yes {
				err = usageError{errors.New("nothing was done; give --yes if that is what you want")}
			}
			return err
		}),
	}
	cmd.Flags().StringVar(&after, "after", "72h", "how `long` nothing changes, and the order can be taken back")
	cmd.Flags().StringVar(&r.Reason, "reason", "", "why, for the record and for the certificate")
	cmd.Flags().BoolVar(&yes, "yes", false, "do it; without, only what would be done is printed")
	cmd.Flags().BoolVar(&cancel, "cancel", false, "take an order back that has not begun")
	cmd.MarkFlagsMutuallyExclusive("cancel", "yes")
	cmd.MarkFlagsMutuallyExclusive("cancel", "after")
	cmd.MarkFlagsMutuallyExclusive("cancel", "reason") // which nobody would record
	return cmd
}

func cancelErasure(cmd *cobra.Command, client *api.Client, account state.AccountName, asJSON bool) error {
	if err := client.CancelErasure(cmd.Context(), account); err != nil {
		return err
	}
	if asJSON {
		return printJSON(cmd.OutOrStdout(), map[string]state.AccountName{"cancelled": account})
	}
	fmt.Fprintln(cmd.OutOrStdout(), clean(fmt.Sprintf("account %s is not to be erased any more", account)))
	return nil
}

func printErasureReport(w io.Writer, r *orchestrator.ErasureReport) {
	where, newest := "runs nowhere", ""
	if r.Server != "" {
		where = "is on server " + string(r.Server)
	}
	if !r.Newest.IsZero() {
		newest = ", the newest of " + localTime(r.Newest)
	}
	for _, line := range []string{
		fmt.Sprintf("account %s %s; it goes on as it is until %s, and is stopped then", r.Account, where, localTime(r.NotBefore)),
		fmt.Sprintf("to be deleted for good at %s, when the grace of each is over: %d snapshots%s; repositories: %s", or(join(r.Sites)), r.Snapshots, newest, or(join(r.Repositories))),
		fmt.Sprintf("to take it back until then: drp account erase %s --cancel", r.Account),
	} {
		fmt.Fprintln(w, clean(line))
	}
}

func newErasureCommand(c *connection) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "erasure [ACCOUNT]", Short: "Show how far erasures are, and write the certificate of one", Args: cobra.MaximumNArgs(1),
		Long: `Erasure shows what is ordered, under way and done. With -o the paper of one that is done goes into a file: a coordinator
signs what was deleted where, and what that does not cover. drp account verify-certificate tells offline whether it is genuine.`,
		RunE: c.run(func(cmd *cobra.Command, client *api.Client, args []string) error {
			switch {
			case len(args) == 0 && file != "":
				return usageError{errors.New("a certificate is of one account: name it")}
			case file != "":
				return writeCertificate(cmd, client, state.AccountName(args[0]), file)
			case len(args) == 1:
				s, err := client.Erasure(cmd.Context(), state.AccountName(args[0]))
				if err != nil {
					return err
				}
				if c.json {
					return printJSON(cmd.OutOrStdout(), s)
				}
				printErasure(cmd.OutOrStdout(), s)
				return nil
			}
			all, err := client.Erasures(cmd.Context())
			if err != nil {
				return err
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), all)
			}
			t := newTable("ACCOUNT", "ORDERED", "BY", "STAGE")
			for _, s := range all {
				t.add(string(s.Erasure.Account), localTime(s.Erasure.Ordered), s.Erasure.By, s.Stage)
			}
			t.print(cmd.OutOrStdout())
			return nil
		}),
	}
	cmd.Flags().StringVarP(&file, "output", "o", "", "write the certificate of an erasure that is done to this new `FILE`")
	return cmd
}

func writeCertificate(cmd *cobra.Command, client *api.Client, account state.AccountName, file string) error {
	if _, err := os.Lstat(file); err == nil {
		return usageError{fmt.Errorf("%s exists already: nothing was asked for, and it stays as it is", file)}
	}
	text, err := client.ErasureCertificate(cmd.Context(), account)
	if err != nil {
		return err
	}
	if _, err := erasure.Read(text); err != nil {
		return fmt.Errorf("what came over the network is no certificate; nothing was written: %w", err)
	}
	if err := writeNew(file, text); err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s: certificate of the erasure of account %s\n", file, clean(string(account)))
	return nil
}

func printErasure(w io.Writer, s *orchestrator.ErasureStatus) {
	e := s.Erasure
	fmt.Fprintln(w, clean(fmt.Sprintf("account %s, as %s ordered at %s%s", e.Account, e.By, localTime(e.Ordered), because(e.Reason))))
	if e.Waiting() {
		fmt.Fprintln(w, clean(s.Stage))
		return
	}
	fmt.Fprintln(w, clean(fmt.Sprintf("begun at %s: the coordinators have nothing of it any more; repositories: %s", localTime(e.Begun), or(join(e.Repositories)))))
	t := newTable("SITE", "OBJECTS", "BYTES", "HEARD", "STAGE")
	for _, site := range e.Sites {
		heard := "never"
		if !site.Heard.IsZero() {
			heard = localTime(site.Heard)
		}
		t.add(string(site.Site), fmt.Sprint(site.Objects), size(site.Bytes), heard, erasure.Stands(site))
	}
	t.print(w)
	if !e.Done.IsZero() {
		fmt.Fprintln(w, clean(fmt.Sprintf("done at %s; drp account erasure %s -o FILE writes the paper of it", localTime(e.Done), e.Account)))
	}
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

func newVerifyCertificateCommand(c *connection) *cobra.Command {
	var root string
	cmd := &cobra.Command{
		Use: "verify-certificate FILE", Short: "Verify the certificate of an erasure, offline", Args: cobra.ExactArgs(1),
		Long: `Verify-certificate tells whether a coordinator of the platform has signed this certificate of an erasure, and no byte was changed since,
and prints what it says. It asks nobody: the platform's root certificate is all that it takes.

Exit code 0: it is genuine. 1: it is not.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if root == "" {
				return usageError{errors.New("a certificate is worth its signature: give the platform's root certificate with --root")}
			}
			roots, err := readRoots(root)
			if err != nil {
				return err
			}
			text, err := os.ReadFile(args[0])
			if err != nil {
				return usageError{err}
			}
			signed, err := erasure.Read(text)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			coordinator, err := signed.Check(roots)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), signed.Certificate)
			}
			printCertificate(cmd.OutOrStdout(), &signed.Certificate, coordinator)
			return nil
		},
	}
	cmd.Flags().StringVar(&root, "root", "", "`file` with the platform's root certificate")
	return cmd
}

func printCertificate(w io.Writer, c *erasure.Certificate, coordinator string) {
	lines := []string{
		fmt.Sprintf("account %s of cluster %s was erased; repositories: %s", c.Account, c.Cluster, or(join(c.Repositories))),
		fmt.Sprintf("ordered by %s at %s%s", c.By, localTime(c.Ordered), because(c.Reason)),
		fmt.Sprintf("begun at %s, done at %s", localTime(c.Begun), localTime(c.Done)),
	}
	for _, s := range c.Sites {
		lines = append(lines, fmt.Sprintf("site %s: %d objects, %s deleted; nothing listed there any more at %s", s.Site, s.Objects, size(s.Bytes), localTime(s.Empty)))
	}
	lines = append(lines, "not covered:")
	for _, r := range c.Remains {
		lines = append(lines, "- "+r)
	}
	objects, bytes := c.Totals()
	lines = append(lines, fmt.Sprintf("issued at %s, signed by coordinator %s", localTime(c.Issued), coordinator),
		fmt.Sprintf("certificate: account=%s sites=%d objects=%d bytes=%d ok", c.Account, len(c.Sites), objects, bytes))
	for _, line := range lines {
		fmt.Fprintln(w, clean(line))
	}
}
