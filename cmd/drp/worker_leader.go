package main

import (
	"context"

	"drp/orchestrator/obedience"
	"drp/orchestrator/wire"
	"drp/raftstore/identity"
	"drp/raftstore/state"
	"drp/replicator/worker"
)

// workerLeader puts the worker's words into those of the wire. The worker stands below both.
type workerLeader struct {
	client interface {
		WorkerSync(context.Context, wire.WorkerReport) (wire.WorkerDesired, error)
	}
	credentials *identity.Credentials
	obedience   *obedience.Obedience
}

func (l workerLeader) Sync(ctx context.Context, r worker.Report) (worker.Desired, error) {
	report := wireReport(r)
	report.Incarnation = l.obedience.Told()
	d, err := l.client.WorkerSync(ctx, report)
	if err == nil {
		err = l.obedience.Take(d.Incarnation, d.Recovering)
	}
	if err != nil {
		return worker.Desired{}, err
	}
	l.credentials.SetRevocations(d.Revoked)
	return workerDesired(d), nil
}

func wireReport(r worker.Report) wire.WorkerReport {
	report := wire.WorkerReport{Site: state.SiteName(r.Site), Revision: r.Revision, Wait: r.Wait}
	if f := r.Fill; f != nil {
		report.Fill = &wire.Fill{At: f.At, Used: f.Used, Capacity: f.Capacity, Then: f.Then, UsedThen: f.UsedThen}
	}
	for _, i := range r.Ready {
		report.Ready = append(report.Ready, wire.Initialised{Account: state.AccountName(i.Account), Home: stateHome(i.Home)})
	}
	for _, p := range r.Passes {
		report.Passes = append(report.Passes, wire.PassReport{
			ID: p.ID, Account: state.AccountName(p.Account), From: state.SiteName(p.From),
			Snapshots: convert[state.SnapshotID](p.Snapshots), Objects: p.Objects, Bytes: p.Bytes, Error: p.Error})
	}
	for _, m := range r.Maintained {
		report.Maintained = append(report.Maintained, wire.Maintained{
			ID: m.ID, Account: state.AccountName(m.Account), Home: stateHome(m.Home), Forgotten: convert[state.SnapshotID](m.Forgotten),
			Objects: m.Objects, Bytes: m.Bytes, Unknown: convert[state.SnapshotID](m.Unknown), Error: m.Error})
	}
	for _, v := range r.Verified {
		report.Verified = append(report.Verified, wire.Verified{
			ID: v.ID, Account: state.AccountName(v.Account), Kind: state.VerificationKind(v.Kind), Snapshot: state.SnapshotID(v.Snapshot),
			Part: v.Part, Parts: v.Parts, Error: v.Error, BeganAgo: v.BeganAgo})
	}
	for _, m := range r.Removed {
		report.Removed = append(report.Removed, wire.Removed{
			ID: m.ID, Account: state.AccountName(m.Account), Objects: m.Objects, Bytes: m.Bytes, Error: m.Error})
	}
	for _, k := range r.Keyed {
		report.Keyed = append(report.Keyed, wireKeyed(k))
	}
	for _, e := range r.Erased {
		report.Erased = append(report.Erased, wire.Erased{
			ID: e.ID, Account: state.AccountName(e.Account), Until: e.Until, Repositories: convert[state.AccountName](e.Repositories),
			Objects: e.Objects, Bytes: e.Bytes, Empty: e.Empty, Error: e.Error})
	}
	for _, t := range r.Trash {
		report.Trash = append(report.Trash, wire.Trash{Account: state.AccountName(t.Account), Objects: t.Objects, Bytes: t.Bytes, Over: t.Over})
	}
	return report
}

func workerDesired(d wire.WorkerDesired) worker.Desired {
	desired := worker.Desired{Revision: d.Revision, New: d.NewSite, Fill: d.Fill}
	for _, j := range d.Initial {
		desired.Initial = append(desired.Initial, worker.InitialJob{Account: string(j.Account), Home: workerHome(j.Home), Password: j.Password})
	}
	for _, j := range d.Copy {
		desired.Copy = append(desired.Copy, worker.CopyJob{
			Account: string(j.Account), From: string(j.From), Home: workerHome(j.Home), Snapshots: convert[string](j.Snapshots), Rank: j.Rank,
			Store: storeAddress(j.Store)})
	}
	for _, j := range d.Maintain {
		desired.Maintain = append(desired.Maintain, worker.MaintainJob{
			Account: string(j.Account), Home: workerHome(j.Home), Password: j.Password,
			Forget: convert[string](j.Forget), Known: convert[string](j.Known)})
	}
	for _, j := range d.Verify {
		job := worker.VerifyJob{
			Account: string(j.Account), Kind: string(j.Kind), Password: j.Password, Snapshot: string(j.Snapshot), Part: j.Part, Parts: j.Parts,
			Known: convert[string](j.Known)}
		for _, c := range j.Copies {
			job.Copies = append(job.Copies, worker.Copy{Site: string(c.Site), Store: storeAddress(c.Store)})
		}
		desired.Verify = append(desired.Verify, job)
	}
	for _, j := range d.Remove {
		desired.Remove = append(desired.Remove, worker.RemoveJob{Account: string(j.Account), Successor: string(j.Successor)})
	}
	for _, j := range d.Keys {
		desired.Keys = append(desired.Keys, workerKeyJob(j))
	}
	for _, j := range d.Erase {
		desired.Erase = append(desired.Erase, worker.EraseJob{Account: string(j.Account)})
	}
	return desired
}

func storeAddress(s state.Store) worker.StoreAddress {
	return worker.StoreAddress{Endpoint: s.Endpoint, Bucket: s.Bucket, Region: s.Region}
}

func workerHome(h state.Home) worker.Home { return worker.Home{Site: string(h.Site), Epoch: h.Epoch} }

func stateHome(h worker.Home) state.Home {
	return state.Home{Site: state.SiteName(h.Site), Epoch: h.Epoch}
}

func convert[To, From ~string](list []From) []To {
	out := make([]To, len(list))
	for i, s := range list {
		out[i] = To(s)
	}
	return out
}
