package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"drp/orchestrator/sealing"
	"drp/raftstore/identity"
)

// A slip in a file of secrets is named by its place. Whatever the slip is, the secret is not repeated: it would stand in a
// log, or in the transcript of a bad night.
func TestReadStoreKeys_slips(t *testing.T) {
	const secret = "wJalrXUtnFEMI-K7MDENG"
	for name, c := range map[string]struct{ text, at string }{
		"a field that there is not":    {"access_key: a\nsecret_kex: " + secret + "\n", ":2:1: "},
		"the secret for a field":       {"access_key: a\n" + secret + ": secret_key\n", ":2:1: "},
		"no colon":                     {"access_key: a\nsecret_key " + secret + "\n", ":2:1: "},
		"no blank behind the colon":    {"access_key: a\nsecret_key:" + secret + "\n", ":2:1: "},
		"a list":                       {"- " + secret + "\n", ":1:1: "},
		"a quote that is not closed":   {"access_key: a\nsecret_key: \"" + secret + "\n", ":2:13: "},
		"a character that has a sense": {"access_key: a\nsecret_key: @" + secret + "\n", ":2:13: "},
		"an indentation":               {"access_key: a\n  secret_key: " + secret + "\n", ":"},
		"the field twice":              {"access_key: a\nsecret_key: b\nsecret_key: " + secret + "\n", ":3:1: "},
		"one of two":                   {"secret_key: " + secret + "\n", ":1:1: "},
		"an empty file":                {"", ":1:1: "},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "keys.yaml")
			if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			keys, err := readStoreKeys(file)
			if err == nil {
				t.Fatalf("got keys %+v from %q", keys, c.text)
			}
			says(t, err, file+c.at, "access_key: …")
			hides(t, err, secret)
		})
	}
}

// A configuration holds no secret; where one has slipped into it, or another file was named, its line is not shown either.
func TestReadConfig_slips(t *testing.T) {
	const secret = "wJalrXUtnFEMI-K7MDENG"
	file := filepath.Join(t.TempDir(), "worker.yaml")
	if err := os.WriteFile(file, []byte("site: par1\nstore:\n  secret_key: "+secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := readConfig(file, new(workerConfig))
	says(t, err, file+":3:3: ", "secret_key")
	hides(t, err, secret)
}

// One letter of a secret age key is wrong: all places that read such a file name the line, and show nothing of it.
func TestAgeIdentity_slips(t *testing.T) {
	key := ageKey(t).String()
	secret := key[20:40]
	for name, text := range map[string]string{
		"a letter too many":  "# offline\n" + key + "q\n",
		"another beginning":  "# offline\nX" + key + "\n",
		"a separator in it":  "# offline\n" + key[:40] + "1" + key[40:] + "\n",
		"in two lines":       "# offline\n" + key[:40] + "\n" + key[40:] + "\n",
		"with a second half": "# offline\n" + secret + " " + key + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "age.key")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, coordinator := sealing.ReadIdentity(file)
			_, offline := identity.ReadAgeIdentities(file)
			_, joining := (&joiner{dir: dir}).recipient()
			_, initial := ownRecipient(file)
			for _, err := range []error{coordinator, offline, joining, initial} {
				says(t, err, file+":2:1: ", "AGE-SECRET-KEY-1…")
				hides(t, err, secret, key[42:60])
			}
		})
	}
}

// The secret half given for the public one is the likeliest slip.
func TestRecipient_secret(t *testing.T) {
	key := ageKey(t).String()
	for _, text := range []string{key, strings.ToLower(key), "x" + key} {
		_, list := sealing.ParseRecipients([]string{text})
		_, first := (&caInit{recipients: []string{text}}).parse()
		for _, err := range []error{list, first} {
			says(t, err, "recipient: ", "age1…")
			hides(t, err, text[18:])
		}
	}
	_, err := sealing.ParseRecipients([]string{"age1x"})
	says(t, err, `"age1x"`)
}

func says(t testing.TB, err error, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if err == nil || !strings.Contains(err.Error(), p) {
			t.Errorf("got %v, want %q in it", err, p)
		}
	}
}

func hides(t testing.TB, err error, secrets ...string) {
	t.Helper()
	for _, s := range secrets {
		if err != nil && strings.Contains(strings.ToLower(err.Error()), strings.ToLower(s)) {
			t.Errorf("got %v, which shows the secret", err)
		}
	}
}
