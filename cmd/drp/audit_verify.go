package main

import (
	"bufio"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"drp/raftstore/audit"
)

const auditVerifyLong = `Verify exported segments of the audit trail, without a platform: that no byte of them was changed, that no entry is missing,
and that they form one trail. Several files may overlap, in any order; a directory stands for all files in it.

Somebody who can write the files can also make all hashes anew, from any entry on. Checkpoints find that: they are words of
coordinators on the trail, signed with their certificates, and lie beside the segments in each site's store. Give them
with --checkpoint, or among the files, and the root certificate of the platform with --root.

Exit code 0: the trail is good. 1: it is not; the first fault is said in one sentence.`

func newAuditVerifyCommand(c *connection) *cobra.Command {
	var root string
	var checkpoints []string
	cmd := &cobra.Command{
		Use: "verify FILE…", Short: "Verify exported segments of the audit trail, offline", Long: auditVerifyLong, Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			v := auditFiles{}
			for _, path := range args {
				if err := v.add(path, false); err != nil {
					return err
				}
			}
			for _, path := range checkpoints {
				if err := v.add(path, true); err != nil {
					return err
				}
			}
			words, err := v.words(root)
			if err != nil {
				return err
			}
			report, err := audit.VerifyFiles(v.segments, words...)
			if err != nil {
				return fmt.Errorf("audit verify: %w", err)
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), report)
			}
			printAuditReport(cmd, report)
			return nil
		},
	}
	cmd.Flags().StringVar(&root, "root", "", "`file` with the platform's root certificate, for checkpoints")
	cmd.Flags().StringSliceVar(&checkpoints, "checkpoint", nil, "`file` with a signed checkpoint; may be repeated")
	return cmd
}

func printAuditReport(cmd *cobra.Command, r audit.Report) {
	for _, l := range r.Lost {
		fmt.Fprintf(cmd.ErrOrStderr(), "drp: a recovery of the cluster began with an older state: entries %d to %d of before it are lost\n", l.From, l.Through)
	}
	if r.First > 1 {
		fmt.Fprintf(cmd.ErrOrStderr(), "drp: these files begin at entry %d; nothing is said about what came before\n", r.First)
	}
	var words string
	if r.Checkpoints > 0 {
		words = fmt.Sprintf(" checkpoints=%d", r.Checkpoints)
		if r.Vouched < r.Last {
			fmt.Fprintf(cmd.ErrOrStderr(), "drp: no coordinator's word is here on entries %d to %d: whoever can write these files may have made them, and may have taken words away\n", r.Vouched+1, r.Last)
		}
	} else {
		fmt.Fprintln(cmd.ErrOrStderr(), "drp: without a checkpoint nobody can tell whether all hashes were made anew")
	}
	fmt.Fprintf(cmd.OutOrStdout(), "audit verify: entries=%d first=%d last=%d head=%s%s ok\n", r.Entries, r.First, r.Last, r.Head, words)
}

// auditFiles are what a person gave to verify.
type auditFiles struct {
	segments    []audit.File
	checkpoints []string
}

// add takes a file, or all files of a directory. What is no checkpoint is taken for a segment: verification says what is
// wrong with it.
func (v *auditFiles) add(path string, checkpoint bool) error {
	info, err := os.Stat(path)
	if err != nil {
		return usageError{err}
	}
	if info.IsDir() {
		entries, err := os.ReadDir(path)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.Type().IsRegular() {
				if err := v.add(filepath.Join(path, e.Name()), checkpoint); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if !checkpoint {
		if checkpoint, err = startsAsCheckpoint(path); err != nil {
			return err
		}
	}
	if checkpoint {
		v.checkpoints = append(v.checkpoints, path)
		return nil
	}
	v.segments = append(v.segments, audit.File{Name: path, Open: func() (io.ReadCloser, error) { return os.Open(path) }})
	return nil
}

func startsAsCheckpoint(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, usageError{err}
	}
	defer f.Close()
	start, err := bufio.NewReader(f).Peek(64)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	return audit.IsCheckpoint(start), nil
}

// words are the checkpoints, each of which has to be a coordinator's.
func (v *auditFiles) words(root string) ([]audit.Checkpoint, error) {
	if len(v.segments) == 0 {
		return nil, usageError{errors.New("there is no segment to verify among these files")}
	}
	var roots *x509.CertPool
	if root != "" { // read in any case: who gives it relies on it
		var err error
		if roots, err = readRoots(root); err != nil {
			return nil, err
		}
	} else if len(v.checkpoints) > 0 {
		return nil, usageError{errors.New("a checkpoint is worth its signature: give the platform's root certificate with --root")}
	}
	var words []audit.Checkpoint
	for _, path := range slices.Compact(slices.Sorted(slices.Values(v.checkpoints))) {
		body, err := os.ReadFile(path)
		if err != nil {
			return nil, usageError{err}
		}
		signed, err := audit.ReadCheckpoint(body)
		if err == nil {
			err = signed.Check(roots)
		}
		if err != nil {
			return nil, fmt.Errorf("audit verify: %s: %w", path, err)
		}
		words = append(words, signed.Checkpoint)
	}
	return words, nil
}

// readRoots reads the platform's root certificate.
func readRoots(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, usageError{err}
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, usageError{fmt.Errorf("%s holds no PEM certificate", path)}
	}
	return roots, nil
}
