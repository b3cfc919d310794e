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
		times := []time.Time{at, {}, at.Add(-time.Second)}
		when := func(label string) time.Time { return rapid.SampledFrom(times).Draw(t, label) }
		number := rapid.Int64()
		token := Token{rapid.Uint64().Draw(t, "incarnation"), rapid.Uint64().Draw(t, "generation")}
		failures := rapid.IntRange(-1, 3).Draw(t, "failures")
		sites := rapid.SliceOf(rapid.Custom(func(t *rapid.T) Copy {
			return Copy{SiteName(text.Draw(t, "site")), rapid.SampledFrom(times).Draw(t, "copied")}
		})).Draw(t, "sites")
		if rapid.Bool().Draw(t, "no sites") {
			sites = nil
		}
		assignment := &Assignment{
			Account: AccountName(text.Draw(t, "account")), Server: ServerName(text.Draw(t, "server")), Token: token, At: at,
			Run: RunID(text.Draw(t, "run")), Stop: rapid.Bool().Draw(t, "stop"), ReadyAt: when("ready"),
		}
		if rapid.Bool().Draw(t, "fenced") {
			assignment.Fenced = &Fence{Method: ConfirmedDown, By: text.Draw(t, "by"), At: at}
			assignment.Restore = &RestorePoint{Snapshot: SnapshotID(text.Draw(t, "snapshot")), Site: "par1"}
		}
		for _, row := range []any{
			assignment,
			&Snapshot{
				ID: SnapshotID(text.Draw(t, "id")), Account: AccountName(text.Draw(t, "account")), Start: when("start"), Finished: when("finished"),
				Server: ServerName(text.Draw(t, "server")), Token: token, View: text.Draw(t, "view"), Files: number.Draw(t, "files"),
				Bytes: number.Draw(t, "bytes"), Sites: sites, ForgetAt: when("forgotten"),
			},
			&Replication{
				Account: AccountName(text.Draw(t, "account")), Site: SiteName(text.Draw(t, "site")), From: SiteName(text.Draw(t, "from")),
				At: when("at"), Objects: number.Draw(t, "objects"), Bytes: number.Draw(t, "bytes"), Error: text.Draw(t, "error"), Failures: failures,
			},
			&BackupStatus{
				Account: AccountName(text.Draw(t, "account")), Due: when("due"), Started: when("started"), Finished: when("finished"),
				Snapshot: SnapshotID(text.Draw(t, "snapshot")), Error: text.Draw(t, "error"), Failures: failures,
			},
			&Repository{
				Account: AccountName(text.Draw(t, "account")), Home: Home{SiteName(text.Draw(t, "home")), rapid.Uint64().Draw(t, "epoch")},
				SealedPassword: rapid.SampledFrom([][]byte{nil, {}, {1}, []byte("sealed")}).Draw(t, "password"), InitialisedAt: when("initialised"),
				Number: rapid.SampledFrom([]int{0, 2, 17}).Draw(t, "number"),
			},
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
