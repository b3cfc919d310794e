package state

import (
	"encoding/json"
	"slices"
)

// Level is what this binary can apply. It grows with each release that adds commands, or fields to one, or puts them into
// the log in another way. The state has the level that all members share, and the leader proposes nothing above it: so an
// older member never meets a command that it does not know. Level 3 is that of the release that is being made: until then its
// commands, and what Apply does with them, may change.
const Level = 3

// LevelBundles is the first level at which an entry of the log may hold several commands.
const LevelBundles = 3

// LevelCatalogues is the level at which the snapshots of an account are packed into one row.
const LevelCatalogues = 3

// LevelParts is the first level at which accounts have databases, mailboxes and cron jobs, and snapshots parts.
const LevelParts = 3

// firstLevel is that of a state which says none.
const firstLevel = 1

// LevelOf returns the level of a command, or 0 for one that this binary does not know.
func LevelOf(name Name) int {
	if _, ok := handlers[name]; !ok {
		return 0
	}
	switch name {
	case ClusterLevel, ClusterRecover, ClusterResume, AssignmentAdopt, MemberSet, MemberRemove, AuditNote, AuditExported,
		IssuerSet, EnrolmentCreate, CertificateIssue, CertificateRevoke, KeyringSet, KeyringRetire, SecretsReseal:
		return 2
	case SnapshotsForget, MaintenanceRecord, VerificationRecord, PauseSet, PauseClear, RepositoryRenew, RepositoryRemove,
		RepositoryRemoved, RepositoryDrop, KeysMade, KeysSeen, KeysRotate, KeysSwitch, KeysRetire, BreakGlassRecord,
		ErasureOrder, ErasureCancel, ErasureBegin, ErasureSite:
		return 3
	default:
		return firstLevel
	}
}

// Level of a command: what a member has to be able to apply to understand it. Some commands got fields later.
func (c Command) Level() int {
	level := LevelOf(c.Name)
	var later interface{ level() int }
	switch c.Name {
	case ClusterInit:
		later = new(ClusterInitData)
	case InventoryApply:
		later = new(InventoryData)
	case TaskFinish:
		later = new(TaskFinishData)
	default:
		return level
	}
	if json.Unmarshal(c.Data, later) != nil {
		return level // Validate says what is wrong
	}
	return max(level, later.level())
}

func (d *ClusterInitData) level() int { return d.Level }

func (d *InventoryData) level() int {
	for _, p := range d.Policies {
		if p.Keep != nil || p.CheckWithin != 0 || p.ReadWithin != 0 || p.ProveWithin != 0 {
			return 3
		}
	}
	for _, s := range d.Servers {
		if s.Backups != 0 {
			return 3
		}
	}
	for _, s := range d.Sites {
		if s.Backups != 0 {
			return 3
		}
	}
	if slices.ContainsFunc(d.Accounts, func(a Account) bool { return len(a.Parts()) > 0 || len(a.CronJobs) > 0 }) {
		return LevelParts
	}
	return firstLevel
}

func (d *TaskFinishData) level() int {
	if d.Snapshot != nil && (len(d.Snapshot.Parts) > 0 || d.Snapshot.Copied != 0 || d.Snapshot.Repository != 0) {
		return LevelParts
	}
	return firstLevel
}

// Level that all members share. A state before ClusterInit takes whatever this binary can: nobody else has begun.
func (v *View) Level() int {
	c := v.Cluster()
	switch {
	case c == nil:
		return Level
	case c.Level == 0:
		return firstLevel
	default:
		return c.Level
	}
}

func applyClusterLevel(c *change, d ClusterLevelData) (bool, error) {
	old := clusterTable.get(c.Txn, "")
	if old == nil {
		return false, refuse(ErrConflict, "the cluster has no identity yet")
	}
	if present := max(old.Level, firstLevel); d.Level < present {
		return false, refuse(ErrConflict, "the cluster is at level %d, and a level never falls", present)
	}
	if d.Level == old.Level {
		return false, nil
	}
	next := *old
	next.Level = d.Level
	clusterTable.put(c.Txn, &next)
	if packs(c.Txn) {
		c.packAll()
	}
	return true, nil
}
