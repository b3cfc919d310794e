package state

import (
	"encoding/json"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// What encodes itself gives the bytes that encoding/json gives: they are in digests and in the trail for ever.
func TestProperty_RowsEncodeAsJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[ -~]*`), rapid.SampledFrom([]string{"", "\xff", "<&>", "é\u2028", "\x00\x7f"}))
		digest := func(label string) Digest {
			if rapid.Bool().Draw(t, label+" is there") {
				return Sum([]byte(text.Draw(t, label)))
			}
			return Digest{}
		}
		at := time.Unix(rapid.Int64Range(-62135596800, 253402300799).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds")).UTC()
		result := Result{Changed: rapid.Bool().Draw(t, "changed"), Notes: rapid.SliceOf(text).Draw(t, "notes")}
		if rapid.Bool().Draw(t, "refused") {
			result = Result{Err: refuse(ErrConflict, "%s", text.Draw(t, "why"))}
		}
		for _, row := range []any{
			&AuditEntry{
				Seq: rapid.Uint64().Draw(t, "seq"), Index: rapid.Uint64().Draw(t, "index"), At: at, By: text.Draw(t, "by"),
				Command: Name(text.Draw(t, "command")), ID: text.Draw(t, "id"), Subject: text.Draw(t, "subject"),
				Detail: text.Draw(t, "detail"), Refused: text.Draw(t, "refused"), Payload: digest("payload"), Hash: digest("hash"),
			},
			&applied{ID: text.Draw(t, "id"), Index: rapid.Uint64().Draw(t, "index"), Name: Name(text.Draw(t, "name")), Result: result},
		} {
			want, err := json.Marshal(row)
			if err != nil {
				t.Fatal(err)
			}
			got, err := appendRow([]byte("before"), row)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != "before"+string(want) {
				t.Fatalf("got %s, want %s", got, want)
			}
		}
	})
}
