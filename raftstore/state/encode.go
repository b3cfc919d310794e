package state

import (
	"encoding/hex"
	"encoding/json"
	"strconv"
	"time"
)

// selfEncoding rows write the JSON that json.Marshal makes of them, in a tenth of the time. Each entry of the log has
// one of each kind, and all of them are digested.
type selfEncoding interface{ appendJSON([]byte) []byte }

// appendRow gives the one form of a row.
func appendRow(b []byte, row any) ([]byte, error) {
	if e, ok := row.(selfEncoding); ok {
		return e.appendJSON(b), nil
	}
	data, err := json.Marshal(row)
	return append(b, data...), err
}

func (e *AuditEntry) appendJSON(b []byte) []byte {
	b = strconv.AppendUint(append(b, `{"seq":`...), e.Seq, 10)
	b = strconv.AppendUint(append(b, `,"index":`...), e.Index, 10)
	b = appendTime(append(b, `,"at":`...), e.At)
	b = appendText(append(b, `,"by":`...), e.By)
	b = appendText(append(b, `,"command":`...), string(e.Command))
	b = appendText(append(b, `,"id":`...), e.ID)
	for _, f := range [...]struct{ begin, text string }{{`,"subject":`, e.Subject}, {`,"detail":`, e.Detail}, {`,"refused":`, e.Refused}} {
		if f.text != "" {
			b = appendText(append(b, f.begin...), f.text)
		}
	}
	b = appendDigest(append(b, `,"payload":`...), e.Payload)
	if !e.Hash.IsZero() {
		b = appendDigest(append(b, `,"hash":`...), e.Hash)
	}
	return append(b, '}')
}

func (a *applied) appendJSON(b []byte) []byte {
	b = appendText(append(b, `{"id":`...), a.ID)
	b = strconv.AppendUint(append(b, `,"index":`...), a.Index, 10)
	b = appendText(append(b, `,"name":`...), string(a.Name))
	b = append(b, `,"result":`...)
	r := a.Result
	switch {
	case r.Err != nil || len(r.Notes) > 0 || !r.Token.IsZero():
		b = appendMarshalled(b, r)
	case r.Changed:
		b = append(b, `{"changed":true}`...)
	default:
		b = append(b, `{}`...)
	}
	return append(b, '}')
}

func appendDigest(b []byte, d Digest) []byte {
	b = hex.AppendEncode(append(b, '"'), d[:])
	return append(b, '"')
}

func appendTime(b []byte, t time.Time) []byte {
	if y := t.Year(); y < 0 || y > 9999 {
		return appendMarshalled(b, t)
	}
	b = t.AppendFormat(append(b, '"'), time.RFC3339Nano)
	return append(b, '"')
}

// appendText leaves all but the plainest texts to encoding/json.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return appendMarshalled(b, s)
		}
	}
	b = append(append(b, '"'), s...)
	return append(b, '"')
}

func appendMarshalled(b []byte, value any) []byte {
	data, err := json.Marshal(value)
	if err != nil {
		panic("state: encode row: " + err.Error()) // it has nothing that JSON cannot hold
	}
	return append(b, data...)
}
