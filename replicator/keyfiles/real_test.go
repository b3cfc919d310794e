package keyfiles_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"errors"

	"filippo.io/age"

	"drp/replicator"
	"drp/replicator/keyfiles"
	"drp/replicator/restic"
	"drp/replicator/storetest"
)

const present = "present password"

// site is a real store with a bucket, and a repository or a place for one.
type site struct {
	t      *testing.T
	server *storetest.Server
	store  *replicator.Store
	smith  *keyfiles.Smith
}

func newSite(t *testing.T, name string) *site {
	t.Helper()
	server := storetest.Start(t)
	server.Bucket("drp-" + name)
	store, err := replicator.Open(replicator.StoreConfig{
		Endpoint: server.Endpoint, Bucket: "drp-" + name, AccessKey: server.Admin.Access, SecretKey: server.Admin.Secret})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	tool := &restic.Runner{Binary: storetest.Binary(t, "restic"), Quick: time.Minute}
	return &site{t: t, server: server, store: store, smith: &keyfiles.Smith{Site: name, Store: store, Tool: tool}}
}

func (s *site) repository(name, password string) restic.Repository {
	return restic.Repository{
		URL: "s3:" + s.server.Endpoint + "/" + s.store.Config().Bucket + "/" + name, Password: password,
		AccessKey: s.server.Admin.Access, SecretKey: s.server.Admin.Secret}
}

func (s *site) backup(name string) {
	s.t.Helper()
	dir := s.t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("content"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.server.Repository(s.store.Config().Bucket, name, present).Backup(s.t, dir)
}

// opens reports whether a password opens the repository here.
func (s *site) opens(name, password string) bool {
	s.t.Helper()
	_, _, err := s.smith.Tool.Keys(s.t.Context(), s.repository(name, password))
	if err != nil && !errors.Is(err, restic.ErrWrongPassword) && !errors.Is(err, restic.ErrNoRepository) {
		s.t.Fatal(err)
	}
	return err == nil
}

func (s *site) names(prefix string) (names []string) {
	s.t.Helper()
	list, err := s.store.List(s.t.Context(), prefix)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, o := range list {
		names = append(names, strings.TrimPrefix(o.Key, prefix))
	}
	return names
}

func (s *site) see(source *site, task keyfiles.Task) error {
	var from *replicator.Store
	if source != nil {
		from = source.store
	}
	return keyfiles.SeeTo(s.t.Context(), from, s.store, task)
}

func (s *site) copy(from, to string) {
	s.t.Helper()
	content, err := os.ReadFile(s.server.File(s.store.Config().Bucket, from))
	if err == nil {
		_, err = s.store.Put(s.t.Context(), to, content, sha256.Sum256(content))
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func newIdentity(t *testing.T) *age.X25519Identity {
	t.Helper()
	i, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// TestBreakGlass_Real: the key is made at the home, is at the replica before anything else of its copy, and an offline key alone
// opens both. One for other recipients takes its place, and takes with it what an earlier attempt has left.
func TestBreakGlass_Real(t *testing.T) {
	ctx := t.Context()
	home, replica := newSite(t, "par1"), newSite(t, "par2")
	offline, stranger := newIdentity(t), newIdentity(t)
	home.server.Repository("drp-par1", "shop", present).Init(t)
	home.backup("shop")
	made, err := home.smith.Make(ctx, home.repository("shop", present), "shop", []string{offline.Recipient().String()})
	if err != nil {
		t.Fatal(err)
	}
	if len(made.Old) != 0 || !slices.Contains(home.names("shop/keys/"), made.Key) {
		t.Errorf("made %+v", made)
	}

	t.Run("at a replica", func(t *testing.T) {
		if err := keyfiles.Carry(ctx, home.store, replica.store, "shop"); err != nil {
			t.Fatal(err)
		}
		if got := replica.names(""); len(got) != 1 || got[0] != ".breakglass/shop.age" {
			t.Errorf("before the pass it has %v", got)
		}
		if _, err := replicator.Pass(ctx, home.store, replica.store, "shop/", replicator.Options{}); err != nil {
			t.Fatal(err)
		}
		task := keyfiles.Task{Name: "shop", Have: []string{made.Key}, File: made.File}
		if err := replica.see(home, task); err != nil {
			t.Fatal(err)
		}
		if err := home.see(nil, task); err != nil {
			t.Fatal(err)
		}
		for _, s := range []*site{home, replica} {
			password, key, err := keyfiles.Open(ctx, s.store, s.smith.Tool, s.repository("shop", ""), "shop", offline)
			if err != nil || key.ID != made.Key || len(password) < 43 {
				t.Errorf("open at %s: key %.8s, %v", s.store, key.ID, err)
			}
			if _, _, err := keyfiles.Open(ctx, s.store, s.smith.Tool, s.repository("shop", ""), "shop", stranger); err == nil {
				t.Errorf("a stranger's key opens it at %s", s.store)
			}
		}
		if _, _, err := keyfiles.Open(ctx, replica.store, replica.smith.Tool, replica.repository("blog", ""), "blog", offline); !errors.Is(err, keyfiles.ErrNoBreakGlass) {
			t.Errorf("open of one that has none: %v", err)
		}
	})

	t.Run("what is missing or broken is told, and comes from the home", func(t *testing.T) {
		task := keyfiles.Task{Name: "shop", Have: []string{made.Key}, File: made.File}
		for _, key := range []string{"shop/keys/" + made.Key, ".breakglass/shop.age"} {
			flip(t, replica.server.File("drp-par2", key))
			var missing *keyfiles.MissingError
			if err := replica.see(nil, task); !errors.As(err, &missing) || len(missing.Names) != 1 {
				t.Errorf("%s broken: got %v", key, err)
			}
			if err := replica.see(home, task); err != nil {
				t.Errorf("%s broken, with the home at hand: %v", key, err)
			}
			if err := os.Remove(replica.server.File("drp-par2", key)); err != nil {
				t.Fatal(err)
			}
			if err := replica.see(home, task); err != nil {
				t.Errorf("%s missing, with the home at hand: %v", key, err)
			}
			if err := replica.see(nil, task); err != nil {
				t.Errorf("%s after that: %v", key, err)
			}
		}
	})

	t.Run("new recipients", func(t *testing.T) {
		// A worker died after it had added a key, and told nobody.
		if err := home.smith.Tool.AddKey(ctx, home.repository("shop", present), "lost", "drp-breakglass", "par1"); err != nil {
			t.Fatal(err)
		}
		other := newIdentity(t)
		home.smith.Recipients = []string{other.Recipient().String()} // the site's own word counts
		next, err := home.smith.Make(ctx, home.repository("shop", present), "shop", []string{stranger.Recipient().String()})
		if err != nil {
			t.Fatal(err)
		}
		if len(next.Old) != 2 || !slices.Contains(next.Old, made.Key) || !slices.Equal(next.Sealed, home.smith.Recipients) {
			t.Errorf("made %+v, want the first and the lost one to go", next)
		}
		task := keyfiles.Task{Name: "shop", Have: []string{next.Key}, File: next.File, Remove: next.Old}
		for _, s := range []*site{replica, home} {
			if err := s.see(home, task); err != nil {
				t.Fatal(err)
			}
			if _, _, err := keyfiles.Open(ctx, s.store, s.smith.Tool, s.repository("shop", ""), "shop", other); err != nil {
				t.Errorf("at %s: %v", s.store, err)
			}
			if got := s.names("shop/keys/"); len(got) != 2 || slices.Contains(got, made.Key) {
				t.Errorf("keys at %s are %v", s.store, got)
			}
			if !s.opens("shop", present) || s.opens("shop", "lost") {
				t.Errorf("at %s the present password is to open, and the lost one is not", s.store)
			}
			sealed := hex.EncodeToString(made.File[:]) + ".age"
			if got := s.names(".going-keys/shop/"); !slices.Contains(got, made.Key) || !slices.Contains(got, sealed) {
				t.Errorf("on their way out at %s: %v, want the former key and its password", s.store, got)
			}
		}
	})

	// A leader lied, and a person brings the former key back as DRP.md has it.
	t.Run("the way back", func(t *testing.T) {
		replica.copy(".going-keys/shop/"+made.Key, "shop/keys/"+made.Key)
		replica.copy(".going-keys/shop/"+hex.EncodeToString(made.File[:])+".age", ".breakglass/shop.age")
		if err := replica.store.Discard(ctx, ".removed-keys/shop/"+made.Key); err != nil {
			t.Fatal(err)
		}
		if _, key, err := keyfiles.Open(ctx, replica.store, replica.smith.Tool, replica.repository("shop", ""), "shop", offline); err != nil || key.ID != made.Key {
			t.Errorf("open: key %.8s, %v", key.ID, err)
		}
	})
	for _, s := range []*site{home, replica} {
		s.server.Repository(s.store.Config().Bucket, "shop", present).Check(t)
	}
}

// TestBreakGlass_ByHand: age and restic are all that it takes.
func TestBreakGlass_ByHand(t *testing.T) {
	home := newSite(t, "par1")
	offline := newIdentity(t)
	home.server.Repository("drp-par1", "shop", present).Init(t)
	home.backup("shop")
	if _, err := home.smith.Make(t.Context(), home.repository("shop", present), "shop", []string{offline.Recipient().String()}); err != nil {
		t.Fatal(err)
	}
	sealed, err := os.ReadFile(home.server.File("drp-par1", ".breakglass/shop.age"))
	if err != nil {
		t.Fatal(err)
	}
	opened, err := age.Decrypt(bytes.NewReader(sealed), offline)
	if err != nil {
		t.Fatal(err)
	}
	password, err := io.ReadAll(opened)
	if err != nil {
		t.Fatal(err)
	}
	home.server.Repository("drp-par1", "shop", string(password)).Check(t)
}

// TestRotate_Real: the next password opens beside the present one, twice is once, and the old key goes only where the new one is.
func TestRotate_Real(t *testing.T) {
	const next = "next password"
	ctx := t.Context()
	home, replica := newSite(t, "par1"), newSite(t, "par2")
	home.server.Repository("drp-par1", "shop", present).Init(t)
	home.backup("shop")
	old := home.names("shop/keys/")
	if _, err := replicator.Pass(ctx, home.store, replica.store, "shop/", replicator.Options{}); err != nil {
		t.Fatal(err)
	}
	glass, err := home.smith.Make(ctx, home.repository("shop", present), "shop", []string{newIdentity(t).Recipient().String()})
	if err != nil {
		t.Fatal(err)
	}
	made, err := home.smith.Rotate(ctx, home.repository("shop", present), "shop", next)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(made.Old, old) {
		t.Errorf("old are %v, want %v: the first one, and not that of break-glass %.8s", made.Old, old, glass.Key)
	}
	again, err := home.smith.Rotate(ctx, home.repository("shop", present), "shop", next)
	if err != nil || again.Key != made.Key {
		t.Errorf("once more: %+v, %v; want the same key", again, err)
	}

	// A replica that cannot get the new key keeps the old one.
	task := keyfiles.Task{Name: "shop", Have: []string{made.Key, glass.Key}, File: glass.File, Remove: made.Old}
	if err := replica.see(nil, task); err == nil || !replica.opens("shop", present) {
		t.Errorf("without the home: %v; the old password opens: %v", err, replica.opens("shop", present))
	}
	if err := replica.see(home, task); err != nil {
		t.Fatal(err)
	}
	if !replica.opens("shop", next) || replica.opens("shop", present) || !home.opens("shop", present) {
		t.Error("the new password is to open the replica, and the old one the home alone")
	}

	// A pass from a site that still has the old key does not bring it back.
	removed, err := keyfiles.Removed(ctx, replica.store, "shop")
	if err != nil {
		t.Fatal(err)
	}
	options := replicator.Options{Skip: func([]string) map[string]bool { return removed }}
	if _, err := replicator.Pass(ctx, home.store, replica.store, "shop/", options); err != nil {
		t.Fatal(err)
	}
	if replica.opens("shop", present) {
		t.Error("the old key is back")
	}
	if err := home.see(nil, task); err != nil {
		t.Fatal(err)
	}
	if home.opens("shop", present) || !home.opens("shop", next) {
		t.Error("at the home the new password alone is to open")
	}
	home.server.Repository("drp-par1", "shop", next).Check(t)
	replica.server.Repository("drp-par2", "shop", next).Check(t)
}

// TestSeeTo_Refuses: the leader's word leads nowhere else, and takes nothing away that is to stay.
func TestSeeTo_Refuses(t *testing.T) {
	s := newSite(t, "par1")
	for _, name := range []string{"shop", "shop~2", "shopping"} {
		s.server.Repository("drp-par1", name, present).Init(t)
	}
	before := s.names("")
	key := s.names("shop/keys/")[0]
	other := s.names("shop~2/keys/")[0]
	for name, task := range map[string]keyfiles.Task{
		"a folder":                  {Name: "shop/keys", Remove: []string{key}},
		"a name with a dot":         {Name: ".trash", Have: []string{key}},
		"no name":                   {Have: []string{key}},
		"a key that leads up":       {Name: "shop", Have: []string{key}, Remove: []string{"../config"}},
		"one that stays and goes":   {Name: "shop", Have: []string{key}, Remove: []string{key}},
		"a key that is not here":    {Name: "shop", Have: []string{other}, Remove: []string{key}},
		"a sealed password that is": {Name: "shop", Have: []string{key}, File: sha256.Sum256([]byte("no")), Remove: []string{other}},
		"a repository that is not":  {Name: "sho", Have: []string{key}, Remove: []string{other}},
	} {
		if err := s.see(nil, task); err == nil {
			t.Errorf("%s: was done", name)
		}
	}
	if err := s.see(nil, keyfiles.Task{Name: "shop", Remove: []string{key}}); err != nil { // nothing that is to stay is known
		t.Error(err)
	}
	if got := s.names(""); !slices.Equal(got, before) {
		t.Errorf("got %v\nwant %v", got, before)
	}
}

// flip changes one bit in the middle of a file.
func flip(t *testing.T, path string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err == nil {
		content[len(content)/2] ^= 1
		err = os.WriteFile(path, content, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
