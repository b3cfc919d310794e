package maintenance_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	"drp/replicator/storetest"
)

// holder is somebody who has a repository's password and may write to it through a gateway: he adds what he likes, under
// the name that is its hash, and can delete nothing.
type holder struct {
	place *place
	key   storetest.MasterKey
}

func newHolder(t testing.TB, p *place) *holder {
	t.Helper()
	h := &holder{place: p}
	h.cat(t, &h.key, "masterkey")
	return h
}

func (h *holder) cat(t testing.TB, into any, what ...string) {
	t.Helper()
	out, code := h.place.repo.Run(t, "", append([]string{"cat", "--no-lock", "-q"}, what...)...)
	if code != 0 {
		t.Fatalf("restic cat %v ended with %d: %s", what, code, out)
	}
	if i := bytes.IndexAny(out, "{["); i < 0 || json.Unmarshal(out[i:], into) != nil {
		t.Fatalf("restic cat %v: %s", what, out)
	}
}

// add stores an object under its hash.
func (h *holder) add(t testing.TB, class string, content []byte) string {
	t.Helper()
	sum := sha256.Sum256(content)
	name := hex.EncodeToString(sum[:])
	key := "shop/" + class + "/" + name
	if class == "data" {
		key = "shop/data/" + name[:2] + "/" + name
	}
	if _, err := h.place.keeper.Store.Put(t.Context(), key, content, sum); err != nil {
		t.Fatal(err)
	}
	return name
}

type indexed struct {
	Packs []packed `json:"packs"`
}

type packed struct {
	ID    string `json:"id"`
	Blobs []blob `json:"blobs"`
}

type blob struct {
	ID     string `json:"id"`
	Type   string `json:"type"`
	Offset int    `json:"offset"`
	Length int    `json:"length"`
	Plain  int    `json:"uncompressed_length,omitempty"`
}

// poison adds packs of junk, and indexes that say of each that it holds what the genuine packs with file contents do.
func (h *holder) poison(t testing.TB, copies int) {
	t.Helper()
	for _, key := range h.place.keys(t, "shop/index/") {
		var genuine indexed
		h.cat(t, &genuine, "index", strings.TrimPrefix(key, "shop/index/"))
		for range copies {
			var forged indexed
			for _, p := range genuine.Packs {
				if p.Blobs[0].Type != "data" {
					continue
				}
				// Its size has to be right, or prune would notice.
				at, header := 0, 0
				junk := packed{}
				for _, b := range p.Blobs {
					b.Offset = at
					junk.Blobs = append(junk.Blobs, b)
					at += b.Length
					header += 37
					if b.Plain > 0 {
						header += 4
					}
				}
				content := make([]byte, at+header+32+4)
				rand.Read(content)
				junk.ID = h.add(t, "data", content)
				forged.Packs = append(forged.Packs, junk)
			}
			if len(forged.Packs) == 0 {
				continue
			}
			content, err := json.Marshal(forged)
			if err != nil {
				t.Fatal(err)
			}
			h.add(t, "index", h.key.Seal(t, content))
		}
	}
}

// snapshot adds one with another one's tree, or a tree that there is not, and a time of the holder's choice.
func (h *holder) snapshot(t testing.TB, like, tree string) string {
	t.Helper()
	var s map[string]any
	h.cat(t, &s, "snapshot", like)
	s["time"] = "2099-01-01T00:00:00Z"
	if tree != "" {
		s["tree"] = tree
	}
	content, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return h.add(t, "snapshots", h.key.Seal(t, content))
}
