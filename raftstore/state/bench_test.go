package state

import (
	"encoding/json"
	"fmt"
	"testing"
)

// What one entry of the log costs a member, from its bytes to the state.
func BenchmarkState_Apply(b *testing.B) {
	s := New()
	index := uint64(0)
	apply := func(c Command) {
		index++
		if r, err := s.Apply(index, c); err != nil || r.Err != nil {
			b.Fatal(err, r.Err)
		}
	}
	inventory := inventory()
	for i := range 1000 {
		inventory.Accounts = append(inventory.Accounts, Account{Name: AccountName(fmt.Sprintf("customer-%d", i)), Tier: Silver, Policy: "hourly"})
	}
	apply(NewCommand(InventoryApply, "i", epoch, "operator/ada", inventory))
	entry := func(i int) []byte {
		data, err := json.Marshal(NewCommand(ReplicationRecord, fmt.Sprintf("018f2f0a-6c1e-7000-8000-%012x", i), epoch, "worker/par2", ReplicationRecordData{
			Account: AccountName(fmt.Sprintf("customer-%d", i%1000)), From: "par1", To: "par2", Objects: int64(i), Bytes: int64(i),
			Snapshots: []SnapshotID{snapshotID("a"), snapshotID("b")},
		}))
		if err != nil {
			b.Fatal(err)
		}
		return data
	}
	for i := range 1000 {
		apply(NewCommand(RepositoryCreate, fmt.Sprintf("r%d", i), epoch, "operator/ada", RepositoryCreateData{
			Account: AccountName(fmt.Sprintf("customer-%d", i)), Site: "par1", SealedPassword: []byte("sealed")}))
	}
	for i := range 25_000 { // until as much is dropped as is added
		apply(decoded(b, entry(i)))
	}
	b.ReportAllocs()
	n := 25_000
	for b.Loop() {
		apply(decoded(b, entry(n)))
		n++
	}
}

func decoded(tb testing.TB, entry []byte) Command {
	tb.Helper()
	c, err := decodeCommand(entry)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}
