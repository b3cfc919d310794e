package main

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"drp/raftstore/state"
)

func TestDirectory(t *testing.T) {
	s := state.New()
	index := uint64(0)
	set := func(m state.Member) {
		t.Helper()
		index++
		r, err := s.Apply(index, state.NewCommand(state.MemberSet, fmt.Sprint(index), time.Now(), "test", state.MemberSetData{Member: m}))
		if err != nil || r.Err != nil {
			t.Fatal(err, r.Err)
		}
	}
	set(state.Member{Name: "par1-c", Site: "par1", Raft: "old:1", API: "https://old:2"})
	set(state.Member{Name: "par3-d", Site: "par3", Raft: "d:1", API: "https://d:2"})
	var members []string
	d := directory{view: s.View, members: func() []string { return members }, configured: []peerConfig{
		{Name: "par1-c", Site: "par1", API: "https://a:2"}, {Name: "par2-c", Site: "par2", API: "https://b:2"}, {Name: "par3-c", Site: "par3", API: "https://c:2"},
	}}
	for _, c := range []struct{ members, want []string }{
		{nil, []string{"https://a:2", "https://b:2", "https://c:2"}},
		{[]string{"par1-c", "par2-c", "par3-c", "par3-d"}, []string{"https://a:2", "https://b:2", "https://c:2", "https://d:2"}},
		{[]string{"par3-d", "par1-c", "par2-c"}, []string{"https://a:2", "https://b:2", "https://d:2"}},
	} {
		members = c.members
		var got []string
		for _, p := range d.all() {
			got = append(got, p.API)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("members %v: got %v, want %v", c.members, got, c.want)
		}
	}
	if got, want := d.url("par3-c"), ""; got != want {
		t.Errorf("one that was removed: got %q, want %q", got, want)
	}
	if got, want := d.url("par3-d"), "https://d:2"; got != want {
		t.Errorf("one that joined: got %q, want %q", got, want)
	}
}
