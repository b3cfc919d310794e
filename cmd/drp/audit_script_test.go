package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"drp/raftstore/audit"
	"drp/raftstore/signed"
	"drp/raftstore/state"
)

// trail LAST | trail checkpoint FILE HOLDER: gives the platform a history of that many entries, or writes a checkpoint of its
// newest one, signed by the holder of a certificate.
func trail(ts *testscript.TestScript, _ bool, args []string) {
	p := platformOf(ts)
	view, err := p.brain.View(context.Background())
	ts.Check(err)
	if args[0] == "checkpoint" {
		head := view.AuditHead()
		word := audit.Checkpoint{Cluster: view.Cluster().UUID, Incarnation: 1, Seq: head.Seq, Hash: head.Hash, At: time.Now()}
		body, err := audit.Sign(word, signer(ts, args[2]))
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(args[1]), body, 0o600))
		return
	}
	var last uint64
	_, err = fmt.Sscan(args[0], &last)
	ts.Check(err)
	if view.Cluster() == nil {
		p.brain.Command(state.ClusterInit, state.ClusterInitData{UUID: "cluster-a", Incarnation: 1, Level: state.Level})
	}
	for view, err = p.brain.View(context.Background()); err == nil && view.AuditHead().Seq < last; view, err = p.brain.View(context.Background()) {
		p.brain.Command(state.AuditNote, state.AuditNoteData{Action: "read snapshots", Account: "guestbook", Detail: "\x1b[31mroute"})
	}
	ts.Check(err)
}

func signer(ts *testscript.TestScript, holder string) signed.Signer {
	dir := ts.MkAbs(".")
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, holder+".pem"), filepath.Join(dir, holder+".key"))
	ts.Check(err)
	return func(text []byte) ([][]byte, []byte, error) {
		sum := sha256.Sum256(text)
		signature, err := pair.PrivateKey.(crypto.Signer).Sign(rand.Reader, sum[:], crypto.SHA256)
		return pair.Certificate, signature, err
	}
}
