package restic

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// What restic's exit code means. An *Error wraps exactly one of them.
var (
	ErrFailed        = errors.New("restic failed")                  // 1, a panic, a signal, and every code that we do not know
	ErrIncomplete    = errors.New("some sources could not be read") // 3; a backup's snapshot exists nevertheless
	ErrNoRepository  = errors.New("repository does not exist")      // 10
	ErrLocked        = errors.New("repository is locked")           // 11
	ErrWrongPassword = errors.New("no key matches the password")    // 12
	ErrCancelled     = errors.New("restic was cancelled")           // 130, or our own deadline or cancellation
)

// ErrDamaged: in the words of a backup the repository could be damaged. It comes with ErrIncomplete.
var ErrDamaged = errors.New("a tree of the repository is missing")

// damageSaid is restic's word for that, in what it says of a directory.
const damageSaid = "the repository could be damaged"

// Error is a restic run that did not end with exit code 0.
type Error struct {
	Verb    string // backup, restore, …
	Code    int    // exit code; -1: ended by a signal, or never started
	Class   error  // one of the sentinels above
	Message string // restic's own last word, one line
	Tail    string // the last lines of its stderr, bounded and without control characters
	Cause   error  // why we ended it, or why it could not be started; nil otherwise
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "restic %s: ", e.Verb)
	switch {
	case e.Cause != nil:
		fmt.Fprintf(&b, "%v: %v", e.Class, e.Cause)
	default:
		fmt.Fprintf(&b, "%v (exit code %d)", e.Class, e.Code)
	}
	if e.Message != "" {
		b.WriteString(": ")
		b.WriteString(e.Message)
	}
	return b.String()
}

// Unwrap makes errors.Is work for the class and for the cause (context.DeadlineExceeded, fs.ErrNotExist, …).
func (e *Error) Unwrap() []error {
	if e.Cause != nil {
		return []error{e.Class, e.Cause}
	}
	return []error{e.Class}
}

func classOf(code int) error {
	switch code {
	case 3:
		return ErrIncomplete
	case 10:
		return ErrNoRepository
	case 11:
		return ErrLocked
	case 12:
		return ErrWrongPassword
	case 130:
		return ErrCancelled
	default:
		return ErrFailed
	}
}

// printable removes what file names of an account could do to a log or a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// oneLine is printable text cut to a length that fits a message.
func oneLine(s string) string {
	const limit = 400
	s = strings.Join(strings.Fields(printable(s)), " ")
	if r := []rune(s); len(r) > limit {
		s = string(r[:limit]) + "…"
	}
	return s
}
