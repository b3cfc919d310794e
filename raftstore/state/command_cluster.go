package state

import "time"

// Commands about the cluster itself, its people and its secrets: all of level 2.
const (
	// ClusterLevel allows the commands of a level, once every member can apply them. Refused for a lower level than the present one.
	ClusterLevel Name = "cluster.level"
	// ClusterRecover begins a new incarnation after a recovery, and holds the cluster: until ClusterResume nothing is
	// assigned, stopped, fenced or started. Refused for another UUID, and unless the incarnation is higher.
	ClusterRecover Name = "cluster.recover"
	// ClusterResume is a person's word that the recovered cluster may act. Refused when nothing is held, and for an
	// incarnation lower than the present one or than that of any assignment.
	ClusterResume Name = "cluster.resume"
	// AssignmentAdopt takes over what a server reports: an assignment that was made after what was recovered. Refused unless
	// the cluster is held and the token is higher than the one known.
	AssignmentAdopt Name = "assignment.adopt"
	// MemberSet records a coordinator's addresses and age recipient. MemberRemove is refused for one that is not known.
	MemberSet    Name = "member.set"
	MemberRemove Name = "member.remove"
	// AuditNote records what changes nothing: customer data that was read, a key that was exported, an attempt refused.
	AuditNote Name = "audit.note"
	// AuditExported: the trail up to an entry is in stores, so it may leave memory. Refused for another hash.
	AuditExported Name = "audit.exported"
	// IssuerSet is the authority that issues certificates, with its key sealed.
	IssuerSet Name = "issuer.set"
	// EnrolmentCreate lets one machine or person get a first certificate, once. Refused when the name is taken.
	EnrolmentCreate Name = "enrolment.create"
	// CertificateIssue records a certificate before it is handed out, and uses the enrolment up. Refused when that is used,
	// has expired, or is for another role or holder, and for a serial that is known.
	CertificateIssue Name = "certificate.issue"
	// CertificateRevoke makes one certificate, or every one of a holder issued until now, worthless.
	CertificateRevoke Name = "certificate.revoke"
	// KeyringSet adds a key and makes it the present one. Refused when the id is taken.
	KeyringSet Name = "keyring.set"
	// KeyringRetire forgets a key. Refused for the present one, and while anything is sealed to it.
	KeyringRetire Name = "keyring.retire"
	// SecretsReseal replaces sealed secrets by themselves, sealed to another key. One that has changed meanwhile is left alone.
	SecretsReseal Name = "secrets.reseal"
)

// Payloads of these commands.
type (
	ClusterLevelData struct {
		Level int `json:"level"`
	}
	ClusterRecoverData struct {
		UUID        string `json:"uuid"`
		Incarnation uint64 `json:"incarnation"`
		How         string `json:"how"`    // RecoveredQuorum or RecoveredExport
		Source      string `json:"source"` // for people: which directory, which export
	}
	ClusterResumeData struct {
		Incarnation uint64 `json:"incarnation"`
	}
	AssignmentAdoptData struct {
		Account AccountName `json:"account"`
		Server  ServerName  `json:"server"`
		Token   Token       `json:"token"`
	}
	MemberSetData struct {
		Member Member `json:"member"`
	}
	MemberRemoveData struct {
		Name string `json:"name"`
	}
	AuditNoteData struct {
		Action  string      `json:"action"` // read snapshots
		Account AccountName `json:"account,omitempty"`
		Subject string      `json:"subject,omitempty"` // what it was about when it was no account
		Detail  string      `json:"detail,omitempty"`
	}
	AuditExportedData struct {
		Through uint64     `json:"through"`
		Hash    Digest     `json:"hash"`
		Sites   []SiteName `json:"sites"`
	}
	IssuerSetData struct {
		Certificate []byte `json:"certificate"` // PEM
		SealedKey   []byte `json:"sealed_key"`
	}
	EnrolmentCreateData struct {
		Enrolment Enrolment `json:"enrolment"`
	}
	CertificateIssueData struct {
		Certificate Certificate `json:"certificate"`
		Enrolment   string      `json:"enrolment,omitempty"` // empty: a renewal
	}
	CertificateRevokeData struct {
		Role   string `json:"role"`
		Holder string `json:"holder"`
		Serial string `json:"serial,omitempty"` // empty: every certificate of the holder issued before now
		Reason string `json:"reason,omitempty"`
	}
	KeyringSetData struct {
		Key Key `json:"key"`
	}
	KeyringRetireData struct {
		ID string `json:"id"`
	}
	SecretsResealData struct {
		Items []ResealItem `json:"items"`
	}
	// ResealItem is one secret. Old is the SHA-256 of the sealed bytes that it replaces.
	ResealItem struct {
		Kind    SecretKind  `json:"kind"`
		Account AccountName `json:"account,omitempty"`
		Service string      `json:"service,omitempty"` // or cron job
		Old     Digest      `json:"old"`
		Sealed  []byte      `json:"sealed"`
	}
)

// SecretKind says where a sealed secret stands.
type SecretKind string

const (
	SecretRepository  SecretKind = "repository"  // Repository.SealedPassword of Account, or of the later one of this name: see Repository.Row
	SecretRotation    SecretKind = "rotation"    // Rotation.Sealed of the repository of this name
	SecretEnvironment SecretKind = "environment" // Program.SealedEnvironment of Account and Service
	SecretIssuer      SecretKind = "issuer"      // Issuer.SealedKey
)

// Member is a coordinator, as the others and clients know it. Whether it votes is raft's to know.
type Member struct {
	Name      string   `json:"name"`
	Site      SiteName `json:"site"`
	Raft      string   `json:"raft"`                // host:port
	API       string   `json:"api"`                 // URL
	Recipient string   `json:"recipient,omitempty"` // age1…
}

// Hold is why the cluster does nothing by itself.
type Hold struct {
	Since  time.Time `json:"since"`
	How    string    `json:"how"`
	Source string    `json:"source"`
}

// How a cluster was recovered.
const (
	RecoveredQuorum = "quorum" // from one survivor
	RecoveredExport = "export" // from a sealed export
)

// Issuer is the authority that issues certificates; the root that vouches for it is offline.
type Issuer struct {
	Certificate []byte    `json:"certificate"` // PEM
	SealedKey   []byte    `json:"sealed_key"`
	At          time.Time `json:"at"`
}

// Enrolment is the permission to get a first certificate, once.
type Enrolment struct {
	Name    string    `json:"name"`
	SHA256  []byte    `json:"sha256"` // of the token
	Role    string    `json:"role"`
	Holder  string    `json:"holder"` // the name that the certificate will bear
	Hosts   []string  `json:"hosts,omitempty"`
	Site    SiteName  `json:"site,omitempty"`
	By      string    `json:"by"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	UsedAt  time.Time `json:"used_at,omitzero"`
}

// Certificate is one that was issued. The certificate itself is its holder's.
type Certificate struct {
	Serial   string    `json:"serial"` // hexadecimal
	Role     string    `json:"role"`
	Holder   string    `json:"holder"`
	Issued   time.Time `json:"issued"`
	NotAfter time.Time `json:"not_after"`
}

// Revocation makes certificates worthless: the one with Serial, or where that is empty those of the holder that were
// issued before Before.
type Revocation struct {
	Role   string    `json:"role"`
	Holder string    `json:"holder"`
	Serial string    `json:"serial,omitempty"`
	Before time.Time `json:"before"`
	By     string    `json:"by"`
	Reason string    `json:"reason,omitempty"`
}

// Key is one key of the keyring. Secrets are sealed to Recipient; its identity is sealed to the coordinators and to the
// operators' offline recipients.
type Key struct {
	ID         string    `json:"id"`
	Recipient  string    `json:"recipient"`         // age1…
	Sealed     []byte    `json:"sealed"`            // the identity, sealed to Recipients
	Recipients []string  `json:"recipients"`        // age1…, all of them
	Offline    []string  `json:"offline,omitempty"` // those of Recipients that are no coordinator's but the operators' offline ones
	Created    time.Time `json:"created"`
}
