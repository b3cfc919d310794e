package state

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
)

// The tables. What is written here is never changed after the program's start.
var (
	progressTable = table[progress]{name: "progress", key: single[progress]}
	clusterTable  = table[Cluster]{name: "cluster", key: single[Cluster]}
	providerTable = table[Provider]{name: "provider", key: single[Provider]}

	siteTable   = table[Site]{name: "sites", key: func(r *Site) string { return string(r.Name) }}
	serverTable = table[Server]{
		name: "servers", key: func(r *Server) string { return string(r.Name) },
		by: []index[Server]{{"site", func(r *Server) []string { return []string{string(r.Site)} }}},
	}
	policyTable  = table[Policy]{name: "policies", key: func(r *Policy) string { return string(r.Name) }}
	accountTable = table[Account]{
		name: "accounts", key: func(r *Account) string { return string(r.Name) },
		by: []index[Account]{{"address", addressKeys}, {"part", (*Account).Parts}},
	}
	serverStatusTable = table[ServerStatus]{name: "server-status", key: func(r *ServerStatus) string { return string(r.Server) }}

	assignmentTable = table[Assignment]{
		name: "assignments", key: func(r *Assignment) string { return string(r.Account) },
		by: []index[Assignment]{{"server", func(r *Assignment) []string { return []string{string(r.Server)} }}},
	}
	repositoryTable = table[Repository]{name: "repositories", key: func(r *Repository) string { return string(r.Account) }}
	snapshotTable   = table[Snapshot]{
		name: "snapshots", key: func(r *Snapshot) string { return string(r.ID) },
		by: []index[Snapshot]{{"account", func(r *Snapshot) []string {
			return []string{compound(string(r.Account), newestFirst(r.Start))}
		}}},
	}
	replicationTable = table[Replication]{
		name: "replications",
		key:  func(r *Replication) string { return compound(string(r.Account), string(r.Site)) },
	}
	backupStatusTable = table[BackupStatus]{name: "backup-status", key: func(r *BackupStatus) string { return string(r.Account) }}
	taskTable         = table[Task]{
		name: "tasks", key: func(r *Task) string { return string(r.ID) },
		by: []index[Task]{
			{"server", func(r *Task) []string { return []string{string(r.Server)} }},
			{"account", func(r *Task) []string { return []string{string(r.Account)} }},
		},
	}
	runTable = table[Run]{
		name: "runs", key: func(r *Run) string { return string(r.ID) },
		by: []index[Run]{{"created", func(r *Run) []string { return []string{newestFirst(r.Created)} }}},
	}
	runAccountTable = table[RunAccount]{
		name: "run-accounts", key: func(r *RunAccount) string { return compound(string(r.Run), string(r.Account)) },
		by: []index[RunAccount]{{"order", func(r *RunAccount) []string {
			return []string{compound(string(r.Run), string(binary.BigEndian.AppendUint64(nil, uint64(r.Order))))}
		}}},
	}
	tokenTable = table[APIToken]{name: "tokens", key: func(r *APIToken) string { return r.Name }}

	memberTable     = table[Member]{name: "members", key: func(r *Member) string { return r.Name }}
	auditTable      = table[AuditEntry]{name: "audit", key: func(r *AuditEntry) string { return auditKey(r.Seq) }}
	issuerTable     = table[Issuer]{name: "issuer", key: single[Issuer]}
	enrolmentTable  = table[Enrolment]{name: "enrolments", key: func(r *Enrolment) string { return r.Name }}
	revocationTable = table[Revocation]{name: "revocations", key: revocationKey}

	certificateTable = table[Certificate]{
		name: "certificates", key: func(r *Certificate) string { return r.Serial },
		by: []index[Certificate]{{"holder", func(r *Certificate) []string { return []string{compound(r.Role, r.Holder)} }}},
	}
	catalogueTable    = table[catalogue]{name: "catalogues", key: func(r *catalogue) string { return string(r.Account) }}
	maintenanceTable  = table[Maintenance]{name: "maintenance", key: func(r *Maintenance) string { return string(r.Account) }}
	verificationTable = table[Verification]{
		name: "verifications", key: func(r *Verification) string { return compound(string(r.Account), string(r.Site)) },
	}
	pauseTable = table[Pause]{name: "pauses", key: func(r *Pause) string { return compound(string(r.Kind), r.Name) }}

	retiredTable = table[Retired]{
		name: "retired", key: func(r *Retired) string { return retiredKey(r.Repository.Account, r.Repository.Number) },
		by: []index[Retired]{{"account", func(r *Retired) []string { return []string{string(r.Repository.Account)} }}},
	}
	holdersTable         = table[Holders]{name: "password-holders", key: func(r *Holders) string { return string(r.Account) }}
	repositoryKeysTable  = table[RepositoryKeys]{name: "repository-keys", key: func(r *RepositoryKeys) string { return r.Repository }}
	recipientsTable      = table[Recipients]{name: "recipients", key: func(r *Recipients) string { return r.ID.String() }}
	breakGlassTestsTable = table[BreakGlassTests]{name: "breakglass-tests", key: single[BreakGlassTests]}

	// An open one is found without going over all that were ever done.
	erasureTable = table[Erasure]{
		name: "erasures", key: func(r *Erasure) string { return string(r.Account) },
		by: []index[Erasure]{{"open", func(r *Erasure) []string {
			if r.Done.IsZero() {
				return []string{""}
			}
			return nil
		}}},
	}

	keyTable = table[Key]{
		name: "keys", key: func(r *Key) string { return r.ID },
		by: []index[Key]{{"newest", func(r *Key) []string { return []string{newestFirst(r.Created)} }}},
	}

	appliedTable = table[applied]{
		name: "applied", key: func(r *applied) string { return r.ID },
		by: []index[applied]{{"index", func(r *applied) []string {
			return []string{string(binary.BigEndian.AppendUint64(nil, r.Index))}
		}}},
	}
)

// retiredKey keeps the repositories of an account in the order of their numbers.
func retiredKey(account AccountName, number int) string {
	return compound(string(account), string(binary.BigEndian.AppendUint64(nil, uint64(number))))
}

// single is the key of a table that has one row at most.
func single[T any](*T) string { return "" }

func addressKeys(a *Account) []string {
	keys := make([]string, len(a.Addresses))
	for i, addr := range a.Addresses {
		keys[i] = addr.String()
	}
	return keys
}

// storedTable is what Persist, Restore and the schema need of a table, whatever its rows are.
type storedTable interface {
	title() string
	indexes() int
	rows(txn *transaction) func(yield func(any) bool)
	decode(row json.RawMessage) (any, error)
	insert(txn *transaction, row any)
	remove(txn *transaction, row any)
}

// allTables in the order in which Persist writes them. New ones go to the end.
func allTables() []storedTable {
	return []storedTable{
		progressTable, clusterTable, providerTable, siteTable, serverTable, policyTable, accountTable, serverStatusTable,
		assignmentTable, repositoryTable, snapshotTable, replicationTable, backupStatusTable, taskTable, runTable, tokenTable,
		appliedTable, runAccountTable,
		memberTable, auditTable, issuerTable, enrolmentTable, certificateTable, revocationTable, keyTable,
		maintenanceTable, verificationTable, pauseTable, catalogueTable,
		retiredTable, holdersTable,
		repositoryKeysTable, breakGlassTestsTable, recipientsTable,
		erasureTable,
	}
}

// rows goes over all rows in the order of their keys.
func (t table[T]) rows(txn *transaction) func(yield func(any) bool) {
	return func(yield func(any) bool) { txn.prefixed(txn.db.first[t.name], "", yield) }
}

func (t table[T]) decode(data json.RawMessage) (any, error) {
	row := new(T)
	if err := decodeStrict(data, row); err != nil {
		return nil, fmt.Errorf("decode row of %s: %w", t.name, err)
	}
	if r, ok := any(row).(trimmer); ok {
		r.trim()
	}
	return row, nil
}

func (t table[T]) insert(txn *transaction, row any) { t.put(txn, row.(*T)) }

func (t table[T]) remove(txn *transaction, row any) { t.drop(txn, row.(*T)) }
