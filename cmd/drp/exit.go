package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"drp/orchestrator"
	"drp/orchestrator/api"
	"drp/orchestrator/inventory"
	"drp/raftstore/state"
)

// Exit codes.
const (
	codeDone        = 0
	codeFailed      = 1
	codeUsage       = 2 // flags, files or names are wrong; nothing was asked of the platform
	codeRefused     = 3
	codeUnreachable = 4 // no coordinator answers or leads, or nobody knows what became of the request
	codeRun         = 5 // a run failed, in whole or in part
	codeUnprotected = 6 // drp protection: not all accounts are; drp verify --now --wait: a copy is not known to be good
	codeUnfit       = 7 // drp store check: the store lacks something that drp needs
	codeInterrupted = 130
)

// usageError is wrong input.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// runError is a run that did not do all of its work.
type runError struct{ message string }

func (e *runError) Error() string { return e.message }

// interruptError is the end of a command before the run that it follows: the person who types no longer wants to look.
type interruptError struct{ run state.RunID }

func (e *interruptError) Error() string {
	return fmt.Sprintf("the run goes on; follow it with: drp run watch %s", e.run)
}

// exitCode is the table from error to exit code.
func exitCode(err error) int {
	var usage usageError
	var run *runError
	var unprotected *unprotectedError
	var notGood *notGoodError
	var unfit *unfitError
	var interrupted *interruptError
	switch {
	case err == nil:
		return codeDone
	case errors.As(err, &run):
		return codeRun
	case errors.As(err, &unprotected), errors.As(err, &notGood):
		return codeUnprotected
	case errors.As(err, &unfit):
		return codeUnfit
	case errors.As(err, &usage):
		return codeUsage
	case errors.As(err, &interrupted):
		return codeInterrupted
	}
	for _, row := range []struct {
		err  error
		code int
	}{
		{orchestrator.ErrUnknownOutcome, codeUnreachable},
		{orchestrator.ErrNotLeader, codeUnreachable},
		{api.ErrNoLeader, codeUnreachable},
		{orchestrator.ErrNotRecorded, codeUnreachable},
		{api.ErrUnreachable, codeUnreachable},
		{orchestrator.ErrNotSealed, codeUnreachable},
		{api.ErrUnauthenticated, codeRefused},
		{api.ErrForbidden, codeRefused},
		{orchestrator.ErrRefused, codeRefused},
		{state.ErrConflict, codeRefused},
		{state.ErrInvalid, codeUsage},
		{state.ErrNotFound, codeUsage},
		{context.Canceled, codeInterrupted},
	} {
		if errors.Is(err, row.err) {
			return row.code
		}
	}
	return codeFailed
}

// printError says what went wrong; errors of input files one per line, as editors like it.
func printError(w io.Writer, err error) {
	var refusal *api.Error
	if errors.As(err, &refusal) && len(refusal.Details) > 0 {
		inFiles := true
		for _, d := range refusal.Details {
			inFiles = inFiles && d.File != ""
		}
		for _, d := range refusal.Details {
			fmt.Fprintln(w, clean(d.String()))
		}
		if inFiles {
			return
		}
	}
	var inFile inventory.Errors
	if errors.As(err, &inFile) {
		for _, e := range inFile {
			fmt.Fprintln(w, clean(e.Error()))
		}
		return
	}
	for i, line := range strings.Split(err.Error(), "\n") {
		if i == 0 {
			fmt.Fprintf(w, "drp: %s\n", clean(line))
			continue
		}
		fmt.Fprintf(w, "  %s\n", clean(line)) // lists have a fault on each line
	}
}
