package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"drp/orchestrator/api"
	"drp/orchestrator/certificates"
	"drp/raftstore/identity"
	"drp/raftstore/state"
)

func newCACommand(c *connection) *cobra.Command {
	cmd := &cobra.Command{Use: "ca", Short: "Certificates: who may take part, and until when", RunE: group}
	issuer := &cobra.Command{Use: "issuer", Short: "The authority that signs certificates from day to day", RunE: group}
	issuer.AddCommand(newIssuerRenewCommand(c))
	cmd.AddCommand(newCAInitCommand(), newEnrolCommand(c), newCAShowCommand(c), newCertificatesCommand(c), newRevokedCommand(c),
		newRevokeCommand(c), issuer)
	return cmd
}

const enrolLong = `Make a one-time token with which one machine or person gets a first certificate, and print what to type there.

ROLE is agent, gateway, worker, coordinator, operator or support. NAME is what the certificate will say: the server of an
agent, the site of a gateway or worker, the coordinator, the person. The token is good for 15 minutes and once.`

func newEnrolCommand(c *connection) *cobra.Command {
	var q certificates.EnrolmentRequest
	var site string
	cmd := &cobra.Command{
		Use: "enrol ROLE NAME", Short: "Make a one-time token for a new machine or person", Long: enrolLong, Args: cobra.ExactArgs(2),
		RunE: c.run(func(cmd *cobra.Command, client *api.Client, args []string) error {
			q.Role, q.Holder, q.Site = identity.Role(args[0]), args[1], state.SiteName(site)
			t, err := client.CreateEnrolment(cmd.Context(), q)
			if err != nil {
				return err
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), t)
			}
			printEnrolment(cmd.OutOrStdout(), cmd.ErrOrStderr(), q.Role, t)
			return nil
		}),
	}
	cmd.Flags().StringSliceVar(&q.Hosts, "host", nil, "`name or address` at which it is reached; may be repeated. A gateway needs one: restic compares it")
	cmd.Flags().StringVar(&site, "site", "", "the `site` of a coordinator")
	return cmd
}

func printEnrolment(out, notes io.Writer, role identity.Role, t *certificates.EnrolmentToken) {
	for _, n := range t.Notes {
		fmt.Fprintf(notes, "drp: %s\n", clean(n))
	}
	fmt.Fprintf(notes, "Type this on the new machine, within 15 minutes (until %s). It works once:\n", localTime(t.Expires))
	line := []string{"DRP_TOKEN=" + t.Token, "drp", joinCommand(role), "join"}
	for _, u := range t.Coordinators {
		line = append(line, "--coordinator", u)
	}
	line = append(line, "--fingerprint", t.Fingerprint)
	if role == identity.Coordinator {
		line = append(line, "--raft", "HOST:7400", "--api", "https://HOST:7443")
	}
	fmt.Fprintln(out, clean(strings.Join(line, " ")))
}

func joinCommand(role identity.Role) string {
	switch role {
	case identity.Coordinator:
		return "server"
	case identity.Support:
		return "operator"
	}
	return string(role)
}

func newCAShowCommand(c *connection) *cobra.Command {
	return &cobra.Command{
		Use: "show", Short: "Show what certificates rest on, and until when", Args: cobra.NoArgs,
		RunE: c.run(func(cmd *cobra.Command, client *api.Client, _ []string) error {
			info, err := client.Authority(cmd.Context())
			if err != nil {
				return err
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), info)
			}
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "cluster %s\n", clean(info.Cluster))
			t := newTable("AUTHORITY", "UNTIL", "FINGERPRINT")
			for _, root := range info.Roots {
				t.add("root", localTime(root.Until), root.Fingerprint)
			}
			if info.Issuer != nil {
				t.add("issuing", localTime(info.Issuer.Until), info.Issuer.Fingerprint)
			}
			t.print(out)
			switch {
			case info.Issuer == nil:
				fmt.Fprintln(out, "There is no issuing authority: nobody can join, and nothing is renewed. Make one with drp ca issuer renew.")
			case time.Until(info.Issuer.Until) < 2*identity.MaxValidity:
				fmt.Fprintf(out, "The issuing authority ends in %s: renew it with drp ca issuer renew, and the offline root.\n", short(time.Until(info.Issuer.Until)))
			}
			return nil
		}),
	}
}

func newCertificatesCommand(c *connection) *cobra.Command {
	return &cobra.Command{
		Use: "certificates", Short: "List the certificates that were issued through the platform", Args: cobra.NoArgs,
		RunE: c.run(func(cmd *cobra.Command, client *api.Client, _ []string) error {
			list, err := client.Certificates(cmd.Context())
			if err != nil {
				return err
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), list)
			}
			t := newTable("HOLDER", "ISSUED", "UNTIL", "STATE", "SERIAL")
			for _, x := range list {
				word := "good"
				switch {
				case x.Revoked:
					word = "revoked"
				case time.Now().After(x.NotAfter):
					word = "expired"
				}
				t.add(x.Role+"/"+x.Holder, localTime(x.Issued), localTime(x.NotAfter), word, x.Serial)
			}
			t.print(cmd.OutOrStdout())
			return nil
		}),
	}
}

func newRevokedCommand(c *connection) *cobra.Command {
	return &cobra.Command{
		Use: "revoked", Short: "List what was revoked, by whom and why", Args: cobra.NoArgs,
		RunE: c.run(func(cmd *cobra.Command, client *api.Client, _ []string) error {
			list, err := client.Revocations(cmd.Context())
			if err != nil {
				return err
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), list)
			}
			t := newTable("HOLDER", "WHAT", "BY", "REASON")
			for _, x := range list {
				what := "serial " + x.Serial
				if x.Serial == "" {
					what = "all issued before " + localTime(x.Before)
				}
				t.add(x.Role+"/"+x.Holder, what, x.By, or(x.Reason))
			}
			t.print(cmd.OutOrStdout())
			return nil
		}),
	}
}

func newRevokeCommand(c *connection) *cobra.Command {
	var q certificates.RevokeRequest
	var yes bool
	cmd := &cobra.Command{
		Use: "revoke ROLE/NAME", Short: "Make a holder's certificates worthless, for good", Args: cobra.ExactArgs(1),
		RunE: c.run(func(cmd *cobra.Command, client *api.Client, args []string) error {
			role, name, ok := strings.Cut(args[0], "/")
			if !ok || name == "" {
				return usageError{fmt.Errorf("%q: want ROLE/NAME, as drp ca certificates lists them", args[0])}
			}
			q.Role, q.Holder = identity.Role(role), name
			text, ok := consequences()[q.Role]
			if !ok {
				return usageError{fmt.Errorf("there is no role %q", role)}
			}
			if !yes {
				check := q
				check.Myself = true // what becomes of it is what is asked here
				if err := client.CheckRevoke(cmd.Context(), check); err != nil {
					return err
				}
				fmt.Fprintln(cmd.ErrOrStderr(), clean(consequence(q, text)))
				return usageError{errors.New("nothing was revoked; give --yes if that is what you want")}
			}
			if err := client.Revoke(cmd.Context(), q); err != nil {
				return err
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), map[string]string{"revoked": args[0], "serial": q.Serial})
			}
			fmt.Fprintln(cmd.OutOrStdout(), clean(consequence(q, text)))
			return nil
		}),
	}
	cmd.Flags().StringVar(&q.Serial, "serial", "", "only the certificate with this `serial`; without: all that were issued until now")
	cmd.Flags().StringVar(&q.Reason, "reason", "", "why, for the record")
	cmd.Flags().BoolVar(&q.Myself, "myself", false, "also when it is your own")
	cmd.Flags().BoolVar(&yes, "yes", false, "do it; without, only the consequence is printed")
	return cmd
}

func consequence(q certificates.RevokeRequest, text string) string {
	what := "Every certificate of " + string(q.Role) + "/" + q.Holder + " that was issued until now is"
	if q.Serial != "" {
		what = "The certificate " + q.Serial + " of " + string(q.Role) + "/" + q.Holder + " is"
	}
	return fmt.Sprintf("%s refused everywhere within a minute, for good. %s To let it in again: drp ca enrol %s %s.",
		what, fmt.Sprintf(text, q.Holder), q.Role, q.Holder)
}

// consequences say what becomes of who is cut off.
func consequences() map[identity.Role]string {
	return map[identity.Role]string{
		identity.Agent: "Server %s hears of nothing any more: its accounts run on as they are, but are backed up no more and cannot be told " +
			"to stop; after 30 s it counts as down.",
		identity.Gateway:     "The gateway of site %s learns of no new grant: after a minute backups to this site fail.",
		identity.Worker:      "The worker of site %s copies nothing more to its site.",
		identity.Coordinator: "The other coordinators talk to %s no more, but it counts as a voter until drp raft remove.",
		identity.Operator:    "%s can ask nothing any more with it; tokens that were made (drp token) stay good.",
		identity.Support:     "%s can ask nothing any more with it; tokens that were made (drp token) stay good.",
	}
}

const issuerRenewLong = `Make a new issuing authority, which signs certificates for a year. The coordinators make its key, and never let go of it;
the offline root in --dir signs it, with the offline key in --identity. What the one before has signed stays good.

Do so once a year, and when the root was replaced. Take the root off this machine again afterwards.`

func newIssuerRenewCommand(c *connection) *cobra.Command {
	var dir, identityFile string
	cmd := &cobra.Command{
		Use: "renew", Short: "Make a new issuing authority, with the offline root", Long: issuerRenewLong, Args: cobra.NoArgs,
		RunE: c.run(func(cmd *cobra.Command, client *api.Client, _ []string) error {
			root, err := identity.OpenOffline(dir, identityFile)
			if err != nil {
				return usageError{err}
			}
			info, err := client.Authority(cmd.Context())
			if err != nil {
				return err
			}
			if info.Cluster != root.Cluster() {
				return usageError{fmt.Errorf("the root in %s is of cluster %s, and the coordinators are of %s", dir, root.Cluster(), info.Cluster)}
			}
			key, err := client.RequestIssuer(cmd.Context())
			if err != nil {
				return err
			}
			certificate, err := root.SignIssuing([]byte(key.Request))
			if err != nil {
				return err
			}
			if err := client.SetIssuer(cmd.Context(), certificates.IssuingAuthority{Certificate: string(certificate), SealedKey: key.SealedKey}); err != nil {
				return err
			}
			parsed, err := identity.DecodeCertificates(certificate)
			if err != nil {
				return err
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), map[string]any{"serial": identity.SerialOf(parsed[0]), "until": parsed[0].NotAfter})
			}
			fmt.Fprintf(cmd.OutOrStdout(), "a new issuing authority signs from now on, %s\n", validFor(parsed[0].NotAfter))
			return nil
		}),
	}
	cmd.Flags().StringVar(&dir, "dir", "", "`directory` with root.pem and root.key.age, as drp ca init made it")
	cmd.Flags().StringVar(&identityFile, "identity", "", "`file` with the offline key (AGE-SECRET-KEY-1…)")
	_ = cmd.MarkFlagRequired("dir")
	_ = cmd.MarkFlagRequired("identity")
	return cmd
}
