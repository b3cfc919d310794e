package main

import (
	"reflect"
	"testing"
	"time"

	"drp/orchestrator/wire"
	"drp/raftstore/identity"
	"drp/raftstore/state"
	"drp/replicator/worker"
)

// full has something in every field: what is lost on the way between worker and leader is zero at the other end.
func full(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint64, reflect.Uint8:
		v.SetUint(7)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		full(v.Index(0))
	case reflect.Array:
		full(v.Index(0))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		full(v.Elem())
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(7, 0)))
			return
		}
		for i := range v.NumField() {
			full(v.Field(i))
		}
	default:
		panic(v.Type().String() + "?")
	}
}

// empty names the fields that are zero, but for those that need not be there.
func empty(t *testing.T, path string, v reflect.Value, but ...string) {
	t.Helper()
	for _, b := range but {
		if path == b {
			return
		}
	}
	switch v.Kind() {
	case reflect.Slice:
		if v.Len() == 0 {
			t.Errorf("%s is empty", path)
		}
		for i := range v.Len() {
			empty(t, path, v.Index(i), but...)
		}
	case reflect.Pointer:
		if v.IsNil() {
			t.Errorf("%s is lost on the way", path)
			return
		}
		empty(t, path, v.Elem(), but...)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			if v.IsZero() {
				t.Errorf("%s is lost on the way", path)
			}
			return
		}
		for i := range v.NumField() {
			empty(t, path+"."+v.Type().Field(i).Name, v.Field(i), but...)
		}
	default:
		if v.IsZero() {
			t.Errorf("%s is lost on the way", path)
		}
	}
}

func TestWorkerLeader_losesNothing(t *testing.T) {
	var r worker.Report
	full(reflect.ValueOf(&r).Elem())
	empty(t, "report", reflect.ValueOf(wireReport(r)), "report.Passes.To", "report.Incarnation") // the leader's, and obedience's
	if got := wireReport(worker.Report{Wait: time.Second}); got.Wait != time.Second {
		t.Errorf("got %+v", got)
	}

	d := wire.WorkerDesired{
		Revision: 1, NewSite: true, Fill: true, Revoked: identity.Revocations{},
		Initial: []wire.InitialJob{{}}, Copy: []wire.CopyJob{{}}, Maintain: []wire.MaintainJob{{}}, Verify: []wire.VerifyJob{{}},
		Remove: []wire.RemoveJob{{}}, Keys: []wire.KeyJob{{}}, Erase: []wire.EraseJob{{}},
	}
	for _, job := range []any{&d.Initial[0], &d.Copy[0], &d.Maintain[0], &d.Verify[0], &d.Remove[0], &d.Keys[0], &d.Erase[0]} {
		full(reflect.ValueOf(job).Elem())
	}
	d.Verify[0].Kind = state.Proven
	empty(t, "desired", reflect.ValueOf(workerDesired(d)))
}
