# Two commands matter: make test, make demo. Both install what is missing and build first.

GO       ?= go
TIMEOUT  ?= 30m
RUNS     ?= 13
SEED     ?= 1
KIND     ?=
KILLS    ?= 50
PAIRS    ?= 9
SIZE     ?= 2048
SMALL    ?= 500

.PHONY: all build packages test lint demo clean chaos-raft bench-raft bench-replicate bench-backup

all: build

build: bin/restic bin/versitygw bin/drp bin/demo

# The programs that drp runs as child processes, at the versions that cmd/tools pins.
bin/restic: cmd/tools/go.mod cmd/tools/go.sum
	cd cmd/tools && CGO_ENABLED=0 $(GO) build -trimpath -o ../../$@ github.com/restic/restic/cmd/restic

bin/versitygw: cmd/tools/go.mod cmd/tools/go.sum
	cd cmd/tools && CGO_ENABLED=0 $(GO) build -trimpath -o ../../$@ github.com/versity/versitygw/cmd/versitygw

bin/staticcheck: cmd/tools/go.mod cmd/tools/go.sum
	cd cmd/tools && $(GO) build -o ../../$@ honnef.co/go/tools/cmd/staticcheck

# What drp is measured beside.
bin/rclone: e2e/tools/go.mod e2e/tools/go.sum
	cd e2e/tools && CGO_ENABLED=0 $(GO) build -trimpath -o ../../$@ github.com/rclone/rclone

bin/mc: e2e/tools/go.mod e2e/tools/go.sum
	cd e2e/tools && CGO_ENABLED=0 $(GO) build -trimpath -o ../../$@ github.com/minio/mc

# Static, because it is also the first process of every account's container.
.PHONY: bin/drp bin/demo
bin/drp:
	CGO_ENABLED=0 $(GO) build -trimpath -o $@ ./cmd/drp

bin/demo:
	CGO_ENABLED=0 $(GO) build -trimpath -o $@ ./e2e/demo

packages:
	./e2e/install

test: packages build
	$(GO) test -race -timeout $(TIMEOUT) ./...

lint: bin/staticcheck
	test -z "$$(gofmt -l cmd e2e orchestrator raftstore replicator runbooks)"
	$(GO) vet ./...
	bin/staticcheck ./...

demo: packages build
	bin/demo

# Clusters of real coordinators, and what goes wrong with machines. RUNS=n SEED=s [KIND=k]; SEED and RUNS=1 repeat a run.
chaos-raft: packages bin/drp
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/chaos ./e2e/chaos
	bin/chaos -runs $(RUNS) -seed $(SEED) -kind "$(KIND)"

# What Raft and the state cost.
bench-raft: bin/drp
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/bench ./e2e/bench
	bin/bench -kills $(KILLS)

# Many of what make test tries a few of: retention, worlds, attacks, killed workers, everything at once, flipped bits,
# killed copies, and faults of stores.
.PHONY: soak-keep
soak-keep: packages build
	$(GO) test -timeout 0 -v ./orchestrator/retention -run neverTheLastGoodCopy -sequences 1000000
	$(GO) test -timeout 0 -v ./replicator -run TestPass_Killed -kills 100
	$(GO) test -timeout 0 -v ./replicator/worker -run 'Outage|OldRepositories' -rounds 20
	$(GO) test -timeout 0 -v ./replicator/maintenance -run 'World|Hostile|Killed|Together' -sequences 20000 -attacks 1000 -kills 100 -interleavings 500
	$(GO) test -timeout 0 -v ./replicator/verify -run Flipped -flips 200

# drp replicate beside a bare loop, mc mirror, rclone sync and restic copy. PAIRS=n rounds, SIZE=MiB of the large
# repository, SMALL=n repositories of the other cases.
bench-replicate: bin/drp bin/restic bin/versitygw bin/rclone bin/mc
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/benchreplicate ./e2e/benchreplicate
	bin/benchreplicate -pairs $(PAIRS) -size $(SIZE) -small $(SMALL)

# Backups through the gateway beside restic straight at the store. PAIRS=n.
bench-backup: bin/drp bin/restic bin/versitygw
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/benchbackup ./e2e/benchbackup
	bin/benchbackup -pairs $(PAIRS)

# Views by snapshots of LVM volumes, in a virtual machine: many kernels that tests run on have no device-mapper.
.PHONY: vm-lvm
vm-lvm:
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/vmlvm ./e2e/vmlvm
	e2e/vmlvm/run

clean:
	rm -rf bin
