package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"drp/orchestrator/export"
	"drp/raftstore"
	"drp/raftstore/identity"
	"drp/raftstore/state"
	"drp/replicator"
)

const recoverClusterLong = `Recover cluster brings the coordinators back when all of them are lost: from one site's store, or a file, and one
offline key. Run it on one machine, as the user that the coordinator runs as, with that coordinator's configuration and a
certificate of the platform (its old one, or a new one by drp ca).

It looks for the newest export that opens, is whole and was signed by a coordinator, shows what is in it and what is not,
looks for a coordinator that still lives, asks, and writes the directory of a cluster of this one coordinator. It
contacts no server, and nothing is started, stopped or moved by it, nor by the coordinator when that starts: it waits.
Then: start drp server, watch drp recover status, and end with drp recover resume.

Run it once, on one machine. Two recovered clusters would each give the same accounts away.`

// clusterRecovery is one `drp recover cluster`.
type clusterRecovery struct {
	config, identity  string // files
	bucket            storeFlags
	file, export, yes string
	unsigned          bool

	cmd    *cobra.Command
	server serverConfig
}

func newRecoverClusterCommand() *cobra.Command {
	r := &clusterRecovery{}
	cmd := &cobra.Command{
		Use: "cluster", Short: "All coordinators are lost: begin again from an export", Long: recoverClusterLong, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r.cmd = cmd
			return r.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.config, "config", "/etc/drp/server.yaml", "configuration `FILE` of the coordinator on this machine")
	f.StringVar(&r.identity, "identity", "", "`FILE` with an offline age key (AGE-SECRET-KEY-1…)")
	r.bucket.addFlags(f, "a site's store")
	f.StringVar(&r.file, "file", "", "an export in a `FILE`, in place of a store; its manifest is in FILE.json")
	f.StringVar(&r.export, "export", "", "take this export and no other (`NAME` as it is listed)")
	f.BoolVar(&r.unsigned, "unsigned", false, "take an export that no coordinator signed: only where nobody else could have written it")
	f.StringVar(&r.yes, "yes", "", "do not ask: the cluster's `UUID`, as you would type it")
	return cmd
}

func (r *clusterRecovery) run(ctx context.Context) error {
	if r.identity == "" || (r.bucket.name == "") == (r.file == "") {
		return usageError{errors.New("give --identity, and either --store with --endpoint and --credentials, or --file")}
	}
	if err := readConfig(r.config, &r.server); err != nil {
		return err
	}
	if err := checkVacant(r.server.Data); err != nil {
		return err
	}
	credentials, err := identity.Load(r.server.Certificates)
	if err != nil {
		return err
	}
	identities, err := identity.ReadAgeIdentities(r.identity)
	if err != nil {
		return fmt.Errorf("read offline key: %w", err)
	}
	from, err := r.source()
	if err != nil {
		return err
	}
	vouch := export.SignedBy(credentials)
	if r.unsigned {
		vouch = func(export.Manifest) (*export.Signer, error) { return nil, nil }
	}
	var look *export.Look
	if r.bucket.name != "" && r.export != "" {
		look, err = export.Named(ctx, from, r.export, vouch, identities...)
	} else {
		look, err = export.Newest(ctx, from, vouch, identities...)
	}
	if err != nil {
		return err
	}
	out := r.cmd.OutOrStdout()
	for _, s := range look.Skipped {
		fmt.Fprintf(out, "skipped %s: %s\n", clean(s.Name), clean(s.Why.Error()))
	}
	if look.Found == nil {
		return fmt.Errorf("none of the %d exports in %s can be used", look.All, from)
	}
	view := look.Found.State.View()
	if own := credentials.Identity(); own.Cluster != view.Cluster().UUID || own.Role != identity.Coordinator {
		return fmt.Errorf("the certificate here is %s of cluster %s, and the export is of cluster %s: it takes a coordinator's of that cluster", own, own.Cluster, view.Cluster().UUID)
	}
	printExport(out, look, time.Now())
	if err := findLiving(ctx, r.server, view); err != nil {
		return err
	}
	fmt.Fprintln(out, "No coordinator answers at any address that is known.")
	resealed, err := r.reseal(look.Found.State, identities, credentials.Identity())
	if err != nil {
		return err
	}
	if resealed > 0 {
		fmt.Fprintf(out, "%d secrets are sealed again, since this coordinator's key does not open them.\n", resealed)
	}
	if r.yes == "" {
		if r.yes, err = askCluster(r.cmd, view.Cluster().UUID, recoverConsequence(r.server)); err != nil {
			return err
		}
	}
	if r.yes != view.Cluster().UUID {
		return usageError{fmt.Errorf("this is cluster %s, and not %q; nothing was done", view.Cluster().UUID, r.yes)}
	}
	return r.seed(look)
}

// seed writes the directory. The incarnation is above all that any export names: two recoveries from one export are two.
func (r *clusterRecovery) seed(look *export.Look) error {
	var snapshot bytes.Buffer
	if err := look.Found.State.Persist(&snapshot); err != nil {
		return err
	}
	incarnation := max(look.Incarnation, look.Found.Manifest.Incarnation) + 1
	_, err := raftstore.Seed(r.server.Data, r.server.recovery(state.ClusterRecoverData{
		UUID: look.Found.Manifest.Cluster, Incarnation: incarnation, How: state.RecoveredExport, Source: look.Found.Name}), &snapshot)
	if err != nil {
		return fmt.Errorf("write the coordinator's directory: %w", err)
	}
	printRecovered(r.cmd.OutOrStdout(), r.server.Data, look.Found.Manifest.Cluster, incarnation)
	return nil
}

// checkVacant refuses a directory that holds anything: what is there may be the better truth.
func checkVacant(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("look at the coordinator's directory: %w", err)
	case len(entries) > 0:
		return usageError{fmt.Errorf("%s holds %s: a cluster is recovered into an empty directory only. What is there may be newer than any export: drp recover quorum begins from it. To go on all the same, move it away, and keep it", dir, entries[0].Name())}
	}
	return nil
}

// namedSource is a source that can be named to a person.
type namedSource struct {
	export.Source
	name string
}

func (s namedSource) String() string { return s.name }

func (r *clusterRecovery) source() (namedSource, error) {
	if r.file != "" {
		return namedSource{Source: fileSource{r.file}, name: r.file}, nil
	}
	store, err := r.bucket.open()
	if err != nil {
		return namedSource{}, err
	}
	return namedSource{Source: storeSource{store}, name: store.String()}, nil
}

// storeSource is a site's bucket, read without a gateway.
type storeSource struct{ store *replicator.Store }

const exportsInStore = ".drp/exports/"

func (s storeSource) List(ctx context.Context) ([]string, error) {
	objects, err := s.store.List(ctx, exportsInStore)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, o := range objects {
		names = append(names, strings.TrimPrefix(o.Key, exportsInStore))
	}
	return names, nil
}

func (s storeSource) Get(ctx context.Context, name string) ([]byte, error) {
	o, err := s.store.Stat(ctx, exportsInStore+name)
	if err != nil {
		return nil, err
	}
	if o.Size > maxExportKept {
		return nil, fmt.Errorf("read %s: it has %d bytes, and no export has more than %d", o.Key, o.Size, maxExportKept)
	}
	return s.store.Get(ctx, o.Key, o.Size)
}

// fileSource is one export in a file, under whatever name.
type fileSource struct{ path string }

func (s fileSource) manifest() (export.Manifest, error) {
	data, err := os.ReadFile(s.path + export.Clear)
	if err != nil {
		return export.Manifest{}, err
	}
	return export.ReadManifest(data)
}

func (s fileSource) List(context.Context) ([]string, error) {
	m, err := s.manifest()
	if err != nil {
		return nil, err
	}
	return []string{m.Name() + export.Sealed, m.Name() + export.Clear}, nil
}

func (s fileSource) Get(_ context.Context, name string) ([]byte, error) {
	if strings.HasSuffix(name, export.Clear) {
		return os.ReadFile(s.path + export.Clear)
	}
	return os.ReadFile(s.path)
}

// printSigner says whose word the export is, and who else's it is not.
func printSigner(w io.Writer, look *export.Look) {
	f := look.Found
	if f.Signer == nil {
		fmt.Fprintln(w, "taken unsigned: nobody vouches for it")
		return
	}
	who := clean(f.Signer.Name)
	fmt.Fprintf(w, "signed by coordinator %s, with its certificate %s\n", who, identity.SerialOf(f.Signer.Certificate))
	switch o := f.Other; {
	case o != nil && o.Manifest.At.Sub(f.Manifest.At) > time.Hour:
		fmt.Fprintf(w, "warning: it holds more than %s, which %s signed, and bears an earlier time (%s, and not after %s): a clock was wrong, or somebody signed with an old certificate\n",
			clean(o.Manifest.Name()), clean(o.Signer), localTime(f.Manifest.At), localTime(o.Manifest.At))
		fallthrough
	case o != nil:
		fmt.Fprintf(w, `Exports in a row that %s alone has signed, up to this one: %d; before those: %s, of %s, signed by %s. If the key of %s can be in other
hands, nobody else vouches for what was decided since: --export takes that one.
`, who, f.Since, clean(o.Manifest.Name()), localTime(o.Manifest.At), clean(o.Signer), who)
	case look.All > 1:
		fmt.Fprintf(w, "Since %s has that certificate no other coordinator has signed an export there: nobody else vouches for this one.\n", who)
	}
}

// printExport says what an export holds and what it cannot.
func printExport(w io.Writer, look *export.Look, now time.Time) {
	m, v := look.Found.Manifest, look.Found.State.View()
	age := now.Sub(m.At).Round(time.Second)
	fmt.Fprintf(w, "export %s, made by %s at %s (%s ago), of %d in all\n", clean(look.Found.Name), clean(m.By), localTime(m.At), short(age), look.All)
	fmt.Fprintf(w, "cluster %s, incarnation %d, log entry %d, audit trail up to entry %d\n", clean(m.Cluster), m.Incarnation, m.Index, m.AuditSeq)
	printSigner(w, look)
	repositories, snapshots := v.AllRepositories(), 0
	for _, a := range v.Accounts() {
		snapshots += len(v.Snapshots(a.Name))
	}
	fmt.Fprintf(w, "in it: %d sites, %d servers, %d policies, %d accounts, %d assignments, %d repositories, %d snapshots, %d tokens, %d erasures\n",
		len(v.Sites()), len(v.Servers()), len(v.Policies()), len(v.Accounts()), len(v.Assignments()), len(repositories), snapshots, len(v.APITokens()), len(v.Erasures()))
	fmt.Fprintf(w, `What was decided after it, in at most the time from then to the loss of the coordinators, cannot be saved:
  - assignments (failovers): learned again from the servers, which keep their tokens; drp recover status shows them
  - accounts and changes of the inventory: apply them again, before the resume, so that what runs is taken over
  - repositories of accounts that are newer than the export: their passwords are lost
  - new repositories that accounts were given since (drp server compromised): say it again, after the resume, with --again
  - erasures: an account that was erased since is there again, and its passwords open nothing any more: order it again, after the resume.
    An order that had not begun is taken back by the resume: order that again, too
  - snapshots: they are in the stores and no longer in the catalogue; the next backups are
  - runs and tasks: ended as failed at the resume; nothing is replayed
  - tokens, certificates and revocations: revoke again what was revoked since

`)
}
