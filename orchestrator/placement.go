package orchestrator

import (
	"cmp"
	"fmt"
	"slices"

	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

// placement fills servers evenly. It is made from a view, and counts what it has given out since.
type placement struct {
	servers []*state.Server
	used    map[state.ServerName]state.Resources
	engines map[state.ServerName]*wire.Engines // as their agents say; nil: not known
}

// placement offers the servers that allowed lets through. Whatever is assigned to one counts there, also what is
// told to stop: until it is fenced it may still run; and what runs under way were promised, but for the run own.
func (n now) placement(own state.RunID, allowed func(*state.Server) bool) *placement {
	v := n.view
	p := &placement{used: map[state.ServerName]state.Resources{}, engines: map[state.ServerName]*wire.Engines{}}
	for name, report := range n.seen.reports {
		p.engines[name] = report.Engines
	}
	for _, s := range v.Servers() {
		if allowed(s) {
			p.servers = append(p.servers, s)
		}
	}
	for _, a := range v.Assignments() {
		if acc := v.Account(a.Account); acc != nil && a.Fenced == nil {
			p.used[a.Server] = add(p.used[a.Server], acc.Plan)
		}
	}
	for _, r := range v.Runs() {
		if r.Status.Ended() || r.ID == own {
			continue
		}
		for _, ra := range v.RunAccounts(r.ID) { // promised, and not assigned yet
			a, acc := v.Assignment(ra.Account), v.Account(ra.Account)
			if ra.Status == state.StepPending && a != nil && acc != nil && a.Run != r.ID {
				p.used[ra.To] = add(p.used[ra.To], acc.Plan)
			}
		}
	}
	return p
}

// choose takes the server of a site that is least full afterwards. The reason says what is lacking when none fits.
func (p *placement) choose(site state.SiteName, account *state.Account) (state.ServerName, string) {
	type candidate struct {
		name state.ServerName
		fill float64
	}
	var fits []candidate
	need := account.Plan
	var full, without string
	for _, s := range p.servers {
		if site != "" && s.Site != site {
			continue
		}
		if engine, of := missingEngine(account, p.engines[s.Name]); engine != "" {
			without = fmt.Sprintf("no server of %s that answers has %s, which its database %s needs", site, engine, of)
			continue
		}
		used := add(p.used[s.Name], need)
		if lack := lacking(used, s.Capacity); lack != "" {
			full = fmt.Sprintf("no server of %s has enough %s left", site, lack)
			continue
		}
		fits = append(fits, candidate{s.Name, fill(used, s.Capacity)})
	}
	if len(fits) == 0 {
		return "", cmp.Or(full, without, fmt.Sprintf("no server of %s answers", site))
	}
	best := slices.MinFunc(fits, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.fill, b.fill), cmp.Compare(a.name, b.name))
	})
	p.used[best.name] = add(p.used[best.name], need)
	return best.name, ""
}

// engineNames are for people.
var engineNames = map[state.Engine]string{state.PostgreSQL: "PostgreSQL", state.MariaDB: "MariaDB"}

// missingEngine names one that an account's databases need, if its server is known not to have it.
func missingEngine(account *state.Account, there *wire.Engines) (engine, database string) {
	if there == nil {
		return "", ""
	}
	for _, d := range account.Databases {
		if !slices.Contains(there.List, d.Engine) {
			return engineNames[d.Engine], d.Name
		}
	}
	return "", ""
}

func add(a, b state.Resources) state.Resources {
	return state.Resources{
		Memory:    a.Memory + b.Memory,
		Processes: a.Processes + b.Processes,
		CPU:       a.CPU + b.CPU,
		Disk:      a.Disk + b.Disk,
	}
}

// lacking names the resource that does not fit. CPU is shared by weight, not reserved: after a failover everyone's
// fair share shrinks alike, so it is never a reason to leave an account down.
func lacking(used, capacity state.Resources) string {
	switch {
	case used.Memory > capacity.Memory:
		return "memory"
	case used.Processes > capacity.Processes:
		return "processes"
	case used.Disk > capacity.Disk:
		return "disk"
	}
	return ""
}

// fill is the share of the scarcest resource, CPU included.
func fill(used, capacity state.Resources) float64 {
	share := func(u, c float64) float64 {
		if c <= 0 {
			return 0
		}
		return u / c
	}
	return max(
		share(float64(used.Memory), float64(capacity.Memory)),
		share(float64(used.Processes), float64(capacity.Processes)),
		share(float64(used.Disk), float64(capacity.Disk)),
		share(used.CPU, capacity.CPU),
	)
}
