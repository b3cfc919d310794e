package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"drp/orchestrator"
	"drp/orchestrator/export"
	"drp/raftstore"
	"drp/raftstore/audit"
	"drp/raftstore/identity"
	"drp/raftstore/state"
	"drp/replicator"
)

const recoverQuorumLong = `Recover quorum makes a cluster of one coordinator from the directory of one survivor, when a majority is lost for good.
Run it on the survivor's machine, as the user that the coordinator runs as, with its drp server stopped. Where there are
two survivors, take the one whose log goes further: without --yes the command shows that and asks.

Everything in the survivor's log is kept, to its end. What a majority had acknowledged and this one had not received yet
is lost: acknowledged commands are, as a rule, some milliseconds old when every follower has them, but a follower that
lagged may miss minutes. With --store the newest export and the audit trail in that store say what is missing.

The old directory is kept beside the new one. Never start a coordinator from it, nor from the directory of any other
coordinator of the old cluster: those believe in the old one. Empty them, and let them join.`

// quorumRecovery is one `drp recover quorum`.
type quorumRecovery struct {
	config, yes string
	bucket      storeFlags
	cmd         *cobra.Command
	server      serverConfig
}

func newRecoverQuorumCommand() *cobra.Command {
	r := &quorumRecovery{}
	cmd := &cobra.Command{
		Use: "quorum", Short: "A majority of the coordinators is lost for good: begin again from one survivor", Long: recoverQuorumLong, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r.cmd = cmd
			return r.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.config, "config", "/etc/drp/server.yaml", "configuration `FILE` of the surviving coordinator")
	r.bucket.addFlags(f, "a site's store, to hold the survivor against")
	f.StringVar(&r.yes, "yes", "", "do not ask: the cluster's `UUID`, as you would type it")
	return cmd
}

func (r *quorumRecovery) run(ctx context.Context) error {
	if err := readConfig(r.config, &r.server); err != nil {
		return err
	}
	credentials, err := identity.Load(r.server.Certificates)
	if err != nil {
		return err
	}
	view, report, err := raftstore.Survey(r.server.Data)
	if errors.Is(err, raftstore.ErrInUse) {
		return fmt.Errorf("%w: %w", err, orchestrator.ErrRefused)
	}
	if err != nil {
		return err
	}
	cluster := view.Cluster()
	if cluster == nil {
		return errors.New("the survivor knows no cluster: nothing was ever decided there")
	}
	if own := credentials.Identity(); own.Cluster != cluster.UUID || own.Role != identity.Coordinator {
		return fmt.Errorf("the certificate here is %s of cluster %s, and the directory is of cluster %s", own, own.Cluster, cluster.UUID)
	}
	out := r.cmd.OutOrStdout()
	printSurvivor(out, r.server.Data, view, report)
	if err := r.compare(ctx, view, credentials); err != nil {
		return err
	}
	if err := findLiving(ctx, r.server, view); err != nil {
		return err
	}
	fmt.Fprintln(out, "No coordinator answers at any address that is known.")
	if r.yes == "" {
		if r.yes, err = askCluster(r.cmd, cluster.UUID, recoverConsequence(r.server)); err != nil {
			return err
		}
	}
	if r.yes != cluster.UUID {
		return usageError{fmt.Errorf("this is cluster %s, and not %q; nothing was done", cluster.UUID, r.yes)}
	}
	made, err := raftstore.RecoverQuorum(r.server.Data, r.server.recovery(state.ClusterRecoverData{
		UUID: cluster.UUID, Incarnation: cluster.Incarnation + 1, How: state.RecoveredQuorum,
		Source: fmt.Sprintf("%s of %s, up to entry %d", r.server.Data, r.server.Name, report.Last)}))
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\nThe old directory is kept as %s; no coordinator may ever start from it.\n", made.Kept)
	printRecovered(out, r.server.Data, made.Cluster, made.Incarnation)
	return nil
}

func printSurvivor(w io.Writer, dir string, v *state.View, r raftstore.Report) {
	head := v.AuditHead()
	fmt.Fprintf(w, "%s: cluster %s, incarnation %d, log up to entry %d, audit trail up to entry %d\n", dir, clean(r.Cluster), r.Incarnation, r.Last, head.Seq)
	fmt.Fprintf(w, "in it: %d servers, %d accounts, %d assignments, %d repositories\n", len(v.Servers()), len(v.Accounts()), len(v.Assignments()), len(v.AllRepositories()))
	if len(r.Tail) > 0 {
		newest := r.Tail[len(r.Tail)-1]
		fmt.Fprintf(w, "its newest command is %s by %s, of %s\n", newest.Name, clean(newest.By), localTime(newest.At))
	}
	fmt.Fprintln(w, "Nobody can tell of its last commands whether a majority had them: they are kept, and count.")
}

// compare says what a store knows and the survivor does not. A survivor of an earlier incarnation is refused: the cluster
// was recovered since, without it.
func (r *quorumRecovery) compare(ctx context.Context, v *state.View, credentials *identity.Credentials) error {
	out := r.cmd.OutOrStdout()
	if r.bucket.name == "" {
		fmt.Fprintln(out, "No store was given to hold it against: what the other coordinators had acknowledged and this one had not received is lost, and cannot be named.")
		return nil
	}
	store, err := r.bucket.open()
	if err != nil {
		return err
	}
	m, err := export.Last(ctx, storeSource{store}, export.SignedBy(credentials))
	if err != nil {
		return err
	}
	cluster, head := v.Cluster(), v.AuditHead()
	switch {
	case m == nil:
		fmt.Fprintf(out, "There is no export in %s.\n", store)
	case m.Cluster != cluster.UUID:
		return fmt.Errorf("the exports in %s are of cluster %s, and the survivor's directory of %s: %w", store, m.Cluster, cluster.UUID, orchestrator.ErrRefused)
	case m.Incarnation > cluster.Incarnation:
		return fmt.Errorf("the newest export in %s is of incarnation %d, and this directory of incarnation %d: the cluster was recovered since without it, and this directory is no survivor of it: %w",
			store, m.Incarnation, cluster.Incarnation, orchestrator.ErrRefused)
	case m.Index > v.Index():
		fmt.Fprintf(out, "The newest export (%s, of %s) goes further than this survivor: up to entry %d of the log, which here ends at %d.\n"+
			"Stop, and think of drp recover cluster, which begins from that export.\n", clean(m.Name()), localTime(m.At), m.Index, v.Index())
	default:
		fmt.Fprintf(out, "The survivor goes further than the newest export (%s).\n", clean(m.Name()))
	}
	missing, err := entriesAfter(ctx, store, head.Seq)
	if err != nil {
		return err
	}
	if len(missing) == 0 {
		fmt.Fprintf(out, "The audit trail in %s has nothing that this survivor has not.\n", store)
		return nil
	}
	fmt.Fprintf(out, "\n%d commands are in the audit trail of %s and not here. They cannot be saved:\n", len(missing), store)
	t := newTable("ENTRY", "AT", "BY", "COMMAND", "ABOUT")
	for _, e := range missing[:min(len(missing), 200)] {
		t.add(fmt.Sprint(e.Seq), localTime(e.At), e.By, string(e.Command), strings.TrimSpace(e.Subject+" "+e.Detail))
	}
	t.print(out)
	return nil
}

const auditInStore = ".drp/audit/"

// entriesAfter reads the audit trail of a store from an entry on. What cannot be read is passed over: it is not what is
// decided on here, and drp audit verify says more.
func entriesAfter(ctx context.Context, store *replicator.Store, seq uint64) ([]*state.AuditEntry, error) {
	objects, err := store.List(ctx, auditInStore)
	if err != nil {
		return nil, err
	}
	found := map[uint64]*state.AuditEntry{}
	for _, o := range objects {
		data, err := store.Get(ctx, o.Key, o.Size)
		if err != nil {
			return nil, err
		}
		if audit.IsCheckpoint(data) {
			continue
		}
		_, _ = audit.Scan(bytes.NewReader(data), func(e *state.AuditEntry) error {
			if e.Seq > seq {
				found[e.Seq] = e
			}
			return nil
		})
	}
	var list []*state.AuditEntry
	for _, e := range found {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b *state.AuditEntry) int { return int(a.Seq) - int(b.Seq) })
	return list, nil
}

// self is this coordinator as the others reach it.
func (c serverConfig) self() raftstore.Peer {
	for _, p := range c.Peers {
		if p.Name == c.Name {
			return raftstore.Peer{Name: p.Name, Address: p.Raft}
		}
	}
	return raftstore.Peer{Name: c.Name, Address: c.Raft}
}

func (c serverConfig) recovery(d state.ClusterRecoverData) raftstore.Recovery {
	who := "unknown"
	if u, err := user.Current(); err == nil {
		who = u.Username
	}
	return raftstore.Recovery{Self: c.self(), Recover: d, At: time.Now(), By: "operator/recover/" + who}
}

func recoverConsequence(c serverConfig) string {
	return fmt.Sprintf(`A cluster of one coordinator is about to be written to %s.
If another coordinator of the old cluster still lives, out of reach from here, or is ever started again from its old disk,
there will be two clusters that each decide alone: accounts would be started twice. Only go on when you know that all
others are gone, or are switched off and stay so until they are emptied; and do this on no other machine.
`, c.Data)
}

func printRecovered(w io.Writer, dir, cluster string, incarnation uint64) {
	fmt.Fprintf(w, `
%s holds cluster %s as a cluster of this one coordinator, in incarnation %d. It does nothing by itself. Go on with:
  systemctl start drp-server   (or however drp server is started here)
  drp recover status           until every server that lives has told what it holds
  drp recover resume           from then on it acts
  drp raft join                for each other coordinator, with an empty directory
`, dir, clean(cluster), incarnation)
}
