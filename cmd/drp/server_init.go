package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"drp/orchestrator"
	"drp/orchestrator/api"
	"drp/orchestrator/sealing"
	"drp/raftstore"
	"drp/raftstore/identity"
)

// initPatience is how long the other coordinators are asked whether they know this one.
const initPatience = 5 * time.Second

const serverInitLong = `Make the data directory of a new coordinator, and mark it for its first start. Without the mark a coordinator that has no
state does not start: one that lost its disk has forgotten whom it voted for, and must not vote.

For a new cluster do so once on each of its machines, as the user that the coordinator runs as. Never do it for a
coordinator that has run before, whatever became of its disk: the others are asked whether they know it.

With --join the coordinator is one more for a cluster that lives, or takes the place of one whose disk is gone. It has
a name that no coordinator had before, and its configuration lists the others and itself. It starts, and waits to be
added; the command for that is printed.`

func newServerInitCommand() *cobra.Command {
	var path string
	var join bool
	c := &cobra.Command{
		Use: "init", Short: "Ready the data directory of a coordinator that has never run", Long: serverInitLong, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var c serverConfig
			if err := readConfig(path, &c); err != nil {
				return err
			}
			command, prepare := "", raftstore.Prepare
			if join {
				prepare = raftstore.PrepareJoin
				var err error
				if command, err = c.joinCommand(); err != nil {
					return usageError{fmt.Errorf("configuration %s: %w", path, err)}
				}
			}
			if err := askOthers(cmd.Context(), c, join, cmd.ErrOrStderr()); err != nil {
				return err
			}
			if err := prepare(c.Data); err != nil {
				return err
			}
			if !join {
				fmt.Fprintf(cmd.OutOrStdout(), "%s: coordinator %s may start for the first time\n", c.Data, c.Name)
				return nil
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: coordinator %s may start, and waits to be added. When it runs, type where the others are reached:\n\n%s\n", c.Data, c.Name, command)
			return nil
		},
	}
	c.Flags().StringVar(&path, "config", "/etc/drp/server.yaml", "configuration file")
	c.Flags().BoolVar(&join, "join", false, "for a cluster that lives")
	return c
}

// joinCommand is what has to be typed to add this coordinator.
func (c serverConfig) joinCommand() (string, error) {
	others := 0
	var self *peerConfig
	for i, p := range c.Peers {
		if p.Name == c.Name {
			self = &c.Peers[i]
		} else {
			others++
		}
	}
	switch {
	case self == nil || self.Raft == "" || self.API == "" || self.Site == "":
		return "", fmt.Errorf("%s is not among its peers, with site, raft and api: the others have to reach it", c.Name)
	case others == 0:
		return "", errors.New("it lists no other coordinator: a new cluster begins without --join")
	}
	recipient, err := ownRecipient(c.AgeIdentity)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("  drp raft join %s --site %s --address %s --api %s --recipient %s --wait", self.Name, self.Site, self.Raft, self.API, recipient), nil
}

// ownRecipient is the public half of an age identity.
func ownRecipient(file string) (string, error) {
	own, err := sealing.ReadIdentity(file)
	if err != nil {
		return "", err
	}
	return own.Recipient().String(), nil
}

// askOthers refuses a coordinator that the others have heard before: it has voted, and what it promised is on another
// disk. When none can be asked, the person is told so.
func askOthers(ctx context.Context, c serverConfig, join bool, w io.Writer) error {
	var others []string
	for _, p := range c.Peers {
		if p.Name != c.Name {
			others = append(others, p.API)
		}
	}
	if len(others) == 0 {
		fmt.Fprintf(w, "drp: its configuration lists no other coordinator among its peers: %s will be a cluster by itself, at once. "+
			"If there are others, or will be, list all of them before the first start: else there are two clusters\n", clean(c.Name))
		return nil
	}
	credentials, err := identity.Load(c.Certificates)
	if err != nil {
		fmt.Fprintf(w, "drp: no coordinator was asked whether it knows %s: %v\n", clean(c.Name), err)
		return nil
	}
	answered := false
	for _, url := range others {
		a, err := acquainted(ctx, url, credentials, c.Name)
		if err != nil {
			continue
		}
		answered = true
		if err := refuseKnown(c.Name, a, join); err != nil {
			return err
		}
	}
	if !answered {
		fmt.Fprintf(w, "drp: no other coordinator answers (%s), so none could say whether %s has run before. If it has, stop here. "+
			"If this platform has lost all of its coordinators, drp recover cluster brings them back: a new cluster would know nothing of what runs\n",
			strings.Join(others, ", "), clean(c.Name))
	}
	return nil
}

func acquainted(ctx context.Context, url string, credentials *identity.Credentials, name string) (orchestrator.Acquaintance, error) {
	ctx, cancel := context.WithTimeout(ctx, initPatience)
	defer cancel()
	client, err := api.NewClient(api.ClientConfig{Coordinators: []string{url}, Credentials: credentials})
	if err != nil {
		return orchestrator.Acquaintance{}, err
	}
	defer client.Close()
	return client.Acquainted(ctx, name)
}

func refuseKnown(name string, a orchestrator.Acquaintance, join bool) error {
	const instead = "Give the machine a new name and a directory of its own, ready it with drp server init --join, join it with drp raft join, " +
		"and remove %s with drp raft remove: %w"
	switch {
	case a.Member && a.Heard:
		return fmt.Errorf("coordinator %s knows %s: it has taken part in the cluster, so it has voted, and with an empty disk it would vote again. "+
			"Mount its disk. Only when that is gone for good, go on like this. "+instead, a.From, name, name, orchestrator.ErrRefused)
	case join && a.Member:
		return fmt.Errorf("%s is a member already, says coordinator %s. "+instead, name, a.From, name, orchestrator.ErrRefused)
	case !join && !a.Member && a.Leader != "":
		return fmt.Errorf("a cluster lives (%s leads it, says coordinator %s), and %s is no member: alone it would begin a second one. "+
			"Ready it with drp server init --join: %w", a.Leader, a.From, name, orchestrator.ErrRefused)
	}
	return nil
}
