package inventory

import (
	"fmt"
	"net/netip"

	"drp/raftstore/state"
)

// reserved are the first addresses of each prefix that Allocate leaves to routers.
const reserved = 256

// Allocate gives an address to each account of a document that names none: the one that it has already, or the first
// free one of the provider's prefixes. So the same files applied twice change nothing. Call it after Check.
func Allocate(doc *Document, known Known) error {
	after := known.with(&doc.Data)
	taken := map[netip.Addr]bool{}
	for _, a := range after.Accounts {
		for _, address := range kept(a, known) {
			taken[address] = true
		}
	}
	var free func() (netip.Addr, bool)
	for i := range doc.Data.Accounts {
		a := &doc.Data.Accounts[i]
		if len(a.Addresses) > 0 {
			continue
		}
		if a.Addresses = kept(a, known); len(a.Addresses) > 0 {
			continue
		}
		if free == nil {
			free = freeAddresses(after.Provider, taken)
		}
		address, ok := free()
		if !ok {
			at := doc.accounts[i].at
			return Errors{{File: at.File, Line: at.Line, Column: at.Column,
				Message: fmt.Sprintf("account %s: the provider's prefixes have no free address", a.Name), Fix: "add a prefix to the provider"}}
		}
		a.Addresses = []netip.Addr{address}
	}
	return nil
}

// freeAddresses walks once through the prefixes, in order.
func freeAddresses(p *state.Provider, taken map[netip.Addr]bool) func() (netip.Addr, bool) {
	var prefixes []netip.Prefix
	if p != nil {
		prefixes = p.Prefixes
	}
	var next netip.Addr
	return func() (netip.Addr, bool) {
		for ; len(prefixes) > 0; prefixes, next = prefixes[1:], (netip.Addr{}) {
			if !next.IsValid() {
				next = prefixes[0].Addr()
				for range reserved {
					next = next.Next()
				}
			}
			for prefixes[0].Contains(next) {
				address := next
				next = next.Next()
				if !taken[address] {
					return address, true
				}
			}
		}
		return netip.Addr{}, false
	}
}
