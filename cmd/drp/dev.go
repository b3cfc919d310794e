package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"drp/e2e/lab"
	"drp/e2e/lab/host"
)

const devLong = `drp dev runs a whole platform on this machine, in network namespaces of its own: the sites par1 and par2 with two
servers each, the witness par3, a router per site, an S3 store per site, and a client beyond an internet of its own.
It needs root. It stays in the foreground; Ctrl-C ends it, and then nothing of it is left.

The programs are the real ones, and are restarted when they end, as systemd would. The ordinary commands reach the
platform by the sockets that drp dev prints.`

// newDevCommand is the lab, and what is done to a lab that runs.
func newDevCommand() *cobra.Command {
	d := &dev{}
	c := &cobra.Command{
		Use: "dev", Short: "Run a whole platform on this machine, for a first look and for tests", Long: devLong,
		Args: cobra.NoArgs, RunE: d.run,
	}
	c.PersistentFlags().StringVar(&d.state, "state", lab.DefaultState, "`directory` for everything that the platform writes")
	c.Flags().StringVar(&d.bin, "bin", "", "`directory` with restic and versitygw (default: beside drp)")
	c.Flags().BoolVar(&d.keep, "keep", false, "keep the logs after the end")
	c.Flags().BoolVar(&d.verbose, "verbose", false, "tell how long each step took")
	c.AddCommand(d.cleanCommand(), d.statusCommand(), d.killCommand(), d.cutCommand(), d.healCommand(), d.execCommand(), d.fetchCommand(), hostCommand())
	return c
}

// dev has the flags that drp dev's commands share.
type dev struct {
	state, bin    string
	keep, verbose bool
}

func (d *dev) run(cmd *cobra.Command, _ []string) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGHUP) // the terminal is gone; the other signals are main's
	defer stop()
	began := time.Now()
	level := slog.LevelInfo
	if d.verbose {
		level = slog.LevelDebug
	}
	out := cmd.OutOrStdout()
	l, err := lab.Start(ctx, lab.Config{
		State: d.state, Bin: d.bin, KeepLogs: d.keep,
		Logger:   slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level})),
		Progress: func(s string) { fmt.Fprintln(out, "drp dev: "+clean(s)) },
	})
	if err != nil {
		if d.keep {
			return fmt.Errorf("%w (logs: %s/logs)", err, d.state)
		}
		return err
	}
	fmt.Fprintf(out, `drp dev: up after %s

  In another terminal:
    export DRP_SOCKET=%s
    drp status
    drp dev%s status | kill site par1 | cut site par1 --all | heal | exec par1-s1 -- ip addr | fetch http://[2001:db8:a::100]/

  Sites and servers are in the inventory already; policies and accounts are yours: drp apply -f FILE.
  Logs: %s/logs. Ctrl-C ends it.
`, short(time.Since(began)), l.Sockets(), d.flag(), l.State())
	<-ctx.Done()
	fmt.Fprintln(out, "drp dev: ending")
	return l.Close()
}

// flag is what the other commands need to find this one.
func (d *dev) flag() string {
	if d.state == lab.DefaultState {
		return ""
	}
	return " --state " + d.state
}

func (d *dev) cleanCommand() *cobra.Command {
	return &cobra.Command{
		Use: "clean", Short: "Remove what a drp dev left that was killed", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if os.Geteuid() != 0 {
				return errors.New("drp dev clean needs root: run it with sudo")
			}
			return lab.Clean(cmd.Context(), d.state)
		},
	}
}

func (d *dev) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show the hosts and their processes", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := lab.NewControl(d.state).Report(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON, err := cmd.Flags().GetBool("json"); err == nil && asJSON {
				return printJSON(cmd.OutOrStdout(), r)
			}
			printLab(cmd.OutOrStdout(), r)
			return nil
		},
	}
}

func printLab(w io.Writer, r *lab.Report) {
	fmt.Fprintf(w, "export DRP_SOCKET=%s\n", r.Sockets)
	for _, c := range r.Cuts {
		from := "the other sites"
		if c.Uplink {
			from = "everything"
		}
		fmt.Fprintf(w, "%s is cut from %s\n", c.Site, from)
	}
	for _, h := range r.Hosts {
		state := "dead"
		if h.PID != 0 {
			state = "up"
		}
		fmt.Fprintf(w, "%-10s %-12s %-22s %-5s %s\n", h.Name, h.Role, h.Address, state, services(h))
	}
}

func services(h lab.HostReport) string {
	var list []string
	for _, s := range h.Services {
		text := s.Name
		switch {
		case s.PID == 0 && !s.Wanted:
			text += " (stopped)"
		case s.PID == 0:
			text += " (ended: " + s.LastExit + ")"
		case s.Restarts > 0:
			text += fmt.Sprintf(" (restarted %d times)", s.Restarts)
		}
		list = append(list, text)
	}
	return clean(strings.Join(list, ", "))
}

func (d *dev) killCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "kill", Short: "End a part of the platform with SIGKILL", RunE: group,
		Long: "End a part of the platform with SIGKILL, as a fire or a loss of power would.\nWhat was killed stays dead until drp dev heal; a process is started again at once.",
	}
	for _, k := range []struct{ kind, name, short string }{
		{lab.KindSite, "SITE", "a datacenter: its links and everything in it"},
		{lab.KindServer, "HOST", "one server with everything on it"},
		{lab.KindCoordinator, "HOST", "one coordinator's host"},
		{lab.KindProcess, "HOST/SERVICE", "one program, as in par1-s1/agent"},
	} {
		c.AddCommand(&cobra.Command{
			Use: k.kind + " " + k.name, Short: "Kill " + k.short, Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return lab.NewControl(d.state).Kill(cmd.Context(), k.kind, args[0])
			},
		})
	}
	return c
}

func (d *dev) cutCommand() *cobra.Command {
	var keepUplink, all bool
	site := &cobra.Command{
		Use: "site SITE", Short: "Cut a site; its programs keep running", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return lab.NewControl(d.state).CutSite(cmd.Context(), args[0], keepUplink)
		},
	}
	site.Flags().BoolVar(&keepUplink, "keep-uplink", false, "cut it from the other sites only; the client still reaches it")
	site.Flags().BoolVar(&all, "all", false, "cut it from everything")
	site.MarkFlagsMutuallyExclusive("keep-uplink", "all")
	site.MarkFlagsOneRequired("keep-uplink", "all")
	c := &cobra.Command{Use: "cut", Short: "Take links down", RunE: group}
	c.AddCommand(site)
	return c
}

func (d *dev) healCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "heal", Short: "Bring links back, and boot what was killed, with its disks as they were", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return lab.NewControl(d.state).Heal(cmd.Context(), "") },
	}
	c.AddCommand(&cobra.Command{
		Use: "site SITE", Short: "Heal one site", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return lab.NewControl(d.state).Heal(cmd.Context(), args[0])
		},
	})
	return c
}

func (d *dev) execCommand() *cobra.Command {
	return &cobra.Command{
		Use: "exec HOST -- COMMAND…", Short: "Run a command on a host", Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			pid, err := lab.NewControl(d.state).Process(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			nsenter, err := exec.LookPath("nsenter")
			if err != nil {
				return fmt.Errorf("enter host %s: %w", args[0], err)
			}
			enter := append([]string{nsenter, "--target", strconv.Itoa(pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--wd=/", "--"}, args[1:]...)
			// It becomes the command, so that a terminal and the exit status are the command's own.
			return fmt.Errorf("enter host %s: %w", args[0], syscall.Exec(nsenter, enter, os.Environ()))
		},
	}
}

func (d *dev) fetchCommand() *cobra.Command {
	var from string
	c := &cobra.Command{
		Use: "fetch URL", Short: "Fetch a URL as the client does, from outside of the platform", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return fetch(cmd.Context(), lab.NewControl(d.state), from, args[0], cmd.OutOrStdout())
		},
	}
	c.Flags().StringVar(&from, "from", "client", "the `host` to fetch from")
	return c
}

func fetch(ctx context.Context, control *lab.Control, from, url string, out io.Writer) error {
	pid, err := control.Process(ctx, from)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return usageError{err}
	}
	resp, err := lab.HTTPClient(func() (int, error) { return pid, nil }).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(out, resp.Body); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if resp.StatusCode >= 400 {
		return fmt.Errorf("fetch %s: %s", url, resp.Status)
	}
	return nil
}

// hostCommand is the first process of a host of the lab. Nobody types it.
func hostCommand() *cobra.Command {
	return &cobra.Command{
		Use: "host SPEC", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return host.Run(args[0]) },
	}
}
