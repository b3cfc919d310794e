package state

import (
	"encoding/json"
	"fmt"
	"time"
)

// State is what Raft replicates. One goroutine applies; any number read views meanwhile.
type State struct {
	db *database
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
	return &State{db: newDatabase(allTables()), answers: rememberedAnswers}
}

// View returns the state as it is now. It is cheap and stays as it is.
func (s *State) View() *View {
	return &View{txn: s.db.read()}
}

// change is one command being applied. Nothing of it is seen before it was accepted as a whole.
type change struct {
	Txn      *transaction
	at       time.Time
	by       string
	progress *progress // as it will be after this command
	notes    []string
	token    Token

	subject, detail string // for the audit trail
}

func (c *change) note(format string, args ...any) {
	c.notes = append(c.notes, sentence(format, args))
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

	SnapshotsForget:    on(applySnapshotsForget),
	MaintenanceRecord:  on(applyMaintenanceRecord),
	VerificationRecord: on(applyVerificationRecord),
	PauseSet:           on(applyPauseSet),
	PauseClear:         on(applyPauseClear),

	RepositoryRenew:   on(applyRepositoryRenew),
	RepositoryRemove:  on(applyRepositoryRemove),
	RepositoryRemoved: on(applyRepositoryRemoved),
	RepositoryDrop:    on(applyRepositoryDrop),

	KeysMade:         on(applyKeysMade),
	KeysSeen:         on(applyKeysSeen),
	KeysRotate:       on(applyKeysRotate),
	KeysSwitch:       on(applyKeysSwitch),
	KeysRetire:       on(applyKeysRetire),
	BreakGlassRecord: on(applyBreakGlassRecord),

	ErasureOrder:  on(applyErasureOrder),
	ErasureCancel: on(applyErasureCancel),
	ErasureBegin:  on(applyErasureBegin),
	ErasureSite:   on(applyErasureSite),
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
	b := s.Batch()
	result, err := b.Apply(index, cmd)
	if err == nil {
		b.Commit()
	}
	return result, err
}

func progressOf(txn *transaction) progress {
	if p := progressTable.get(txn, ""); p != nil {
		return *p
	}
	return progress{}
}
