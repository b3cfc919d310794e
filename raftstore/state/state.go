package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	memdb "github.com/hashicorp/go-memdb"
)

// State is what Raft replicates. One goroutine applies; any number read views meanwhile.
type State struct {
	db *memdb.MemDB
	// answers is how many of them are kept for retries. It is part of what Apply does: all nodes have the same.
	answers int
}

// progress is how far this state is in the log, and what is kept over all its rows.
type progress struct {
	Index   uint64    `json:"index"`           // of the newest entry applied
	Applied int       `json:"applied"`         // rows of the applied table
	Digest  Digest    `json:"digest,omitzero"` // of all rows but this one
	Audit   AuditHead `json:"audit,omitzero"`
}

// New returns the state before the first command.
func New() *State {
	schema := &memdb.DBSchema{Tables: map[string]*memdb.TableSchema{}}
	for _, t := range allTables() {
		schema.Tables[t.title()] = t.schema()
	}
	db, err := memdb.NewMemDB(schema)
	if err != nil {
		panic("state: build tables: " + err.Error()) // the schema is written in this package
	}
	return &State{db: db, answers: rememberedAnswers}
}

// View returns the state as it is now. It is cheap and stays as it is.
func (s *State) View() *View {
	moment := s.db.Snapshot()
	return &View{txn: moment.Txn(false), db: moment}
}

// change is one command being applied. Nothing of it is seen before it was accepted as a whole.
type change struct {
	*memdb.Txn
	at       time.Time
	by       string
	progress *progress // as it will be after this command
	notes    []string
	token    Token

	subject, detail string // for the audit trail
}

func (c *change) note(format string, args ...any) {
	c.notes = append(c.notes, fmt.Sprintf(format, args...))
}

// handler carries out one command: it reports whether anything changed. Its error is a refusal (see refuse) and
// undoes everything, or an *undecodableError.
type handler func(c *change, data json.RawMessage) (changed bool, err error)

// handlers has an entry for each command there ever was.
var handlers = map[Name]handler{
	ClusterInit:       on(applyClusterInit),
	InventoryApply:    on(applyInventory),
	ServerSeen:        on(applyServerSeen),
	RepositoryCreate:  on(applyRepositoryCreate),
	RepositoryReady:   on(applyRepositoryReady),
	Assign:            on(applyAssign),
	AssignmentStop:    on(applyAssignmentStop),
	AssignmentFenced:  on(applyAssignmentFenced),
	AssignmentReady:   on(applyAssignmentReady),
	TaskCreate:        on(applyTaskCreate),
	TaskFinish:        on(applyTaskFinish),
	TaskForget:        on(applyTaskForget),
	ReplicationRecord: on(applyReplicationRecord),
	RunCreate:         on(applyRunCreate),
	RunAccounts:       on(applyRunAccounts),
	RunAccountEnd:     on(applyRunAccountEnd),
	RunUpdate:         on(applyRunUpdate),
	RunConfirm:        on(applyRunConfirm),
	RunCancel:         on(applyRunCancel),
	TokenCreate:       on(applyTokenCreate),
	TokenRevoke:       on(applyTokenRevoke),

	ClusterLevel:      on(applyClusterLevel),
	ClusterRecover:    on(applyClusterRecover),
	ClusterResume:     on(applyClusterResume),
	AssignmentAdopt:   on(applyAssignmentAdopt),
	MemberSet:         on(applyMemberSet),
	MemberRemove:      on(applyMemberRemove),
	AuditNote:         on(applyAuditNote),
	AuditExported:     on(applyAuditExported),
	IssuerSet:         on(applyIssuerSet),
	EnrolmentCreate:   on(applyEnrolmentCreate),
	CertificateIssue:  on(applyCertificateIssue),
	CertificateRevoke: on(applyCertificateRevoke),
	KeyringSet:        on(applyKeyringSet),
	KeyringRetire:     on(applyKeyringRetire),
	SecretsReseal:     on(applySecretsReseal),
}

// on puts the decoding of the payload before a command's function.
func on[D any](apply func(*change, D) (bool, error)) handler {
	return func(c *change, data json.RawMessage) (bool, error) {
		var d D
		if err := decodeStrict(data, &d); err != nil {
			return false, &undecodableError{err}
		}
		if c == nil {
			return false, nil // Validate wants no more than this
		}
		c.subject, c.detail = subject(d)
		return apply(c, d)
	}
}

// undecodableError is a payload that this binary does not understand.
type undecodableError struct{ cause error }

func (e *undecodableError) Error() string { return "decode payload: " + e.cause.Error() }
func (e *undecodableError) Unwrap() error { return e.cause }

// Validate tells whether Apply would understand the command. It has to hold before the command goes into the log:
// there, one that nobody understands stops every node.
func (c Command) Validate() error {
	h, ok := handlers[c.Name]
	if !ok {
		return &UnknownCommandError{Name: c.Name}
	}
	if c.ID == "" {
		return fmt.Errorf("command %s has no id", c.Name)
	}
	if _, err := h(nil, c.Data); err != nil {
		return fmt.Errorf("command %s %s: %w", c.Name, c.ID, err)
	}
	return nil
}

// Apply carries out one entry of the log. Its error means that this node cannot go on: it does not know the command,
// or cannot read it. A refusal is an answer like any other, and is in Result.Err.
func (s *State) Apply(index uint64, cmd Command) (Result, error) {
	handle, ok := handlers[cmd.Name]
	if !ok {
		return Result{}, &UnknownCommandError{Name: cmd.Name}
	}
	txn := s.begin()
	defer func() { txn.Abort() }() // nothing after a commit

	next := progressOf(txn)
	next.Index = index
	if first := appliedTable.get(txn, cmd.ID); first != nil {
		result, err := first.again(cmd)
		if err != nil {
			return Result{}, err
		}
		progressTable.put(txn, &next)
		txn.Commit()
		return result, nil
	}

	c := &change{Txn: txn, at: cmd.At.UTC().Round(0), by: cmd.By, progress: &next}
	changed, err := handle(c, cmd.Data)
	if err == nil {
		err = c.checkHold(cmd.Name)
	}
	result := Result{Changed: changed, Notes: c.notes, Token: c.token}
	if err != nil {
		var refused *refusal
		if !errors.As(err, &refused) {
			return Result{}, fmt.Errorf("apply %s %s at %d: %w", cmd.Name, cmd.ID, index, err)
		}
		txn.Abort()
		txn = s.begin()
		next = progressOf(txn)
		next.Index = index
		result = Result{Err: refused}
	}
	if err := s.remember(txn, &next, cmd, result); err != nil {
		return Result{}, err
	}
	next.Audit.extend(txn, c.auditEntry(index, cmd, result))
	if next.Digest, err = next.Digest.after(txn.Changes()); err != nil {
		return Result{}, fmt.Errorf("apply %s %s at %d: %w", cmd.Name, cmd.ID, index, err)
	}
	progressTable.put(txn, &next)
	txn.Commit()
	return result, nil
}

// begin a transaction that knows its changes.
func (s *State) begin() *memdb.Txn {
	txn := s.db.Txn(true)
	txn.TrackChanges()
	return txn
}

func progressOf(txn *memdb.Txn) progress {
	if p := progressTable.get(txn, ""); p != nil {
		return *p
	}
	return progress{}
}

// decodeStrict refuses fields that it does not know: an older binary that left them out would go its own way.
func decodeStrict(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more after the value")
	}
	return nil
}
