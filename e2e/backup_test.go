package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"drp/e2e/scenario"
)

// An account is backed up on schedule, copied to the other site, and restored there by hand: with restic, the site's
// store, the sealed password and the offline key, and nothing of drp's.
func TestBackupIsCopiedAndRestoredByHand(t *testing.T) {
	s := newStage(t)
	gallery := s.account("gallery")
	snapshot := s.copied(time.Now(), "par2", gallery)["gallery"]
	if snapshot.View != "btrfs" {
		t.Errorf("got view %q, want the moment of a frozen filesystem: btrfs", snapshot.View)
	}
	passwords, err := s.Passwords(s.ctx, s.accounts)
	s.must(err)
	// The last host that knows anything of it: nothing of par1 is needed.
	s.must(s.Lab.KillSite(s.ctx, "par1"))
	into := filepath.Join(t.TempDir(), "restored")
	s.must(s.RestoreByHand(s.ctx, "par2", "gallery", passwords["gallery"], snapshot.ID, into))

	want := scenario.Content(gallery.Name)
	got, err := scenario.ReadTree(filepath.Join(into, "files"))
	s.must(err)
	for name, data := range want {
		if !bytes.Equal(got[name], data) {
			t.Errorf("%s: got %d bytes, want the %d that were uploaded", name, len(got[name]), len(data))
		}
	}
	if len(want) < 20 {
		t.Errorf("only %d files were compared", len(want))
	}
	record, err := os.ReadFile(filepath.Join(into, "account.json"))
	if err != nil || !bytes.Contains(record, []byte("2001:db8:a::103")) || !bytes.Contains(record, []byte(`"cron_jobs"`)) {
		t.Errorf("got record %s (%v), want the account's own, with its address and its cron job", record, err)
	}
	if _, ok := got["tick"]; !ok {
		t.Error("the account's cron job has left no trace")
	}
}
