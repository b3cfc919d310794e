package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Limits of what is read. The parser recurses and is quadratic in depth and in the width of a mapping, so both are
// bounded before it runs; the lexer is linear.
const (
	MaxFile     = 32 << 20 // bytes
	MaxDocument = 1 << 20  // bytes
	maxTokens   = 20_000   // of one document
	maxDepth    = 24
)

// source is one document of a file: and where it begins.
type source struct {
	file     string
	line     int // lines of the file before this document
	text     string
	problems *Problems
}

func (s *source) position(t *token.Token) Position {
	if t == nil || t.Position == nil {
		return Position{File: s.file, Line: s.line + 1, Column: 1}
	}
	return Position{File: s.file, Line: s.line + t.Position.Line, Column: max(1, t.Position.Column)}
}

// Documents reads the documents of a file. What is wrong with the syntax of one is added to problems and does not
// hide the others; empty documents are left out.
func Documents(file string, data []byte, problems *Problems) []Value {
	if len(data) > MaxFile {
		problems.Add(Position{file, 1, 1}, fmt.Sprintf("the file has %s, more than %s", FormatSize(int64(len(data))), FormatSize(MaxFile)), "split it")
		return nil
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if at, what := badCharacter(data); what != "" {
		at.File = file
		problems.Add(at, what, "save the file as plain UTF-8 text")
		return nil
	}
	var values []Value
	for _, s := range split(file, string(data), problems) {
		if v, ok := s.parse(); ok {
			values = append(values, v)
		}
	}
	return values
}

// badCharacter finds the first byte that no text file has.
func badCharacter(data []byte) (Position, string) {
	at := Position{Line: 1, Column: 1}
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && n <= 1:
			return at, "this is not UTF-8"
		case r == '\n':
			at.Line, at.Column = at.Line+1, 0
		case r == '\r' && i+1 < len(data) && data[i+1] != '\n': // a line break for some readers, and none for others
			return at, "a carriage return stands in the middle of a line"
		case r < ' ' && r != '\t' && r != '\r', r == 0x7f, r == '\uFEFF':
			return at, fmt.Sprintf("the control character %U does not belong in a text file", r)
		}
		at.Column++
		i += n
	}
	return Position{}, ""
}

var (
	documentStart = regexp.MustCompile(`^---(\s|$)`)
	documentEnd   = regexp.MustCompile(`^\.\.\.\s*(#.*)?$`)
)

// split cuts a file at its document marks. A line that begins with --- or ... is one wherever it stands, in a block
// of text too (YAML 1.2, 9.1.2), so no parser is needed; and one document's fault stays its own.
func split(file, text string, problems *Problems) []*source {
	var (
		out   []*source
		start int
		from  int
	)
	lines := strings.SplitAfter(text, "\n")
	cut := func(end int) {
		if body := strings.Join(lines[start:end], ""); strings.TrimSpace(body) != "" {
			out = append(out, &source{file: file, line: from, text: body, problems: problems})
		}
	}
	for i, line := range lines {
		switch bare := strings.TrimRight(line, "\r\n"); {
		case documentStart.MatchString(bare):
			cut(i)
			start, from = i, i
		case documentEnd.MatchString(bare):
			cut(i)
			start, from = i+1, i+1
		}
	}
	cut(len(lines))
	return out
}

// parse gives the document's value. Not ok: it is empty, or what is wrong was reported.
func (s *source) parse() (Value, bool) {
	first := Position{s.file, s.line + 1, 1}
	if len(s.text) > MaxDocument {
		s.problems.Add(first, fmt.Sprintf("this document has more than %s", FormatSize(MaxDocument)), "put each object into a document of its own, with --- between them")
		return Value{}, false
	}
	tokens := lexer.Tokenize(s.text)
	content, ok := s.screen(tokens)
	if !ok || !content {
		return Value{}, false
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		s.syntaxError(err)
		return Value{}, false
	}
	var body ast.Node
	for _, d := range file.Docs {
		if d.Body != nil && body == nil {
			body = d.Body
		} else if d.Body != nil {
			s.problems.Add(s.position(d.Body.GetToken()), "this does not belong to what stands before it", "check the indentation")
			return Value{}, false
		}
	}
	if body == nil {
		s.problems.Add(first, "this document cannot be read", "check the indentation")
		return Value{}, false
	}
	return Value{node: body, source: s}, true
}

// refused are the tokens of those parts of YAML that are not read here.
var refused = map[token.Type]string{
	token.AliasType:      "a value that begins with * is an alias, which is not read here",
	token.AnchorType:     "a value that begins with & is an anchor, which is not read here",
	token.TagType:        "a value that begins with ! is a tag, which is not read here",
	token.DirectiveType:  "a line or value that begins with % is a directive, which is not read here",
	token.MergeKeyType:   "<< (merge) is not read here",
	token.MappingKeyType: "a key that begins with ? is not read here",
}

// screen reports what the lexer could not read and what is refused, and bounds size and depth, before the parser
// runs. content is false for a document of comments only.
func (s *source) screen(tokens token.Tokens) (content, ok bool) {
	ok = true
	fail := func(t *token.Token, message, fix string) {
		s.problems.Add(s.position(t), message, fix)
		ok = false
	}
	if len(tokens) > maxTokens {
		fail(nil, "this document is too large", "put each object into a document of its own, with --- between them")
		return true, false
	}
	var (
		columns  []int // of the open block collections
		flow     int
		lastLine int // one report per line is enough
	)
	for _, t := range tokens {
		switch t.Type {
		case token.CommentType, token.DocumentHeaderType:
			continue
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		case token.SequenceEntryType, token.MappingValueType:
			column := t.Position.Column
			if key := t.Prev; t.Type == token.MappingValueType && key != nil && key.Position.Line == t.Position.Line {
				column = key.Position.Column
			}
			for len(columns) > 0 && columns[len(columns)-1] >= column {
				columns = columns[:len(columns)-1]
			}
			columns = append(columns, column)
		}
		content = true
		if len(columns)+max(0, flow) > maxDepth {
			fail(t, "this is nested too deeply", "")
			return true, false
		}
		if t.Position.Line == lastLine {
			continue
		}
		if message, bad := refused[t.Type]; bad {
			fail(t, message, quoteFix(t))
			lastLine = t.Position.Line
		} else if t.Type == token.InvalidType {
			message, fix := invalid(t)
			fail(t, message, fix)
			return true, false // what follows an unreadable place is guesswork
		}
	}
	return content, ok
}

// quoteFix is what to do about a value that begins as something else than text. It does not repeat the value: at this
// point nobody knows whether it is a secret.
func quoteFix(t *token.Token) string {
	switch t.Type {
	case token.AnchorType, token.AliasType, token.TagType, token.DirectiveType, token.InvalidType:
		return "if it is meant as text, put it in quotes"
	}
	return "write the value out"
}

// invalid puts what the lexer says into plain words.
func invalid(t *token.Token) (message, fix string) {
	switch m := t.Error; {
	case strings.Contains(m, "cannot start any token"):
		return "a tab stands where the indentation is", "use spaces"
	case strings.Contains(m, "reserved character"):
		first := strings.TrimSpace(t.Value)
		return fmt.Sprintf("a value may not begin with %s without quotes", first), quoteFix(t)
	case strings.Contains(m, "end character of single-quoted"):
		return "this text begins with ' and never ends", "close the quote"
	case strings.Contains(m, "end character of double-quoted"):
		return `this text begins with " and never ends`, "close the quote"
	case strings.Contains(m, "unknown escape character"):
		return m, `write \\ for a backslash, or use single quotes`
	default:
		return m, ""
	}
}

// syntaxError puts what the parser says into plain words.
func (s *source) syntaxError(err error) {
	var e yaml.Error
	if !errors.As(err, &e) {
		s.problems.Add(Position{s.file, s.line + 1, 1}, "cannot read this document: "+err.Error(), "")
		return
	}
	message, fix := e.GetMessage(), ""
	for _, w := range wordings {
		if strings.Contains(message, w.said) {
			message, fix = w.message, w.fix
			break
		}
	}
	s.problems.Add(s.position(e.GetToken()), message, fix)
}

const (
	checkIndentation = "check the indentation"
	quoteText        = "put a text that holds [ ] { } , or : in quotes"
)

// wordings are the parser's messages that a typing error leads to, in plain words. A message of a newer parser that is
// not among them is shown as it is.
var wordings = [...]struct{ said, message, fix string }{
	{"mapping value is not allowed", "the value that begins here goes on to a second :", `check the indentation, or put a text that holds ": " in quotes`},
	{"value is not allowed in this context", "this value does not fit here", checkIndentation},
	{"block sequence entries are not allowed", "a list may not begin here", checkIndentation},
	{"non-map value is specified", "this is no name: value", checkIndentation},
	{"unexpected key name", "this is no name: value", checkIndentation},
	{"unexpected scalar value", "this value does not fit here", checkIndentation},
	{"could not find map value", "a value is missing here", ""},
	{"found an invalid key for this map", "this key is no text", quoteText},
	{"expected sequence element", "an element is missing before this comma", ""},
	{"',' or ']' must be specified", "the list [ ] has no comma here", quoteText},
	{"',' or '}' must be specified", "the mapping { } has no comma here", quoteText},
	{"']' not found", "the list that begins here with [ never ends", "close it with ]"},
	{"end token '}'", "the mapping that begins here with { never ends", "close it with }"},
	{"could not find '['", "this ] closes nothing", "remove it, or put the text in quotes"},
	{"could not find '{'", "this } closes nothing", "remove it, or put the text in quotes"},
}
