package main

import (
	"encoding/json"
	"os"
	"path/filepath"

	"filippo.io/age"
	"github.com/rogpeppe/go-internal/testscript"

	"drp/orchestrator/certificates"
)

// enrol ROLE NAME…: makes a one-time token: $TOKEN, to use with $FINGERPRINT.
func enrol(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(ts.Exec("drp", append([]string{"ca", "enrol", "--json"}, args...)...))
	var t certificates.EnrolmentToken
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &t))
	ts.Setenv("TOKEN", t.Token)
	ts.Setenv("FINGERPRINT", t.Fingerprint)
}

// recipient FILE: makes an offline key: $RECIPIENT.
func recipient(ts *testscript.TestScript, _ bool, args []string) {
	key, err := age.GenerateX25519Identity()
	ts.Check(err)
	ts.Check(os.WriteFile(filepath.Join(ts.Getenv("WORK"), args[0]), []byte(key.String()+"\n"), 0o600))
	ts.Setenv("RECIPIENT", key.Recipient().String())
}
