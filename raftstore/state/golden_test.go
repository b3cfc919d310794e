package state

import (
	"encoding/json"
	"flag"
	"maps"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The log is forever: a command that was written today has to be read in ten years. So lines of the golden file are
// only ever added (with -add); one that differs is a broken log.
var addGolden = flag.Bool("add", false, "add commands that testdata/commands.golden does not have yet")

const goldenFile = "testdata/commands.golden"

// examples has one payload of each command, with every field set.
func examples() map[Name]any {
	token := Token{Incarnation: 1, Generation: 2}
	at := time.Date(2026, 3, 1, 3, 4, 5, 678, time.UTC)
	id := snapshotID("a")
	restore := &RestorePoint{Snapshot: id, Site: "par2"}
	steps := []RunStep{{
		ID: "fence", Type: "fence", Status: StepRunning, Started: at, Finished: at, Message: "m",
		Items: []RunItem{{Account: "guestbook", Status: StepDone, At: at, Message: "m", Server: "par2-s1", RPO: time.Second, RTO: time.Minute, Erased: true}},
	}}
	plan := Resources{Memory: 1, Processes: 2, CPU: 0.5, Disk: 3}
	return map[Name]any{
		ClusterInit: ClusterInitData{UUID: "7d1f", Incarnation: 1, Level: 2},
		InventoryApply: InventoryData{
			Provider: &Provider{Name: "example", AS: 64512, Prefixes: []netip.Prefix{netip.MustParsePrefix("2001:db8:a::/48")}},
			Sites: []Site{{
				Name: "par1", Witness: true, Gateways: []string{"https://[2001:db8::1]:7460"},
				Store: &Store{Endpoint: "http://[2001:db8::2]:7480", Bucket: "drp-par1", Region: "r"}, Backups: 64,
			}},
			Servers: []Server{{Name: "par1-s1", Site: "par1", Rack: "r1", Power: "a", Capacity: plan, Backups: 2}},
			Policies: []Policy{{
				Name: "hourly", Schedule: "@every 1h", TimeZone: "Europe/Paris", Replicas: []SiteName{"par2"},
				Retention: 24 * time.Hour, RPO: time.Hour,
				Keep: &Keep{Daily: 1, Weekly: 2, Monthly: 3}, CheckWithin: time.Hour, ReadWithin: time.Hour, ProveWithin: time.Hour,
			}},
			Accounts: []Account{{
				Name: "guestbook", Plan: plan, Tier: Gold, Policy: "hourly", Site: "par1",
				Addresses: []netip.Addr{netip.MustParseAddr("2001:db8:a::100")},
				Services: []Service{{
					Program: Program{Name: "web", Command: []string{"php", "-S"}, User: 1000, Environment: map[string]string{"b": "2", "a": "1"},
						SealedEnvironment: []byte("sealed"), Variables: []string{"a", "b"}},
					Check: &Check{HTTP: "http://[::1]:80/health", Every: 5 * time.Second},
				}},
				Databases: []Database{{Engine: PostgreSQL, Name: "guestbook"}}, Mailboxes: []Mailbox{{Domain: "example.org", Name: "info"}},
				CronJobs: []CronJob{{
					Program: Program{Name: "clean", Command: []string{"php", "clean.php"}, User: 1000, Environment: map[string]string{"a": "1"},
						SealedEnvironment: []byte("sealed"), Variables: []string{"a"}},
					Schedule: "0 3 * * *", TimeZone: "Europe/Paris", Timeout: time.Hour,
				}},
			}},
		},
		ServerSeen:       ServerSeenData{Server: "par1-s1", Status: Down, LastContact: at},
		RepositoryCreate: RepositoryCreateData{Account: "guestbook", Site: "par1", SealedPassword: []byte("sealed")},
		RepositoryReady:  RepositoryReadyData{Account: "guestbook", Home: Home{Site: "par1", Epoch: 1}},
		Assign:           AssignData{Account: "guestbook", Server: "par2-s1", Previous: token, Restore: restore, Run: "run1"},
		AssignmentStop:   AssignmentStopData{Account: "guestbook", Token: token},
		AssignmentFenced: AssignmentFencedData{Account: "guestbook", Token: token, Method: ConfirmedDown, By: "ada"},
		AssignmentReady:  AssignmentReadyData{Account: "guestbook", Token: token},
		TaskCreate: TaskCreateData{Task: Task{
			ID: "t1", Kind: TaskRestoreFiles, Account: "guestbook", Server: "par1-s1", Token: token, Run: "run1", Created: at, Due: at,
			Restore: restore, Path: "www", Target: "restored", Status: TaskPending, Finished: at, Error: "e", Detail: "d",
		}},
		TaskFinish: TaskFinishData{Task: "t1", Error: "e", Detail: "d", Snapshot: &Snapshot{
			ID: id, Account: "guestbook", Start: at, Finished: at, Server: "par1-s1", Token: token, View: "btrfs", Files: 1, Bytes: 2, Copied: 3,
			Sites: []Copy{{Site: "par1", CopiedAt: at}}, ForgetAt: at, Parts: []Part{{Name: "postgresql/guestbook", Error: "e"}}, Repository: 2,
		}},
		TaskForget: TaskForgetData{Task: "t1"},
		ReplicationRecord: ReplicationRecordData{
			Account: "guestbook", From: "par1", To: "par2", Snapshots: []SnapshotID{id}, Objects: 1, Bytes: 2, Error: "e",
		},
		RunCreate: RunCreateData{Run: Run{
			ID: "run1", Runbook: "site-loss", Source: "steps: []", Parameters: map[string]string{"site": "par1"}, By: "operator/ada",
			Created: at, Status: RunWaiting, Step: 1, Steps: steps, PlanHash: "h1",
			ConfirmedBy: "ada", ConfirmedAt: at, Down: []DownWord{{Server: "par1-s1", By: "ada", At: at}}, Error: "e", Finished: at,
		}},
		RunUpdate: RunUpdateData{
			Run: "run1", ExpectStep: 1, ExpectStatus: StepRunning, Status: RunRunning, Step: 2, Steps: steps, Error: "e",
		},
		RunAccounts: RunAccountsData{Run: "run1", Accounts: []RunAccount{{
			Run: "run1", Account: "guestbook", Order: 1, From: "par1-s1", Token: token, To: "par2-s1", Restore: *restore,
			Start: at, LastContact: at, Status: StepPending, At: at, Message: "m", RPO: time.Second, RTO: time.Minute,
		}}},
		RunAccountEnd: RunAccountEndData{
			Run: "run1", Account: "guestbook", Status: StepDone, At: at, Message: "m", RPO: time.Second, RTO: time.Minute,
		},
		RunConfirm: RunConfirmData{Run: "run1", PlanHash: "h1", By: "ada", Down: []ServerName{"par1-s1"}},
		RunCancel:  RunCancelData{Run: "run1", By: "ada"},
		TokenCreate: TokenCreateData{Token: APIToken{
			Name: "ci", SHA256: []byte{1, 2, 3}, Role: "support", Created: at, Expires: at,
		}},
		TokenRevoke: TokenRevokeData{Name: "ci"},

		ClusterLevel:    ClusterLevelData{Level: 2},
		ClusterRecover:  ClusterRecoverData{UUID: "7d1f", Incarnation: 2, How: RecoveredExport, Source: "s3"},
		ClusterResume:   ClusterResumeData{Incarnation: 2},
		AssignmentAdopt: AssignmentAdoptData{Account: "guestbook", Server: "par2-s1", Token: token},
		MemberSet: MemberSetData{Member: Member{
			Name: "par1-c1", Site: "par1", Raft: "[2001:db8::1]:7400", API: "https://[2001:db8::1]:7443", Recipient: "age1x",
		}},
		MemberRemove:  MemberRemoveData{Name: "par1-c1"},
		AuditNote:     AuditNoteData{Action: "read snapshots", Account: "guestbook", Subject: "s", Detail: "d"},
		AuditExported: AuditExportedData{Through: 7, Hash: Sum([]byte("x")), Sites: []SiteName{"par1"}},
		IssuerSet:     IssuerSetData{Certificate: []byte("pem"), SealedKey: []byte("sealed")},
		EnrolmentCreate: EnrolmentCreateData{Enrolment: Enrolment{
			Name: "e1", SHA256: []byte{1, 2, 3}, Role: "agent", Holder: "par1-s1", Hosts: []string{"h"}, Site: "par1", By: "operator/ada",
			Created: at, Expires: at, UsedAt: at,
		}},
		CertificateIssue: CertificateIssueData{
			Certificate: Certificate{Serial: "0a", Role: "agent", Holder: "par1-s1", Issued: at, NotAfter: at}, Enrolment: "e1",
		},
		CertificateRevoke: CertificateRevokeData{Role: "agent", Holder: "par1-s1", Serial: "0a", Reason: "stolen"},
		KeyringSet: KeyringSetData{Key: Key{
			ID: "k1", Recipient: "age1x", Sealed: []byte("sealed"), Recipients: []string{"age1y"}, Offline: []string{"age1y"}, Created: at,
		}},
		KeyringRetire: KeyringRetireData{ID: "k1"},
		SecretsReseal: SecretsResealData{Items: []ResealItem{{
			Kind: SecretEnvironment, Account: "guestbook", Service: "web", Old: Sum([]byte("x")), Sealed: []byte("sealed"),
		}}},

		SnapshotsForget: SnapshotsForgetData{Account: "guestbook", Home: Home{Site: "par1", Epoch: 1}, Snapshots: []SnapshotID{id}},
		MaintenanceRecord: MaintenanceRecordData{
			Account: "guestbook", Home: Home{Site: "par1", Epoch: 1}, Forgotten: []SnapshotID{id}, Objects: 1, Bytes: 2, Unknown: []SnapshotID{id}, Error: "e",
		},
		VerificationRecord: VerificationRecordData{Account: "guestbook", Site: "par2", Kind: Proven, Snapshot: id, Part: 1, Parts: 30, Error: "e", BeganAgo: time.Hour},
		PauseSet:           PauseSetData{Pause: Pause{Kind: PauseServer, Name: "par1-s1", Reason: "r", By: "operator/ada", Since: at}},
		PauseClear:         PauseClearData{Kind: PauseServer, Name: "par1-s1"},

		RepositoryRenew: RepositoryRenewData{
			Account: "guestbook", Number: 2, SealedPassword: []byte("sealed"), Server: "par1-s1", Reason: "stolen",
		},
		RepositoryRemove:  RepositoryRemoveData{Account: "guestbook", Number: 2},
		RepositoryDrop:    RepositoryDropData{Account: "guestbook", Number: 2},
		RepositoryRemoved: RepositoryRemovedData{Account: "guestbook", Number: 2, Site: "par1", Objects: 1, Bytes: 2, Error: "e"},
		KeysMade: KeysMadeData{
			Account: "guestbook", Repository: "guestbook~2", Home: Home{Site: "par1", Epoch: 1}, Purpose: KeyBreakGlass, Key: string(id), Old: []string{string(id)},
			Asked: []string{"age1y"}, Sealed: []string{"age1y"}, File: Sum([]byte("x")), Error: "e",
		},
		KeysSeen:      KeysSeenData{Account: "guestbook", Repository: "guestbook", Site: "par2", Version: 3, Missing: []string{string(id)}, Error: "e"},
		KeysRotate:    KeysRotateData{Account: "guestbook", Sealed: []byte("sealed")},
		KeysSwitch:    KeysSwitchData{Account: "guestbook", Repository: "guestbook", Version: 3},
		KeysRetire:    KeysRetireData{Account: "guestbook", Repository: "guestbook"},
		ErasureOrder:  ErasureOrderData{Account: "guestbook", Wait: 72 * time.Hour, Reason: "left"},
		ErasureCancel: ErasureCancelData{Account: "guestbook"},
		ErasureBegin:  ErasureBeginData{Account: "guestbook"},
		ErasureSite: ErasureSiteData{
			Account: "guestbook", Site: "par1", Until: at, Repositories: []string{"guestbook~2"}, Objects: 1, Bytes: 2, Empty: at, Error: "e",
		},
		BreakGlassRecord: BreakGlassRecordData{
			Store: "s3", Tested: []string{"guestbook"}, Count: 20, Failed: []string{"guestbook"}, Error: "e",
		},
	}
}

func TestCommand_Golden(t *testing.T) {
	data, err := os.ReadFile(goldenFile)
	if err != nil && !*addGolden {
		t.Fatal(err)
	}
	golden := map[Name][]string{} // a command that got a field has another line
	for line := range strings.Lines(string(data)) {
		var c Command
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			t.Fatalf("read %q: %v", line, err)
		}
		golden[c.Name] = append(golden[c.Name], strings.TrimSuffix(line, "\n"))
		if err := c.Validate(); err != nil {
			t.Errorf("a command of the log is not understood any more: %v", err)
		}
	}
	examples := examples()
	for _, name := range slices.Sorted(maps.Keys(handlers)) {
		payload, ok := examples[name]
		if !ok {
			t.Errorf("command %s has no example", name)
			continue
		}
		for path, zero := range zeroFields(string(name), reflect.ValueOf(payload)) {
			if zero {
				t.Errorf("%s is not set in the example", path)
			}
		}
		encoded, err := json.Marshal(NewCommand(name, "c1", epoch, "operator/ada", payload))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(golden[name], string(encoded)) && *addGolden {
			golden[name] = append(golden[name], string(encoded))
			data = append(append(data, encoded...), '\n')
		}
		if !slices.Contains(golden[name], string(encoded)) {
			t.Errorf("command %s is none of the golden lines:\n%s\n%s", name, strings.Join(golden[name], "\n"), encoded)
		}
		back := reflect.New(reflect.TypeOf(payload))
		var c Command
		if err := json.Unmarshal(encoded, &c); err != nil {
			t.Fatal(err)
		}
		if err := decodeStrict(c.Data, back.Interface()); err != nil {
			t.Errorf("decode %s: %v", name, err)
		}
		if diff := cmp.Diff(payload, back.Elem().Interface(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
			cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
			t.Errorf("round trip of %s (-want +got):\n%s", name, diff)
		}
	}
	if *addGolden {
		if err := os.WriteFile(goldenFile, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// zeroFields finds the fields of a payload that its example left out.
func zeroFields(path string, v reflect.Value) map[string]bool {
	found := map[string]bool{}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			found[path] = true
			return found
		}
		return zeroFields(path, v.Elem())
	case reflect.Slice:
		if v.Len() == 0 {
			found[path] = true
			return found
		}
		return zeroFields(path, v.Index(0))
	case reflect.Struct:
		if v.Type().PkgPath() != reflect.TypeOf(Token{}).PkgPath() {
			break // time.Time, netip.Addr
		}
		for i := range v.NumField() {
			for k, zero := range zeroFields(path+"."+v.Type().Field(i).Name, v.Field(i)) {
				found[k] = zero
			}
		}
		return found
	}
	found[path] = v.IsZero()
	return found
}
