package database

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
)

// foreignLeftOut hands on what pg_dump wrote, without what the account's own roles cannot do: extensions, which the
// administrator has made; objects given to roles that are the platform's, which then belong to the database's owner;
// and what only a superuser can make. It is no defence (that is whose login runs it): it is what lets an honest dump
// through.
func foreignLeftOut(sql io.Reader, record *pgRecord) io.Reader {
	f := &pgFilter{from: bufio.NewReaderSize(sql, 64<<10), record: record, made: map[string]bool{}, opening: []openSchema{{name: "public"}}}
	for _, e := range record.Extensions {
		if !ownSchema(e.Schema) && !f.made[e.Schema] {
			f.made[e.Schema], f.opening = true, append(f.opening, openSchema{e.Schema, e.Owner})
		}
	}
	return f
}

type pgFilter struct {
	from   *bufio.Reader
	record *pgRecord
	made   map[string]bool // schemas that are there already

	// An object can be given to a role only where that role may make one, and the rights that say so come last in a dump.
	// Until they come, every role of the account may make objects in every schema.
	opening []openSchema // that are there, and not open yet
	opened  []openSchema

	out   []byte // not read yet
	ended error

	ruled   bool   // the line before is the upper one of the two rules round an entry's name
	cut     bool   // in the middle of a line that is too long to be looked at
	data    bool   // between COPY and \.
	leave   bool   // the present entry is left out
	foreign string // the present entry's owner, when that is none of the account's
	kind    string // of the present entry
}

// entry is the line in which pg_dump says what follows.
var entry = regexp.MustCompile(`^-- (?:Data for )?Name: (.*); Type: ([A-Z ]+); Schema: (?:.*); Owner: (.*)$`)

func (f *pgFilter) Read(p []byte) (int, error) {
	for len(f.out) == 0 {
		if f.ended != nil {
			if f.out = f.closeSchemas(nil); len(f.out) > 0 {
				break
			}
			return 0, f.ended
		}
		line, err := f.from.ReadSlice('\n')
		whole := !f.cut
		f.cut = errors.Is(err, bufio.ErrBufferFull)
		if err != nil && !f.cut {
			f.ended = err
		}
		switch {
		case f.data: // may look like anything
			f.data = !whole || !bytes.Equal(line, []byte("\\.\n"))
			f.keep(line)
		case !whole || f.cut:
			f.keep(line)
		default:
			f.keep(f.line(string(line)))
		}
	}
	n := copy(p, f.out)
	f.out = f.out[n:]
	return n, nil
}

// openSchema is one in which every role of the account may make objects for now. Its owner may anyway.
type openSchema struct{ name, owner string }

// betweenEntries is what has to be done before an entry begins. The text of its header begins already.
func (f *pgFilter) betweenEntries(name, owner string) []byte {
	var b []byte
	switch f.kind {
	case "ACL", "DEFAULT ACL":
		return f.closeSchemas([]byte("\n"))
	default:
		for _, s := range f.opening {
			if roles := f.roles(s.owner); roles != "" {
				b = append(b, "GRANT CREATE ON SCHEMA "+pgName(s.name)+" TO "+roles+";\n"...)
			}
		}
		f.opened, f.opening = append(f.opened, f.opening...), nil
	}
	if f.kind == "SCHEMA" && !f.leave {
		i := slices.IndexFunc(f.opened, func(s openSchema) bool { return s.name == name })
		if i < 0 {
			f.opening = append(f.opening, openSchema{name, owner}) // with the next entry
		} else {
			f.opened[i].owner = owner // it was there, and gets another owner
		}
	}
	return b
}

func (f *pgFilter) closeSchemas(b []byte) []byte {
	for _, s := range f.opened {
		if roles := f.roles(s.owner); roles != "" {
			b = append(b, "REVOKE CREATE ON SCHEMA "+pgName(s.name)+" FROM "+roles+";\n"...)
		}
	}
	f.opened = nil
	return b
}

// roles are those of the account but one, as a list for SQL.
func (f *pgFilter) roles(but string) string {
	var quoted []string
	for _, name := range f.record.names() {
		if name != but {
			quoted = append(quoted, pgName(name))
		}
	}
	return strings.Join(quoted, ", ")
}

func (f *pgFilter) keep(line []byte) {
	if !f.leave {
		f.out = append(f.out[:0], line...)
	}
}

func (f *pgFilter) line(line string) []byte {
	text := strings.TrimSuffix(line, "\n")
	ruled := f.ruled
	f.ruled = text == "--"
	if m := entry.FindStringSubmatch(text); m != nil && ruled {
		name, owner := m[1], m[3]
		f.kind, f.foreign = m[2], ""
		if owner != "" && owner != "-" && !f.record.has(owner) {
			f.foreign = owner
		}
		switch {
		case f.kind == "EXTENSION", f.kind == "EVENT TRIGGER":
			f.leave = true
		case f.kind == "COMMENT":
			f.leave = strings.HasPrefix(name, "EXTENSION ") || strings.HasPrefix(name, "EVENT TRIGGER ")
		case f.kind == "SCHEMA":
			f.leave = f.made[name]
		case f.kind == "DEFAULT ACL":
			f.leave = f.foreign != ""
		default:
			f.leave = false
		}
		before := f.betweenEntries(name, owner)
		if f.leave {
			f.out = before
			return nil
		}
		return append(before, line...)
	}
	switch {
	case strings.HasPrefix(text, "COPY ") && strings.HasSuffix(text, " FROM stdin;"):
		f.data = f.kind == "TABLE DATA"
	case f.foreign != "" && strings.HasPrefix(text, "ALTER ") &&
		(strings.HasSuffix(text, " OWNER TO "+f.foreign+";") || strings.HasSuffix(text, " OWNER TO "+pgName(f.foreign)+";")):
		return nil
	case f.kind == "ACL" && strings.HasPrefix(text, "SET SESSION AUTHORIZATION "):
		return []byte("SET ROLE " + strings.TrimPrefix(line, "SET SESSION AUTHORIZATION "))
	case f.kind == "ACL" && text == "RESET SESSION AUTHORIZATION;":
		return []byte("RESET ROLE;\n")
	}
	return []byte(line)
}
