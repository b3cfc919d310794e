package state

import "strconv"

// subject says in the audit trail what a command was about: what kind of thing and which, and a detail where the name
// alone says too little. A secret never stands there.
func subject(payload any) (what, detail string) {
	account := func(a AccountName) string { return "account " + string(a) }
	switch d := payload.(type) {
	case ClusterInitData:
		return "cluster " + d.UUID, ""
	case ClusterLevelData:
		return "cluster", "level " + strconv.Itoa(d.Level)
	case ClusterRecoverData:
		return "cluster " + d.UUID, d.How + " " + d.Source
	case ClusterResumeData:
		return "cluster", "incarnation " + strconv.FormatUint(d.Incarnation, 10)
	case InventoryData:
		return "inventory", inventorySubject(d)
	case ServerSeenData:
		return "server " + string(d.Server), string(d.Status)
	case RepositoryCreateData:
		return account(d.Account), "home " + string(d.Site)
	case RepositoryReadyData:
		return account(d.Account), "home " + string(d.Home.Site)
	case AssignData:
		return account(d.Account), "server " + string(d.Server) + " after " + d.Previous.String()
	case AssignmentStopData:
		return account(d.Account), d.Token.String()
	case AssignmentFencedData:
		return account(d.Account), d.Token.String() + " " + string(d.Method) + " by " + d.By
	case AssignmentReadyData:
		return account(d.Account), d.Token.String()
	case AssignmentAdoptData:
		return account(d.Account), "server " + string(d.Server) + " under " + d.Token.String()
	case TaskCreateData:
		return account(d.Task.Account), "task " + string(d.Task.ID) + " " + d.Task.Path
	case TaskFinishData:
		return "task " + string(d.Task), d.Error
	case TaskForgetData:
		return "task " + string(d.Task), ""
	case ReplicationRecordData:
		return account(d.Account), "from " + string(d.From) + " to " + string(d.To)
	case RunCreateData:
		return "run " + string(d.Run.ID), d.Run.Runbook
	case RunAccountsData:
		return "run " + string(d.Run), strconv.Itoa(len(d.Accounts)) + " accounts"
	case RunAccountEndData:
		return "run " + string(d.Run), "account " + string(d.Account) + " " + string(d.Status)
	case RunUpdateData:
		return "run " + string(d.Run), string(d.Status)
	case RunConfirmData:
		return "run " + string(d.Run), "plan " + d.PlanHash + downWords(d.Down)
	case RunCancelData:
		return "run " + string(d.Run), ""
	case TokenCreateData:
		return "token " + d.Token.Name, d.Token.Role
	case TokenRevokeData:
		return "token " + d.Name, ""
	case AuditNoteData:
		if d.Account != "" {
			return account(d.Account), d.Action + " " + d.Detail
		}
		return d.Subject, d.Action + " " + d.Detail
	case AuditExportedData:
		return "audit trail", "up to " + strconv.FormatUint(d.Through, 10)
	default:
		return identitySubject(payload)
	}
}

func protectionSubject(payload any) (what, detail string) {
	switch d := payload.(type) {
	case SnapshotsForgetData:
		detail := strconv.Itoa(len(d.Snapshots)) + " snapshots"
		if len(d.Snapshots) == 1 {
			detail = "snapshot " + d.Snapshots[0].Short()
		}
		return "account " + string(d.Account), "forget " + detail
	case MaintenanceRecordData:
		return "account " + string(d.Account), strconv.Itoa(len(d.Forgotten)) + " snapshots gone " + d.Error
	case VerificationRecordData:
		return "account " + string(d.Account), string(d.Kind) + " at " + string(d.Site) + " " + d.Error
	case RepositoryRenewData:
		return "account " + string(d.Account), renewal(d)
	case RepositoryRemoveData:
		return "account " + string(d.Account), "all of repository " + RepositoryName(d.Account, d.Number) + " is over"
	case RepositoryRemovedData:
		return "account " + string(d.Account), "repository " + RepositoryName(d.Account, d.Number) + " at " + string(d.Site) + " removed " + d.Error
	case RepositoryDropData:
		return "account " + string(d.Account), "password of removed repository " + RepositoryName(d.Account, d.Number) + " dropped"
	case PauseSetData:
		return string(d.Pause.Kind) + " " + d.Pause.Name, "paused " + d.Pause.Reason
	case PauseClearData:
		return string(d.Kind) + " " + d.Name, "no longer paused"
	default:
		return keysSubject(payload)
	}
}

func renewal(d RepositoryRenewData) string {
	detail := "a new repository after " + RepositoryName(d.Account, d.Number)
	if d.Server != "" {
		detail += ": server " + string(d.Server) + " was compromised"
	}
	return detail + " " + d.Reason
}

func identitySubject(payload any) (what, detail string) {
	switch d := payload.(type) {
	case MemberSetData:
		return "coordinator " + d.Member.Name, d.Member.Raft
	case MemberRemoveData:
		return "coordinator " + d.Name, ""
	case IssuerSetData:
		return "issuing authority", ""
	case EnrolmentCreateData:
		return d.Enrolment.Role + "/" + d.Enrolment.Holder, "enrolment " + d.Enrolment.Name
	case CertificateIssueData:
		return d.Certificate.Role + "/" + d.Certificate.Holder, "certificate " + d.Certificate.Serial
	case CertificateRevokeData:
		return d.Role + "/" + d.Holder, "certificate " + d.Serial + " " + d.Reason
	case KeyringSetData:
		return "key " + d.Key.ID, ""
	case KeyringRetireData:
		return "key " + d.ID, ""
	case SecretsResealData:
		return "secrets", strconv.Itoa(len(d.Items)) + " sealed anew"
	default:
		return protectionSubject(payload)
	}
}

func inventorySubject(d InventoryData) string {
	var s string
	add := func(n int, what, many, first string) {
		switch n {
		case 0:
		case 1:
			s += " " + what + " " + first
		default:
			s += " " + strconv.Itoa(n) + " " + many + " from " + first + " on"
		}
	}
	if d.Provider != nil {
		add(1, "provider", "", d.Provider.Name)
	}
	if len(d.Sites) > 0 {
		add(len(d.Sites), "site", "sites", string(d.Sites[0].Name))
	}
	if len(d.Servers) > 0 {
		add(len(d.Servers), "server", "servers", string(d.Servers[0].Name))
	}
	if len(d.Policies) > 0 {
		add(len(d.Policies), "policy", "policies", string(d.Policies[0].Name))
	}
	if len(d.Accounts) > 0 {
		add(len(d.Accounts), "account", "accounts", string(d.Accounts[0].Name))
	}
	if s != "" {
		s = s[1:]
	}
	return s
}

func downWords(down []ServerName) string {
	var s string
	for _, server := range down {
		s += " " + string(server) + " is down"
	}
	return s
}

func keysSubject(payload any) (what, detail string) {
	account := func(a AccountName) string { return "account " + string(a) }
	switch d := payload.(type) {
	case KeysMadeData:
		return account(d.Account), string(d.Purpose) + " key of " + d.Repository + " " + d.Error
	case KeysSeenData:
		return account(d.Account), "keys of " + d.Repository + " at " + string(d.Site) + " " + d.Error
	case KeysRotateData:
		return account(d.Account), "password to be changed"
	case KeysSwitchData:
		return account(d.Account), "password of " + d.Repository + " changed"
	case KeysRetireData:
		return account(d.Account), "old keys of " + d.Repository + " to be removed"
	case BreakGlassRecordData:
		detail := strconv.Itoa(d.Count) + " tried, " + strconv.Itoa(len(d.Failed)) + " failed"
		return "break-glass passwords at " + d.Store, detail + " " + d.Error
	default:
		return erasureSubject(payload)
	}
}

func erasureSubject(payload any) (what, detail string) {
	account := func(a AccountName) string { return "account " + string(a) }
	switch d := payload.(type) {
	case ErasureOrderData:
		return account(d.Account), "to be erased in " + d.Wait.String() + " " + d.Reason
	case ErasureCancelData:
		return account(d.Account), "not to be erased"
	case ErasureBeginData:
		return account(d.Account), "erased from the state"
	case ErasureSiteData:
		detail := strconv.FormatInt(d.Objects, 10) + " objects erased at " + string(d.Site)
		if !d.Empty.IsZero() {
			detail += ", none left"
		}
		return account(d.Account), detail + " " + d.Error
	default:
		return "", ""
	}
}
