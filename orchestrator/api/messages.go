package api

import (
	"drp/raftstore/state"
	"time"
)

// ApplyRequest changes the inventory: POST /v1/inventory.
type ApplyRequest struct {
	ID     string          `json:"id" minLength:"8" maxLength:"64" doc:"made by the client, so that a retry is harmless"`
	Files  []InventoryFile `json:"files" minItems:"1" maxItems:"1000" nullable:"false"`
	DryRun bool            `json:"dry_run,omitempty" doc:"only say what would change"`
}

// InventoryFile is one YAML file.
type InventoryFile struct {
	Name string `json:"name" doc:"as the person knows it; errors name it"`
	Text string `json:"text"`
}

// ApplyResponse says what changed, one sentence each.
type ApplyResponse struct {
	Changes []string `json:"changes" nullable:"false"`
}

// AccountDetail is everything about one account but its snapshots.
type AccountDetail struct {
	Account    *state.Account    `json:"account"`
	Assignment *state.Assignment `json:"assignment,omitempty"`
	Home       *state.Home       `json:"home,omitempty"`
	// SealedKey opens with a coordinator's identity or an offline one alone (age), and is itself the identity that opens
	// SealedPassword behind its first line. Operators see both: with the offline identity and restic they are enough to read
	// the repository when nothing else is left.
	SealedKey      []byte               `json:"sealed_key,omitempty"`
	SealedPassword []byte               `json:"sealed_password,omitempty"`
	Backup         *state.BackupStatus  `json:"backup,omitempty"`
	Replications   []*state.Replication `json:"replications,omitempty"`
	// Repository is the name of the one that backups go to. Retired are those that are only read, newest first, then those that
	// are removed and of which the trash may hold something.
	Repository string              `json:"repository,omitempty"`
	Retired    []RetiredRepository `json:"retired,omitempty"`
}

// RetiredRepository is one whose password a server knew that was broken into.
type RetiredRepository struct {
	Repository     string                           `json:"repository"` // its name
	At             time.Time                        `json:"at"`
	By             string                           `json:"by"`
	Server         state.ServerName                 `json:"server,omitempty"` // the one that was broken into
	Reason         string                           `json:"reason,omitempty"`
	Snapshots      int                              `json:"snapshots"`
	Removing       time.Time                        `json:"removing,omitzero"` // since when all of it is over
	Errors         map[state.SiteName]state.Failure `json:"errors,omitempty"`  // why it is still there
	Gone           time.Time                        `json:"gone,omitzero"`     // since when it lies in the sites' trash alone
	SealedKey      []byte                           `json:"sealed_key,omitempty"`
	SealedPassword []byte                           `json:"sealed_password,omitempty"`
}

// BackupRequest backs accounts up now: POST /v1/backups.
type BackupRequest struct {
	Accounts []state.AccountName `json:"accounts" minItems:"1" maxItems:"10000" nullable:"false"`
}

// BackupResponse names the tasks.
type BackupResponse struct {
	Tasks []state.TaskID `json:"tasks"`
}

// RunView is a run at one moment.
type RunView struct {
	Revision string     `json:"revision" doc:"changes with every change of the run"`
	Run      *state.Run `json:"run"`
}

// ConfirmRequest is a person's word that a plan may be carried out: POST /v1/runs/{id}/confirm.
type ConfirmRequest struct {
	PlanHash string             `json:"plan_hash" doc:"of the plan that the person saw"`
	Down     []state.ServerName `json:"down,omitempty" doc:"servers that the person says are down"`
}

// TokenRequest makes a token: POST /v1/tokens.
type TokenRequest struct {
	Name     string        `json:"name" pattern:"^[a-z0-9][a-z0-9._-]{0,62}$"`
	Role     string        `json:"role" enum:"operator,support"`
	Validity time.Duration `json:"validity" minimum:"1000000000" doc:"nanoseconds"`
}

// TokenResponse shows the token, this once.
type TokenResponse struct {
	Token string `json:"token"`
}

// Health is what GET /v1/health answers.
type Health struct {
	Name   string `json:"name"`
	Leader string `json:"leader,omitempty" doc:"as far as this coordinator knows"`
}
