package state

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// anyCommand draws a command over few names, so that commands meet one another. It looks at the state to ask for
// what is possible most of the time. It is one of those named, or any.
func anyCommand(t *rapid.T, v *View, index uint64, of ...Name) Command {
	account := rapid.SampledFrom([]AccountName{"guestbook", "guestbook", "guestbook", "static", "static", "nobody"}).Draw(t, "account")
	server := rapid.SampledFrom([]ServerName{"par1-s1", "par1-s2", "par2-s1", "par9"}).Draw(t, "server")
	site := rapid.SampledFrom([]SiteName{"par1", "par2", "par3"}).Draw(t, "site")
	snapshot := snapshotID(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "snapshot"))
	task := TaskID("t" + strconv.Itoa(rapid.IntRange(1, 4).Draw(t, "task")))
	if tasks := v.Tasks(); len(tasks) > 0 && rapid.Bool().Draw(t, "a task that is there") {
		task = tasks[len(tasks)-1].ID
	}
	run := RunID("r" + strconv.Itoa(rapid.IntRange(1, 2).Draw(t, "run")))
	likely := func(label string) bool { return rapid.IntRange(0, 9).Draw(t, label) < 9 }

	var token Token
	if a := v.Assignment(account); a != nil {
		token = a.Token
	}
	if !likely("present token") {
		token = Token{Incarnation: 1, Generation: rapid.Uint64Range(0, 4).Draw(t, "generation")}
	}
	failure := ""
	if !likely("works") {
		failure = "failed"
	}
	restore := &RestorePoint{Snapshot: snapshot, Site: site}
	if rapid.Bool().Draw(t, "new home") {
		restore = nil
	}
	later := rapid.SampledFrom([]int{0, 0, 2, 3}).Draw(t, "repository")
	row := AccountName(RepositoryName(account, later)) // of a pass, or of a look at a copy
	payloads := map[Name]func() any{
		ClusterInit:    func() any { return ClusterInitData{UUID: "7d1f", Incarnation: 1, Level: 2} },
		InventoryApply: func() any { return anyInventory(t) },
		ClusterLevel:   func() any { return ClusterLevelData{Level: rapid.IntRange(2, Level).Draw(t, "level")} },
		ServerSeen: func() any {
			return ServerSeenData{Server: server, Status: rapid.SampledFrom([]Status{Up, Unknown, Down}).Draw(t, "status"), LastContact: epoch}
		},
		RepositoryCreate: func() any { return RepositoryCreateData{Account: account, Site: site, SealedPassword: []byte("s")} },
		RepositoryReady: func() any {
			if r := v.Repository(account); r != nil && likely("present home") {
				return RepositoryReadyData{Account: account, Home: r.Home}
			}
			return RepositoryReadyData{Account: account, Home: Home{Site: site, Epoch: rapid.Uint64Range(1, 3).Draw(t, "epoch")}}
		},
		Assign: func() any {
			d := AssignData{Account: account, Server: server, Previous: token, Restore: restore}
			if list := v.Snapshots(account); len(list) > 0 && !token.IsZero() && likely("a snapshot that is there") {
				d.Restore = &RestorePoint{Snapshot: list[0].ID, Site: list[0].Sites[0].Site}
			}
			return d
		},
		AssignmentStop: func() any { return AssignmentStopData{Account: account, Token: token} },
		AssignmentFenced: func() any {
			method := rapid.SampledFrom([]FenceMethod{AgentStopped, ConfirmedDown}).Draw(t, "method")
			return AssignmentFencedData{Account: account, Token: token, Method: method, By: "ada"}
		},
		AssignmentReady: func() any { return AssignmentReadyData{Account: account, Token: token} },
		TaskCreate: func() any {
			created := Task{ID: task, Kind: TaskBackup, Account: account, Token: token, Due: epoch}
			if restore != nil {
				created.Kind, created.Restore, created.Path, created.Target = TaskRestoreFiles, restore, "www", "x"
			}
			return TaskCreateData{Task: created}
		},
		TaskFinish: func() any {
			return TaskFinishData{Task: task, Error: failure, Snapshot: &Snapshot{ID: snapshot, Start: epoch}}
		},
		TaskForget: func() any { return TaskForgetData{Task: task} },
		ReplicationRecord: func() any {
			return ReplicationRecordData{Account: row, From: "par1", To: site, Snapshots: []SnapshotID{snapshot}, Error: failure}
		},
		SnapshotsForget: func() any {
			d := SnapshotsForgetData{Account: account, Home: Home{Site: "par1", Epoch: 1}, Snapshots: []SnapshotID{snapshot}}
			if r := v.Repository(account); r != nil {
				d.Home = r.Home
			}
			return d
		},
		MaintenanceRecord: func() any {
			return MaintenanceRecordData{Account: account, Home: Home{Site: "par1", Epoch: 1}, Forgotten: []SnapshotID{snapshot}, Error: failure}
		},
		VerificationRecord: func() any {
			return VerificationRecordData{Account: row, Site: site, Kind: rapid.SampledFrom([]VerificationKind{Scrubbed, Checked, Proven}).Draw(t, "kind"),
				Snapshot: snapshot, Part: rapid.IntRange(0, 2).Draw(t, "part"), Parts: 2, Error: failure,
				BeganAgo: time.Duration(rapid.IntRange(-1, 100).Draw(t, "began ago")) * 24 * time.Hour}
		},
		RepositoryRenew: func() any {
			d := RepositoryRenewData{Account: account, SealedPassword: []byte{byte(index)}, Server: server}
			if r := v.Repository(account); r != nil {
				d.Number = r.Number
			}
			return d
		},
		RepositoryRemove: func() any {
			d := RepositoryRemoveData{Account: account, Number: later}
			if list := v.RetiredOf(account); len(list) > 0 {
				d.Number = list[len(list)-1].Repository.Number
			}
			return d
		},
		RepositoryRemoved: func() any {
			d := RepositoryRemovedData{Account: account, Number: later, Site: site, Error: failure}
			if list := v.RetiredOf(account); len(list) > 0 {
				d.Number = list[len(list)-1].Repository.Number
			}
			return d
		},
		RepositoryDrop: func() any { return RepositoryDropData{Account: account, Number: later} },
		ErasureOrder: func() any {
			return ErasureOrderData{Account: account, Wait: rapid.SampledFrom([]time.Duration{0, time.Second, time.Hour}).Draw(t, "wait")}
		},
		ErasureCancel: func() any { return ErasureCancelData{Account: account} },
		ErasureBegin:  func() any { return ErasureBeginData{Account: account} },
		ErasureSite: func() any {
			return ErasureSiteData{Account: account, Site: site, Until: epoch, Repositories: []string{string(row)}, Objects: 1, Empty: epoch, Error: failure}
		},
		PauseSet:   func() any { return PauseSetData{Pause: Pause{Kind: PauseServer, Name: string(server)}} },
		PauseClear: func() any { return PauseClearData{Kind: PauseServer, Name: string(server)} },
		RunCreate: func() any {
			r := newRun(run)
			r.Status = rapid.SampledFrom([]RunStatus{RunPreparing, RunWaiting}).Draw(t, "first status")
			return RunCreateData{Run: r}
		},
		RunUpdate: func() any {
			step := rapid.IntRange(0, 1).Draw(t, "step")
			return RunUpdateData{
				Run: run, ExpectStatus: StepRunning, Status: rapid.SampledFrom([]RunStatus{RunRunning, RunWaiting, RunFailed}).Draw(t, "run status"),
				Step: step, Steps: []RunStep{{ID: "confirm", Status: StepRunning}, {ID: "fence", Status: StepRunning}},
			}
		},
		RunAccounts: func() any {
			return RunAccountsData{Run: run, Accounts: []RunAccount{{Account: account, From: "par1-s1", To: server, Token: token}}}
		},
		RunAccountEnd: func() any {
			return RunAccountEndData{Run: run, Account: account, Status: rapid.SampledFrom([]StepStatus{StepDone, StepFailed}).Draw(t, "end")}
		},
		RunConfirm: func() any { return RunConfirmData{Run: run, PlanHash: "h1", By: "ada", Down: []ServerName{server}} },
		RunCancel:  func() any { return RunCancelData{Run: run, By: "ada"} },
		TokenCreate: func() any {
			return TokenCreateData{Token: APIToken{Name: string(run), SHA256: make([]byte, 32), Role: "support", Expires: epoch.Add(24 * time.Hour)}}
		},
		TokenRevoke: func() any { return TokenRevokeData{Name: string(run)} },
		AuditNote:   func() any { return AuditNoteData{Action: "read snapshots", Account: account} },
		CertificateRevoke: func() any {
			return CertificateRevokeData{Role: "agent", Holder: string(server), Serial: rapid.SampledFrom([]string{"", "0a"}).Draw(t, "serial")}
		},
		KeyringSet: func() any {
			return KeyringSetData{Key: Key{ID: string(run), Recipient: "age1x", Sealed: []byte("s"), Recipients: []string{"age1y"}}}
		},
		SecretsReseal: func() any {
			item := ResealItem{Kind: SecretRepository, Account: row, Sealed: SealedWith(string(run), []byte("s"))}
			if r := v.RepositoryNamed(string(row)); r != nil {
				item.Old = Sum(r.SealedPassword)
			}
			return SecretsResealData{Items: []ResealItem{item}}
		},
	}
	var names []Name
	for name := range payloads {
		names = append(names, name)
	}
	// the life of an assignment is what matters most
	names = append(names, Assign, Assign, Assign, AssignmentStop, AssignmentFenced)
	for range 3 {
		names = append(names, TaskCreate, TaskFinish, ReplicationRecord)
	}
	slices.Sort(names)
	// Rapid draws small numbers more often; of commands each is to come as often as it is listed.
	dice := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "name"), index))
	if len(of) > 0 {
		names = of
	}
	name := names[dice.IntN(len(names))]
	id := "c" + strconv.FormatUint(index, 10)
	if !likely("new id") {
		id = "c" + strconv.FormatUint(rapid.Uint64Range(1, index).Draw(t, "old id"), 10)
	}
	return NewCommand(name, id, epoch.Add(time.Duration(index)*time.Second), "operator/ada", payloads[name]())
}

func anyInventory(t *rapid.T) InventoryData {
	d := inventory()
	d.Policies[0].Schedule = rapid.SampledFrom([]string{"@hourly", "@daily"}).Draw(t, "schedule")
	if rapid.Bool().Draw(t, "accounts alone") {
		d = InventoryData{Accounts: d.Accounts[:rapid.IntRange(0, 2).Draw(t, "accounts")]}
	}
	if len(d.Servers) > 0 && rapid.Bool().Draw(t, "move a server") {
		d.Servers[1].Site = "par2"
	}
	return d
}

// firstCommands make a platform, so that few steps are wasted.
func firstCommands() []Command {
	return []Command{
		NewCommand(ClusterInit, "init", epoch, "operator/ada", ClusterInitData{UUID: "7d1f", Incarnation: 1, Level: 2}),
		NewCommand(InventoryApply, "inventory", epoch, "operator/ada", inventory()),
	}
}

// The same log gives the same state, whether a node applied all of it or began from a snapshot in the middle. What a
// view shows never changes.
func TestProperty_SameLogSameState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		one, two, three := New(), New(), New()
		commands := firstCommands()
		length := rapid.IntRange(1, 80).Draw(t, "length")
		middle := rapid.IntRange(1, length).Draw(t, "restored at")
		type shown struct {
			view  *View
			bytes []byte
		}
		var old []shown
		for i := 0; i < length; i++ {
			index := uint64(i + 1)
			if i >= len(commands) {
				commands = append(commands, anyCommand(t, one.View(), index))
			}
			if i%10 == 0 {
				old = append(old, shown{three.View(), viewBytes(t, three.View())})
			}
			if i == middle {
				var err error
				if two, err = Restore(bytes.NewReader(viewBytes(t, two.View()))); err != nil {
					t.Fatal(err)
				}
			}
			first := applyTo(t, one, index, commands[i])
			for _, other := range []*State{two, three} {
				if got := applyTo(t, other, index, commands[i]); got != first {
					t.Fatalf("%s: got answer %s, want %s", commands[i].Name, got, first)
				}
			}
		}
		want := viewBytes(t, one.View())
		if got := viewBytes(t, two.View()); !bytes.Equal(got, want) {
			t.Errorf("restored in the middle:\n%s\nwant\n%s", got, want)
		}
		if got := viewBytes(t, three.View()); !bytes.Equal(got, want) {
			t.Errorf("applied twice:\n%s\nwant\n%s", got, want)
		}
		for _, o := range old {
			if !bytes.Equal(viewBytes(t, o.view), o.bytes) {
				t.Error("an old view changed: a row was changed in place")
			}
		}
	})
}

// No account gets a token before the one before it is fenced; generations grow by one; a proof never goes away.
func TestProperty_FencedBeforeNext(t *testing.T) {
	assigned := 0
	rapid.Check(t, func(t *rapid.T) {
		s := New()
		commands := firstCommands()
		for i := 0; i < 80; i++ {
			index := uint64(i + 1)
			if i >= len(commands) {
				var of []Name // all, or by turns those without which no account is assigned twice
				if i%2 == 0 {
					of = []Name{Assign, AssignmentStop, AssignmentFenced, TaskCreate, TaskFinish}
				}
				commands = append(commands, anyCommand(t, s.View(), index, of...))
			}
			before := s.View()
			applyTo(t, s, index, commands[i])
			after := s.View()
			for _, a := range after.Assignments() {
				old := before.Assignment(a.Account)
				switch {
				case old == nil && a.Token.Generation != 1:
					t.Fatalf("first token of %s is %s", a.Account, a.Token)
				case old == nil:
				case a.Token == old.Token:
					if old.Fenced != nil && a.Fenced == nil || old.Stop && !a.Stop || a.Server != old.Server {
						t.Fatalf("%s: assignment %+v became %+v", commands[i].Name, old, a)
					}
				case old.Fenced == nil:
					t.Fatalf("%s was assigned under %s while %s was not fenced", a.Account, a.Token, old.Token)
				case a.Token.Generation != old.Token.Generation+1:
					t.Fatalf("%s went from token %s to %s", a.Account, old.Token, a.Token)
				default:
					assigned++
				}
				if a.Fenced != nil && a.Fenced.Method == AgentStopped && !a.Stop {
					t.Fatalf("%s: an agent stopped without an order", a.Account)
				}
			}
			for _, old := range before.Assignments() {
				if after.Assignment(old.Account) == nil && commands[i].Name != ErasureBegin {
					t.Fatalf("the assignment of %s is gone", old.Account)
				}
			}
			for _, task := range after.Tasks() {
				if a := after.Assignment(task.Account); task.Status == TaskPending && a.Token != task.Token {
					t.Fatalf("task %s of token %s is pending under token %s", task.ID, task.Token, a.Token)
				}
			}
			for _, r := range after.Repositories() {
				if old := before.Repository(r.Account); old != nil && old.Home != r.Home && r.Home.Epoch != old.Home.Epoch+1 {
					t.Fatalf("home of %s went from %+v to %+v", r.Account, old.Home, r.Home)
				}
			}
		}
	})
	if assigned == 0 {
		t.Error("no account was ever assigned a second time: the commands drawn try nothing")
	}
}

// removals try to remove a repository in which nothing was ever stored, and all others that are retired.
func removals(v *View) []Command {
	last := RepositoryRenewData{Account: "guestbook", SealedPassword: []byte("last")}
	if r := v.Repository("guestbook"); r != nil {
		last.Number = r.Number
	}
	again := RepositoryRenewData{Account: "guestbook", Number: max(last.Number, 1) + 1, SealedPassword: []byte("and again")}
	var all []Command
	add := func(name Name, payload any) {
		all = append(all, NewCommand(name, "end"+strconv.Itoa(len(all)), epoch.Add(time.Hour), "operator/ada", payload))
	}
	add(RepositoryRenew, last)
	add(RepositoryRenew, again)
	numbers := []int{last.Number, again.Number}
	for _, r := range v.RetiredOf("guestbook") {
		numbers = append(numbers, r.Repository.Number)
	}
	for _, number := range numbers {
		add(RepositoryRemove, RepositoryRemoveData{Account: "guestbook", Number: number})
		for _, site := range []SiteName{"par1", "par2"} {
			add(RepositoryRemoved, RepositoryRemovedData{Account: "guestbook", Number: number, Site: site})
		}
	}
	return all
}

// applyTo gives the answer in a form that compares.
func applyTo(t *rapid.T, s *State, index uint64, c Command) string {
	r, err := s.Apply(index, c)
	if err != nil {
		t.Fatalf("apply %s: %v", c.Name, err)
	}
	encoded, err := r.MarshalJSON()
	if err != nil {
		t.Fatalf("encode answer of %s: %v", c.Name, err)
	}
	return string(encoded)
}

func viewBytes(t *rapid.T, v *View) []byte {
	var b bytes.Buffer
	if err := v.Persist(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A snapshot lies in one repository for as long as it is known, and that one is there to open it. A retired repository gets no
// snapshot any more and loses none before it is removed as a whole; its password is exchanged for no other, but sealed anew.
func TestProperty_RetiredIsKept(t *testing.T) {
	renewed, removed := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		s := New()
		commands := firstCommands()
		commands = append(commands, NewCommand(ClusterLevel, "level", epoch, "operator/ada", ClusterLevelData{Level: Level}),
			NewCommand(RepositoryCreate, "repository", epoch, "operator/ada", RepositoryCreateData{Account: "guestbook", Site: "par1", SealedPassword: []byte("first")}),
			NewCommand(Assign, "assign", epoch, "operator/ada", AssignData{Account: "guestbook", Server: "par1-s1"}))
		const drawn = 80
		for i := 0; i < drawn || i < len(commands); i++ {
			index := uint64(i + 1)
			if i >= len(commands) {
				commands = append(commands, anyCommand(t, s.View(), index))
			}
			if i == drawn-1 { // at the end whatever can be removed is, so that something always is
				commands = append(commands, removals(s.View())...)
			}
			before := s.View()
			applyTo(t, s, index, commands[i])
			after := s.View()
			for _, account := range after.Accounts() {
				for _, shot := range after.Snapshots(account.Name) {
					old := before.Snapshot(account.Name, shot.ID)
					switch repo := after.RepositoryOf(shot); {
					case repo == nil && after.Repository(account.Name) != nil:
						t.Fatalf("%s: snapshot %s is in repository %d, which is not there", commands[i].Name, shot.ID.Short(), shot.Repository)
					case old != nil && old.Repository != shot.Repository:
						t.Fatalf("%s: snapshot %s went from repository %d to %d", commands[i].Name, shot.ID.Short(), old.Repository, shot.Repository)
					case old == nil && repo != nil && after.IsRetired(repo):
						t.Fatalf("%s: snapshot %s came into retired repository %s", commands[i].Name, shot.ID.Short(), repo.Name())
					}
				}
			}
			for _, old := range before.Retired() {
				repo := &old.Repository
				kept := after.RepositoryNamed(repo.Name())
				if kept == nil {
					removed++
					if (old.Removing.IsZero() || commands[i].Name != RepositoryRemoved) && commands[i].Name != ErasureBegin {
						t.Fatalf("%s: repository %s is gone", commands[i].Name, repo.Name())
					}
					if commands[i].Name == ErasureBegin {
						continue
					}
					if !slices.ContainsFunc(after.RemovedOf(repo.Account), func(r *Retired) bool {
						return r.Repository.Number == repo.Number && string(r.Repository.SealedPassword) == string(repo.SealedPassword)
					}) {
						t.Fatalf("%s: the password of removed repository %s is gone", commands[i].Name, repo.Name())
					}
					continue
				}
				if !after.IsRetired(kept) || string(kept.SealedPassword) != string(repo.SealedPassword) && commands[i].Name != SecretsReseal {
					t.Fatalf("%s: retired repository %+v became %+v", commands[i].Name, repo, kept)
				}
				for _, shot := range before.SnapshotsIn(repo) {
					now := after.Snapshot(repo.Account, shot.ID) // of one that is erased, the repository is gone as well
					if now == nil || now.ForgetAt != shot.ForgetAt && commands[i].Name != RepositoryRemove {
						t.Fatalf("%s: snapshot %s of retired repository %s was %+v and is %+v", commands[i].Name, shot.ID.Short(), repo.Name(), shot, now)
					}
				}
			}
			if commands[i].Name == RepositoryRenew && len(after.Retired()) > len(before.Retired()) {
				renewed++
			}
		}
	})
	if renewed == 0 || removed == 0 {
		t.Errorf("%d repositories were retired and %d removed: the commands drawn try nothing", renewed, removed)
	}
}
