package main

import (
	"slices"
	"strings"

	"drp/raftstore/state"
)

// directory says where the coordinators are: those of the configuration file by what stands there, so that one can move
// without a command in the log, and those that joined later by their record in the state.
type directory struct {
	configured []peerConfig
	view       func() *state.View
	// members are the names in Raft's own configuration; none before the first start.
	members func() []string
}

// all are the members, by name. Who was removed is in no list, whatever the configuration file still says.
func (d directory) all() []peerConfig {
	rows := map[string]peerConfig{}
	for _, m := range d.view().Members() {
		rows[m.Name] = peerConfig{Name: m.Name, Site: string(m.Site), Raft: m.Raft, API: m.API}
	}
	for _, p := range d.configured {
		rows[p.Name] = p
	}
	names := d.members()
	if len(names) == 0 {
		return d.configured
	}
	var all []peerConfig
	for _, name := range names {
		if p, ok := rows[name]; ok {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b peerConfig) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// url of a coordinator's API; empty: not known.
func (d directory) url(name string) string {
	for _, p := range d.all() {
		if p.Name == name {
			return p.API
		}
	}
	return ""
}
