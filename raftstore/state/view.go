package state

// View is the state at one moment. It may be read from any goroutine, for as long as anybody likes.
// Rows are shared: nobody changes them. A row that does not exist is nil. Lists are new slices, sorted by name
// where nothing else is said.
type View struct {
	txn *transaction
}

// Preview says what Apply would answer to a command. Nothing changes.
func (v *View) Preview(c Command) (Result, error) {
	return (&State{db: v.txn.db.fork(v.txn.version)}).Apply(v.Index()+1, c)
}

// Index is the log's index of the newest command in this view.
func (v *View) Index() uint64 {
	if p := progressTable.get(v.txn, ""); p != nil {
		return p.Index
	}
	return 0
}

// Cluster is nil before ClusterInit.
func (v *View) Cluster() *Cluster { return clusterTable.get(v.txn, "") }

// Provider is nil before an inventory had one.
func (v *View) Provider() *Provider { return providerTable.get(v.txn, "") }

func (v *View) Site(n SiteName) *Site { return siteTable.get(v.txn, string(n)) }
func (v *View) Sites() []*Site        { return siteTable.list(v.txn) }

func (v *View) Server(n ServerName) *Server { return serverTable.get(v.txn, string(n)) }
func (v *View) Servers() []*Server          { return serverTable.list(v.txn) }

func (v *View) ServersAt(site SiteName) []*Server {
	return serverTable.find(v.txn, "site", string(site))
}

func (v *View) ServerStatus(n ServerName) *ServerStatus {
	return serverStatusTable.get(v.txn, string(n))
}

func (v *View) Policy(n PolicyName) *Policy { return policyTable.get(v.txn, string(n)) }
func (v *View) Policies() []*Policy         { return policyTable.list(v.txn) }

func (v *View) Account(n AccountName) *Account { return accountTable.get(v.txn, string(n)) }
func (v *View) Accounts() []*Account           { return accountTable.list(v.txn) }

// Assignment is nil for an account that was never placed.
func (v *View) Assignment(a AccountName) *Assignment { return assignmentTable.get(v.txn, string(a)) }

// Assignments are sorted by account.
func (v *View) Assignments() []*Assignment { return assignmentTable.list(v.txn) }

// AssignmentsOn has the stopped and fenced ones too: whatever this server was told last.
func (v *View) AssignmentsOn(server ServerName) []*Assignment {
	return assignmentTable.find(v.txn, "server", string(server))
}

func (v *View) Snapshot(a AccountName, id SnapshotID) *Snapshot { return snapshotOf(v.txn, a, id) }

// Snapshots of an account, newest first.
func (v *View) Snapshots(a AccountName) []*Snapshot {
	return snapshotsOf(v.txn, a)
}

// SnapshotsVersion is something that is equal for as long as an account's snapshots are the same ones, so that whoever has
// worked something out of them needs not unpack them again. Nil: it cannot be told.
func (v *View) SnapshotsVersion(a AccountName) any {
	if c := catalogueTable.get(v.txn, string(a)); c != nil {
		return c // rows never change in place
	}
	return nil
}

// Replication of a first repository bears its account's name, of a later one its own: see Repository.Row.
func (v *View) Replication(a AccountName, to SiteName) *Replication {
	return replicationTable.get(v.txn, compound(string(a), string(to)))
}

// Replications are sorted by account, then by site.
func (v *View) Replications() []*Replication { return replicationTable.list(v.txn) }

// BackupStatus is nil for an account of which no backup has ended yet.
func (v *View) BackupStatus(a AccountName) *BackupStatus {
	return backupStatusTable.get(v.txn, string(a))
}

func (v *View) Task(id TaskID) *Task { return taskTable.get(v.txn, string(id)) }
func (v *View) Tasks() []*Task       { return taskTable.list(v.txn) }

// TasksOn has the finished ones too, until they are forgotten.
func (v *View) TasksOn(server ServerName) []*Task {
	return taskTable.find(v.txn, "server", string(server))
}

// TasksOf an account, the finished ones too, until they are forgotten.
func (v *View) TasksOf(a AccountName) []*Task {
	return taskTable.find(v.txn, "account", string(a))
}

func (v *View) Run(id RunID) *Run { return runTable.get(v.txn, string(id)) }

// Runs are newest first.
func (v *View) Runs() []*Run { return runTable.prefixed(v.txn, "created") }

// RunAccounts of a run, in order of recovery.
func (v *View) RunAccounts(id RunID) []*RunAccount {
	return runAccountTable.prefixed(v.txn, "order", string(id))
}

func (v *View) APITokens() []*APIToken { return tokenTable.list(v.txn) }

// Members are the coordinators, as far as they have been recorded.
func (v *View) Members() []*Member         { return memberTable.list(v.txn) }
func (v *View) Member(name string) *Member { return memberTable.get(v.txn, name) }

// Issuer is nil before one was set.
func (v *View) Issuer() *Issuer { return issuerTable.get(v.txn, "") }

// Enrolments are those that have not expired long ago.
func (v *View) Enrolments() []*Enrolment { return enrolmentTable.list(v.txn) }

// Certificates that were issued through this cluster, by serial.
func (v *View) Certificates() []*Certificate { return certificateTable.list(v.txn) }

func (v *View) CertificatesOf(role, holder string) []*Certificate {
	return certificateTable.find(v.txn, "holder", compound(role, holder))
}

func (v *View) Revocations() []*Revocation { return revocationTable.list(v.txn) }

// Maintenance is nil for a repository that has had none.
func (v *View) Maintenance(a AccountName) *Maintenance { return maintenanceTable.get(v.txn, string(a)) }

// Verification is nil for a copy that nobody has looked at. It bears names as Replication does.
func (v *View) Verification(a AccountName, at SiteName) *Verification {
	return verificationTable.get(v.txn, compound(string(a), string(at)))
}

func (v *View) Pauses() []*Pause { return pauseTable.list(v.txn) }

// Pause is nil for what is not paused.
func (v *View) Pause(kind PauseKind, name string) *Pause {
	return pauseTable.get(v.txn, compound(string(kind), name))
}

// Keys of the keyring, newest first: the first one is what secrets are sealed to.
func (v *View) Keys() []*Key { return keyTable.prefixed(v.txn, "newest") }
