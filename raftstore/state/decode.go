package state

import (
	"bytes"
	"iter"
)

// Commands returns the commands of an entry of the log, which holds one on each line. It refuses fields that it
// does not know. Lines come from json.Marshal, which writes no newline.
func Commands(entry []byte) iter.Seq2[Command, error] {
	return func(yield func(Command, error) bool) {
		for more := true; more; {
			var line []byte
			line, entry, more = bytes.Cut(entry, newline)
			if !yield(decodeCommand(line)) {
				return
			}
		}
	}
}

// Bundle makes an entry of the log of encoded commands.
func Bundle(commands ...[]byte) []byte { return bytes.Join(commands, newline) }

var newline = []byte("\n")

func decodeCommand(line []byte) (Command, error) {
	if c, ok := cutCommand(line); ok {
		return c, nil
	}
	var c Command
	if err := decodeStrict(line, &c); err != nil {
		return Command{}, err
	}
	return c, nil
}

// cutCommand takes a line apart that is as json.Marshal writes a Command, which is every line of ours: that takes a
// tenth of the time. It says no to anything else, and to texts with escapes in them. The data is judged
// by Apply, which decodes it.
func cutCommand(line []byte) (Command, bool) {
	var c Command
	rest := line
	field := func(begin string) string {
		after, ok := bytes.CutPrefix(rest, []byte(begin))
		end := bytes.IndexByte(after, '"')
		if !ok || end < 0 || bytes.IndexByte(after[:end], '\\') >= 0 {
			rest = nil
			return ""
		}
		rest = after[end+1:]
		return string(after[:end])
	}
	c.Name, c.ID = Name(field(`{"name":"`)), field(`,"id":"`)
	at := field(`,"at":"`)
	c.By = field(`,"by":"`)
	data, ok := bytes.CutPrefix(rest, []byte(`,"data":`))
	if !ok || c.At.UnmarshalText([]byte(at)) != nil {
		return Command{}, false
	}
	data, ok = bytes.CutSuffix(data, []byte("}"))
	if !ok {
		return Command{}, false
	}
	c.Data = bytes.Clone(data)
	return c, true
}
