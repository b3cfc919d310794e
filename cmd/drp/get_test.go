package main

import (
	"strings"
	"testing"
	"time"

	"drp/orchestrator/api"
	"drp/raftstore/state"
)

// Of a removed repository it is said until when what lies in a trash can be opened.
func TestRetiredLine_Removed(t *testing.T) {
	gone := time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)
	got := retiredLine(api.RetiredRepository{Repository: "guestbook", At: gone, Removing: gone, Gone: gone})
	want := "guestbook, removed everywhere since " + localTime(gone) + "; its password is kept until " + localTime(gone.Add(state.PasswordKept))
	if got != want || strings.Contains(got, "is being removed") {
		t.Errorf("got %q, want %q", got, want)
	}
}
