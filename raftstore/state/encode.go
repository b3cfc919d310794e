package state

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"time"
)

// selfEncoding rows write the JSON that json.Marshal makes of them, in a tenth of the time. They are those of which there
// are most, and those that every entry of the log makes; all of them are digested.
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

func (s *Snapshot) appendJSON(b []byte) []byte {
	b = appendText(append(b, `{"id":`...), string(s.ID))
	b = appendText(append(b, `,"account":`...), string(s.Account))
	b = appendTime(append(b, `,"start":`...), s.Start)
	b = appendTime(append(b, `,"finished":`...), s.Finished)
	b = appendText(append(b, `,"server":`...), string(s.Server))
	b = appendToken(append(b, `,"token":`...), s.Token)
	b = appendText(append(b, `,"view":`...), s.View)
	b = strconv.AppendInt(append(b, `,"files":`...), s.Files, 10)
	b = strconv.AppendInt(append(b, `,"bytes":`...), s.Bytes, 10)
	b = appendCopies(append(b, `,"sites":`...), s.Sites)
	if !s.ForgetAt.IsZero() {
		b = appendTime(append(b, `,"forget_at":`...), s.ForgetAt)
	}
	return append(b, '}')
}

func appendCopies(b []byte, list []Copy) []byte {
	if list == nil {
		return append(b, "null"...)
	}
	b = append(b, '[')
	for i, c := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendText(append(b, `{"site":`...), string(c.Site))
		b = appendTime(append(b, `,"copied_at":`...), c.CopiedAt)
		b = append(b, '}')
	}
	return append(b, ']')
}

func (r *Replication) appendJSON(b []byte) []byte {
	b = appendText(append(b, `{"account":`...), string(r.Account))
	b = appendText(append(b, `,"site":`...), string(r.Site))
	b = appendText(append(b, `,"from":`...), string(r.From))
	b = appendTime(append(b, `,"at":`...), r.At)
	b = strconv.AppendInt(append(b, `,"objects":`...), r.Objects, 10)
	b = strconv.AppendInt(append(b, `,"bytes":`...), r.Bytes, 10)
	return append(appendFailures(b, r.Error, r.Failures), '}')
}

func (s *BackupStatus) appendJSON(b []byte) []byte {
	b = appendText(append(b, `{"account":`...), string(s.Account))
	b = appendTime(append(b, `,"due":`...), s.Due)
	b = appendTime(append(b, `,"started":`...), s.Started)
	if !s.Finished.IsZero() {
		b = appendTime(append(b, `,"finished":`...), s.Finished)
	}
	if s.Snapshot != "" {
		b = appendText(append(b, `,"snapshot":`...), string(s.Snapshot))
	}
	return append(appendFailures(b, s.Error, s.Failures), '}')
}

func (r *Repository) appendJSON(b []byte) []byte {
	b = appendText(append(b, `{"account":`...), string(r.Account))
	b = appendText(append(b, `,"home":{"site":`...), string(r.Home.Site))
	b = strconv.AppendUint(append(b, `,"epoch":`...), r.Home.Epoch, 10)
	b = appendBytes(append(b, `},"sealed_password":`...), r.SealedPassword)
	if !r.InitialisedAt.IsZero() {
		b = appendTime(append(b, `,"initialised_at":`...), r.InitialisedAt)
	}
	if r.Number != 0 {
		b = strconv.AppendInt(append(b, `,"number":`...), int64(r.Number), 10)
	}
	return append(b, '}')
}

func (a *Assignment) appendJSON(b []byte) []byte {
	b = appendText(append(b, `{"account":`...), string(a.Account))
	b = appendText(append(b, `,"server":`...), string(a.Server))
	b = appendToken(append(b, `,"token":`...), a.Token)
	if a.Restore != nil {
		b = appendMarshalled(append(b, `,"restore":`...), a.Restore)
	}
	b = appendTime(append(b, `,"at":`...), a.At)
	if a.Run != "" {
		b = appendText(append(b, `,"run":`...), string(a.Run))
	}
	if a.Stop {
		b = append(b, `,"stop":true`...)
	}
	if a.Fenced != nil {
		b = appendMarshalled(append(b, `,"fenced":`...), a.Fenced)
	}
	if !a.ReadyAt.IsZero() {
		b = appendTime(append(b, `,"ready_at":`...), a.ReadyAt)
	}
	return append(b, '}')
}

// appendFailures is how rows about repeated work end.
func appendFailures(b []byte, message string, failures int) []byte {
	if message != "" {
		b = appendText(append(b, `,"error":`...), message)
	}
	if failures != 0 {
		b = strconv.AppendInt(append(b, `,"failures":`...), int64(failures), 10)
	}
	return b
}

func appendBytes(b, data []byte) []byte {
	if data == nil {
		return append(b, "null"...)
	}
	b = base64.StdEncoding.AppendEncode(append(b, '"'), data)
	return append(b, '"')
}

func appendTexts(b []byte, list []string) []byte {
	if list == nil {
		return append(b, "null"...)
	}
	b = append(b, '[')
	for i, text := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendText(b, text)
	}
	return append(b, ']')
}

func appendToken(b []byte, t Token) []byte {
	b = strconv.AppendUint(append(b, `{"incarnation":`...), t.Incarnation, 10)
	b = strconv.AppendUint(append(b, `,"generation":`...), t.Generation, 10)
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
