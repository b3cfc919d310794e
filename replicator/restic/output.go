package restic

import (
	"bytes"
	"cmp"
	"encoding/json"
	"regexp"
	"strings"
)

const maxTail = 8 << 10

// lines is an io.Writer that hands on whole lines. A line longer than max is dropped, so a child can never make us
// hold more than that.
type lines struct {
	max      int
	each     func(line []byte)
	rest     []byte
	dropping bool
}

func (l *lines) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		line, after, whole := bytes.Cut(p, []byte{'\n'})
		if !l.dropping && len(l.rest)+len(line) > l.max {
			l.rest, l.dropping = nil, true
		}
		if !l.dropping {
			l.rest = append(l.rest, line...)
		}
		if whole {
			l.flush()
		}
		p = after
	}
	return n, nil
}

// flush ends the current line; after the child's end it hands on a last one without newline.
func (l *lines) flush() {
	if !l.dropping && len(bytes.TrimSpace(l.rest)) > 0 {
		l.each(l.rest)
	}
	l.rest, l.dropping = l.rest[:0], false
}

// message is the union of the JSON lines that restic prints and that we read. Plain lines stand among them, and
// fields come and go with versions: what does not parse is text, what is unknown is ignored.
type message struct {
	Type string `json:"message_type"`

	// exit_error, and error of a check. The first one's code is not read: the process's own is the one that counts.
	Message string `json:"message"`

	// error of all others
	Error struct {
		Message string `json:"message"`
	} `json:"error"`
	Item string `json:"item"`
}

// kind reads a line's message_type; empty for a line that is no JSON object.
func kind(line []byte) string {
	var m struct {
		Type string `json:"message_type"`
	}
	if json.Unmarshal(line, &m) != nil {
		return ""
	}
	return m.Type
}

// stderr keeps what matters of the child's errors: its last word, the sources that it could not read, and a
// bounded tail of everything.
type stderr struct {
	tail       []string
	size       int
	last       string // exit_error's message, or the last plain line
	final      bool   // last is exit_error's
	unreadable []string
	errors     int
}

func (s *stderr) line(line []byte) {
	var m message
	text := string(line)
	if json.Unmarshal(line, &m) == nil {
		switch m.Type {
		case "exit_error":
			text = withoutPlaces(m.Message)
			s.last, s.final = oneLine(text), true
		case "error":
			s.errors++
			text = cmp.Or(m.Error.Message, m.Message)
			if m.Item != "" {
				text = m.Item + ": " + text
			}
			if len(s.unreadable) < maxUnreadable {
				s.unreadable = append(s.unreadable, oneLine(text))
			}
		}
	}
	text = oneLine(text)
	if !s.final {
		s.last = text
	}
	s.tail = append(s.tail, text)
	s.size += len(text) + 1
	for s.size > maxTail {
		s.size -= len(s.tail[0]) + 1
		s.tail = s.tail[1:]
	}
}

// place is where in restic's source an error arose: a function in one line, its file in the next.
var place = regexp.MustCompile(`\n[^\n\t]+\n\t[^\n]+:\d+`)

// withoutPlaces leaves the words of an error that restic did not expect.
func withoutPlaces(message string) string { return place.ReplaceAllString(message, "") }

func (s *stderr) text() string { return strings.Join(s.tail, "\n") }
