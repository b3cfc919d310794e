package main

import (
	"drp/orchestrator/wire"
	"drp/raftstore/state"
	"drp/replicator/worker"
)

func workerKeyJob(j wire.KeyJob) worker.KeyJob {
	job := worker.KeyJob{
		Account: string(j.Account), Home: workerHome(j.Home), Make: string(j.Make), Password: j.Password, Next: j.Next, Recipients: j.Recipients,
		Version: j.Version, Have: j.Have, File: j.File, Remove: j.Remove}
	if j.Store != nil {
		job.Store = storeAddress(*j.Store)
	}
	return job
}

func wireKeyed(k worker.Keyed) wire.Keyed {
	return wire.Keyed{
		ID: k.ID, Account: state.AccountName(k.Account), Home: stateHome(k.Home), Make: state.KeyPurpose(k.Make), Version: k.Version,
		Key: k.Key, Old: k.Old, Asked: k.Asked, Sealed: k.Sealed, File: k.File, Missing: k.Missing, Error: k.Error}
}
