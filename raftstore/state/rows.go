package state

import "time"

// Cluster is the identity of this state. Every token carries its incarnation.
type Cluster struct {
	UUID        string    `json:"uuid"`
	Incarnation uint64    `json:"incarnation"`
	CreatedAt   time.Time `json:"created_at"`
	Level       int       `json:"level,omitempty"` // of commands that every member can apply; 0 is 1
	Held        *Hold     `json:"held,omitempty"`  // after a recovery, until a person says that it may act
}

// Status is what the leader knows of a server's contact.
type Status string

const (
	Up      Status = "up"
	Unknown Status = "unknown" // silent for 15 s
	Down    Status = "down"    // silent for 30 s; says nothing about what still runs there
)

// ServerStatus is written on changes only; heartbeats stay in the leader's memory.
type ServerStatus struct {
	Server      ServerName `json:"server"`
	Status      Status     `json:"status"`
	Since       time.Time  `json:"since"`
	LastContact time.Time  `json:"last_contact"` // when the change was committed; newer ones are in memory
}

// Assignment says who runs an account. There is at most one per account.
type Assignment struct {
	Account AccountName `json:"account"`
	Server  ServerName  `json:"server"`
	Token   Token       `json:"token"`
	// Restore says what the home is rebuilt from. Nil: an empty new home.
	Restore *RestorePoint `json:"restore,omitempty"`
	At      time.Time     `json:"at"`
	Run     RunID         `json:"run,omitempty"` // the failover that made it
	// Stop is set when the server was told to stop the account under this token.
	Stop bool `json:"stop,omitempty"`
	// Fenced is set when it is proved that nothing runs under this token any more. Only then is there a next one.
	Fenced *Fence `json:"fenced,omitempty"`
	// ReadyAt is when its agent first reported all of it running and announced.
	ReadyAt time.Time `json:"ready_at,omitzero"`
}

// RestorePoint is a snapshot and the site whose copy of it is read.
type RestorePoint struct {
	Snapshot SnapshotID `json:"snapshot"`
	Site     SiteName   `json:"site"`
}

// FenceMethod is why nobody runs under a token any more.
type FenceMethod string

const (
	AgentStopped  FenceMethod = "agent-stopped"  // its agent acknowledged the stop
	ConfirmedDown FenceMethod = "confirmed-down" // a named person confirmed that the server is down
)

// Fence is the proof, or the word of a person, that a token is dead.
type Fence struct {
	Method FenceMethod `json:"method"`
	By     string      `json:"by"` // server, or person
	At     time.Time   `json:"at"`
}

// Home is where a repository is written and pruned. It moves with a failover; then the epoch grows.
type Home struct {
	Site  SiteName `json:"site"`
	Epoch uint64   `json:"epoch"`
}

// Repository is the present restic repository of one account. Its name (see Name) is that of its place in every store.
type Repository struct {
	Account        AccountName `json:"account"`
	Home           Home        `json:"home"`
	SealedPassword []byte      `json:"sealed_password"` // age, to the coordinators and the offline recipients
	// InitialisedAt is when the home's worker had written config and key. Zero: no backup can run yet.
	InitialisedAt time.Time `json:"initialised_at,omitzero"`
	// Number is 0 for an account's first repository, then 2, 3 …
	Number int `json:"number,omitempty"`
}

// Snapshot is the catalogue's record of one restic snapshot of one account.
type Snapshot struct {
	ID       SnapshotID  `json:"id"`
	Account  AccountName `json:"account"`
	Start    time.Time   `json:"start"` // when its view of the files was taken: not before its task, not after it was recorded
	Finished time.Time   `json:"finished"`
	Server   ServerName  `json:"server"`
	Token    Token       `json:"token"`
	View     string      `json:"view"`  // "btrfs", "lvm": frozen and atomic; "live": files were read while programs ran
	Files    int64       `json:"files"` // in the snapshot
	Bytes    int64       `json:"bytes"` // in the snapshot
	// Copied is how many SQLite files of a live view were copied while programs stood still. From level 3 on.
	Copied int `json:"copied,omitempty"`
	// Parts are the databases and mailboxes that it was to hold, and how each went. From level 3 on.
	Parts []Part `json:"parts,omitempty"`
	// Sites are the copies: the site where it was made, and each where a complete pass held it.
	Sites []Copy `json:"sites"`
	// ForgetAt is when its time was over. It is still in the stores for a while, and nobody restores from it.
	ForgetAt time.Time `json:"forget_at,omitzero"`
	// Repository is the number of the one that it lies in.
	Repository int `json:"repository,omitempty"`
}

// Copy is one site's copy of a snapshot. Copied: every object of a complete pass was hashed and there.
type Copy struct {
	Site     SiteName  `json:"site"`
	CopiedAt time.Time `json:"copied_at"`
}

// At returns the copy at a site, if there is one.
func (s *Snapshot) At(site SiteName) (Copy, bool) {
	for _, c := range s.Sites {
		if c.Site == site {
			return c, true
		}
	}
	return Copy{}, false
}

// Replication is the newest pass of one account's repository to one site.
type Replication struct {
	Account  AccountName `json:"account"` // or a later repository's name: see Repository.Row
	Site     SiteName    `json:"site"`    // destination
	From     SiteName    `json:"from"`
	At       time.Time   `json:"at"`
	Objects  int64       `json:"objects"`         // copied in that pass
	Bytes    int64       `json:"bytes"`           // copied in that pass
	Error    string      `json:"error,omitempty"` // why the pass was not complete
	Failures int         `json:"failures,omitempty"`
}

// BackupStatus is the newest backup of one account: what is due next follows from it.
type BackupStatus struct {
	Account  AccountName `json:"account"`
	Due      time.Time   `json:"due"` // the slot of the schedule that was last served
	Started  time.Time   `json:"started"`
	Finished time.Time   `json:"finished,omitzero"`
	Snapshot SnapshotID  `json:"snapshot,omitempty"`
	Error    string      `json:"error,omitempty"`
	Failures int         `json:"failures,omitempty"` // in a row
}

// TaskKind is what an agent is asked to do once.
type TaskKind string

const (
	TaskBackup       TaskKind = "backup"
	TaskRestoreFiles TaskKind = "restore-files"
)

// TaskStatus is how far a task is. Pending becomes done or failed; nothing leaves those.
type TaskStatus string

const (
	TaskPending TaskStatus = "pending"
	TaskDone    TaskStatus = "done"
	TaskFailed  TaskStatus = "failed"
)

// Task is one piece of work for the agent of the server that holds an account. The agent journals it before the
// first effect and answers a task that it knows with the stored result.
type Task struct {
	ID      TaskID      `json:"id"`
	Kind    TaskKind    `json:"kind"`
	Account AccountName `json:"account"`
	Server  ServerName  `json:"server"`
	Token   Token       `json:"token"`
	Run     RunID       `json:"run,omitempty"`
	Created time.Time   `json:"created"`
	Due     time.Time   `json:"due,omitzero"` // backups: the slot of the schedule
	// Restore and Path are for restore-files: Path (relative to the home) comes back beside the live data, in Target.
	Restore *RestorePoint `json:"restore,omitempty"`
	Path    string        `json:"path,omitempty"`
	Target  string        `json:"target,omitempty"` // new directory in the home

	Status   TaskStatus `json:"status"`
	Finished time.Time  `json:"finished,omitzero"`
	Error    string     `json:"error,omitempty"`
	Detail   string     `json:"detail,omitempty"` // one sentence for a person: what was done
}

// RunStatus is how far a run is.
type RunStatus string

const (
	RunPreparing RunStatus = "preparing" // its accounts are being recorded
	RunRunning   RunStatus = "running"
	RunWaiting   RunStatus = "waiting" // for a person
	RunDone      RunStatus = "done"
	RunFailed    RunStatus = "failed"
	RunCancelled RunStatus = "cancelled"
)

// Ended reports whether nothing of the run will happen any more.
func (s RunStatus) Ended() bool { return s == RunDone || s == RunFailed || s == RunCancelled }

// Run is one execution of a runbook. Step is the only place that says where it stands; a new leader goes on there.
type Run struct {
	ID         RunID             `json:"id"`
	Runbook    string            `json:"runbook"` // name
	Source     string            `json:"source"`  // the YAML as it was when the run began
	Parameters map[string]string `json:"parameters"`
	By         string            `json:"by"`
	Created    time.Time         `json:"created"`
	Status     RunStatus         `json:"status"`
	Step       int               `json:"step"` // index into Steps
	Steps      []RunStep         `json:"steps"`
	// PlanHash binds the confirmation to the plan that was shown; the plan's accounts are RunAccount rows.
	PlanHash string `json:"plan_hash,omitempty"`
	// ConfirmedBy is who agreed to the plan. Down are the words given that servers are down, one for each server and time.
	ConfirmedBy string     `json:"confirmed_by,omitempty"`
	ConfirmedAt time.Time  `json:"confirmed_at,omitzero"`
	Down        []DownWord `json:"down,omitempty"`
	Error       string     `json:"error,omitempty"`
	Finished    time.Time  `json:"finished,omitzero"`
}

// DownWord is a named person's word that a server is down. It says nothing about a server that was heard after At.
type DownWord struct {
	Server ServerName `json:"server"`
	By     string     `json:"by"`
	At     time.Time  `json:"at"`
}

// StepStatus is how far a step is.
type StepStatus string

const (
	StepPending StepStatus = "pending"
	StepRunning StepStatus = "running"
	StepDone    StepStatus = "done"
	StepFailed  StepStatus = "failed"
)

// RunStep is one step of a run. Items are its parts, one for each account, in order of recovery.
type RunStep struct {
	ID       string     `json:"id"`
	Type     string     `json:"type"`
	Status   StepStatus `json:"status"`
	Started  time.Time  `json:"started,omitzero"`
	Finished time.Time  `json:"finished,omitzero"`
	Message  string     `json:"message,omitempty"`
	// Items are derived from the RunAccount and Assignment rows when a run is shown; the state holds none.
	Items []RunItem `json:"items,omitempty"`
}

// RunAccount is one account of a run: what was planned for it, and how it ended. How far it is in between follows from
// its assignment. Rows of their own, so that a run of 40,000 accounts is no larger a command than one of 4.
type RunAccount struct {
	Run     RunID        `json:"run"`
	Account AccountName  `json:"account"`
	Order   int          `json:"order"` // of recovery, from 0
	From    ServerName   `json:"from"`
	Token   Token        `json:"token"` // the one that has to be fenced
	To      ServerName   `json:"to"`    // empty: it fits nowhere, and Message says why
	Restore RestorePoint `json:"restore"`
	Start   time.Time    `json:"start"` // of the snapshot
	// LastContact is when From was last heard: where both RPO and RTO begin.
	LastContact time.Time `json:"last_contact"`

	Status  StepStatus    `json:"status"` // pending, then done or failed
	At      time.Time     `json:"at,omitzero"`
	Message string        `json:"message,omitempty"`
	RPO     time.Duration `json:"rpo,omitempty"` // nanoseconds
	RTO     time.Duration `json:"rto,omitempty"` // nanoseconds
}

// RunItem is the outcome of a step for one account, as it is shown.
type RunItem struct {
	Account AccountName   `json:"account"`
	Status  StepStatus    `json:"status"`
	At      time.Time     `json:"at,omitzero"`
	Message string        `json:"message,omitempty"`
	Server  ServerName    `json:"server,omitempty"`
	RPO     time.Duration `json:"rpo,omitempty"`
	RTO     time.Duration `json:"rto,omitempty"`
	// Erased: the account left for good while the run went on. Nothing is left to do for it, and it is not back.
	Erased bool `json:"erased,omitempty"`
}

// APIToken lets a program in. Only its SHA-256 is kept.
type APIToken struct {
	Name    string    `json:"name"`
	SHA256  []byte    `json:"sha256"`
	Role    string    `json:"role"` // operator or support
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
}
