package state

import (
	"testing"
)

func TestMembers(t *testing.T) {
	n := newPlatform(t)
	m := Member{Name: "par1-c1", Site: "par1", Raft: "[2001:db8::1]:7400", API: "https://[2001:db8::1]:7443"}
	n.must(MemberSet, MemberSetData{Member: m})
	n.same(MemberSet, MemberSetData{Member: m})
	twin := m
	twin.Name = "par2-c1"
	n.refused(ErrConflict, "same address", MemberSet, MemberSetData{Member: twin})
	n.refused(ErrInvalid, "address", MemberSet, MemberSetData{Member: Member{Name: "x"}})
	n.must(MemberRemove, MemberRemoveData{Name: "par1-c1"})
	n.refused(ErrNotFound, "no coordinator", MemberRemove, MemberRemoveData{Name: "par1-c1"})
}
