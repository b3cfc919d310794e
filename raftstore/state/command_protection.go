package state

import "time"

// Commands about what becomes of snapshots: all of level 3.
const (
	// SnapshotsForget marks snapshots whose time is over, before anything of them is deleted: from then on nobody restores from
	// them. Refused for another home than the present one, for one that something under way reads, and for the newest one
	// that the home or a replica site of the policy holds. Also for one in a retired repository: nothing is deleted there.
	SnapshotsForget Name = "snapshots.forget"
	// MaintenanceRecord: what the home's worker did to a repository. Of the snapshots that it forgot those leave the catalogue that
	// were marked before. Refused for another home than the present one.
	MaintenanceRecord Name = "maintenance.record"
	// VerificationRecord: what a worker found when it looked at its site's copy of a repository.
	VerificationRecord Name = "verification.record"
	// PauseSet keeps backups of an account, a server or a site from being started. PauseClear ends that. Refused for what
	// there is not.
	PauseSet   Name = "pause.set"
	PauseClear Name = "pause.clear"
)

// Payloads of these commands.
type (
	SnapshotsForgetData struct {
		Account   AccountName  `json:"account"`
		Home      Home         `json:"home"`
		Snapshots []SnapshotID `json:"snapshots"`
	}
	MaintenanceRecordData struct {
		Account   AccountName  `json:"account"`
		Home      Home         `json:"home"`
		Forgotten []SnapshotID `json:"forgotten,omitempty"`
		Objects   int64        `json:"objects"`           // taken out of use
		Bytes     int64        `json:"bytes"`             // taken out of use
		Unknown   []SnapshotID `json:"unknown,omitempty"` // in the repository and not in the catalogue: kept, and shown
		Error     string       `json:"error,omitempty"`
	}
	VerificationRecordData struct {
		Account  AccountName      `json:"account"` // or a later repository's name: see Repository.Row
		Site     SiteName         `json:"site"`
		Kind     VerificationKind `json:"kind"`
		Snapshot SnapshotID       `json:"snapshot,omitempty"` // of Proven: which one
		Part     int              `json:"part,omitempty"`     // of Checked: which part of all data was read, from 1
		Parts    int              `json:"parts,omitempty"`    // of how many
		Error    string           `json:"error,omitempty"`
		// BeganAgo is how long before this command the copy was looked at as it was then: what came to it since was not seen.
		BeganAgo time.Duration `json:"began_ago,omitempty"`
	}
	PauseSetData struct {
		Pause Pause `json:"pause"`
	}
	PauseClearData struct {
		Kind PauseKind `json:"kind"`
		Name string    `json:"name"`
	}
)

// VerificationKind is what was done to a copy.
type VerificationKind string

const (
	Scrubbed VerificationKind = "scrubbed" // each object's bytes give its name
	Checked  VerificationKind = "checked"  // restic check, and a part of all data read
	Proven   VerificationKind = "proven"   // restored, and what came out compared
)

// PauseKind is what is paused.
type PauseKind string

const (
	PauseAccount PauseKind = "account"
	PauseServer  PauseKind = "server"
	PauseSite    PauseKind = "site"
)

// Pause keeps scheduled backups from being started. One that runs goes on.
type Pause struct {
	Kind   PauseKind `json:"kind"`
	Name   string    `json:"name"`
	Reason string    `json:"reason,omitempty"`
	By     string    `json:"by"` // role/name; set by Apply
	Since  time.Time `json:"since"`
}

// Maintenance is the newest of one account's repository.
type Maintenance struct {
	Account  AccountName `json:"account"`
	Home     Home        `json:"home"`
	At       time.Time   `json:"at"`                // of the attempt
	Done     time.Time   `json:"done,omitzero"`     // of the last one that did all its work
	Objects  int64       `json:"objects"`           // taken out of use in that one
	Bytes    int64       `json:"bytes"`             // taken out of use in that one
	Unknown  int         `json:"unknown"`           // snapshots in the repository that the catalogue does not know
	Example  SnapshotID  `json:"example,omitempty"` // one of those
	Error    string      `json:"error,omitempty"`
	Failures int         `json:"failures,omitempty"` // in a row
}

// Verification is what is known of one site's copy of a repository. A time is when the last look began that found it good.
type Verification struct {
	Account  AccountName `json:"account"` // or a later repository's name: see Repository.Row
	Site     SiteName    `json:"site"`
	Scrubbed time.Time   `json:"scrubbed,omitzero"`
	Checked  time.Time   `json:"checked,omitzero"`
	// All data is read in parts, over many checks. Part was the last one of Parts; what was there at Began is read when the
	// last one is, and ReadSince is Began of the last round that came to its end.
	Part      int        `json:"part,omitempty"`
	Parts     int        `json:"parts,omitempty"`
	Began     time.Time  `json:"began,omitzero"`
	ReadSince time.Time  `json:"read_since,omitzero"`
	Proven    time.Time  `json:"proven,omitzero"`
	Snapshot  SnapshotID `json:"snapshot,omitempty"` // the one that was proven
	// Errors of the newest attempt of each kind; a success of that kind ends it.
	Errors map[VerificationKind]Failure `json:"errors,omitempty"`
}

// Failure is work that was tried and did not come to its end.
type Failure struct {
	Error string    `json:"error"`
	At    time.Time `json:"at"`
	Count int       `json:"count"` // in a row
}
