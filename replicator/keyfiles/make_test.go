package keyfiles

import (
	"context"
	"strings"
	"testing"

	"filippo.io/age"

	"drp/replicator/restic"
)

// full is a repository with as many break-glass keys as there may be.
type full struct{ added int }

func (f *full) AddKey(context.Context, restic.Repository, string, string, string) error {
	f.added++
	return nil
}

func (f *full) Keys(context.Context, restic.Repository) (keys []restic.Key, current restic.Key, err error) {
	for range mostBreakGlass {
		keys = append(keys, restic.Key{User: breakGlassUser})
	}
	return keys, current, nil
}

// restic tries twenty keys and no more: attempts that broke off must not fill a repository with them.
func TestMake_NotTooMany(t *testing.T) {
	offline, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	tool := &full{}
	_, err = (&Smith{Tool: tool}).Make(t.Context(), restic.Repository{}, "shop", []string{offline.Recipient().String()})
	if err == nil || !strings.Contains(err.Error(), "shop: it has 8 of them already") || tool.added != 0 {
		t.Errorf("got %v, and %d keys more", err, tool.added)
	}
}
