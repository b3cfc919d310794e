package orchestrator

import (
	"cmp"
	"time"

	"drp/raftstore/state"
)

// What holds where the inventory says nothing.
const (
	defaultCheckWithin   = 7 * day
	defaultReadWithin    = 30 * day
	defaultProveWithin   = 30 * day
	defaultServerBackups = 2
	defaultSiteBackups   = 64

	day = 24 * time.Hour
)

// CheckWithin is how old the last restic check of a copy may be.
func CheckWithin(p *state.Policy) time.Duration { return cmp.Or(p.CheckWithin, defaultCheckWithin) }

// ReadWithin is how long ago all data of a copy may have been read.
func ReadWithin(p *state.Policy) time.Duration { return cmp.Or(p.ReadWithin, defaultReadWithin) }

// ProveWithin is how long ago a snapshot of a copy may have been restored and compared.
func ProveWithin(p *state.Policy) time.Duration { return cmp.Or(p.ProveWithin, defaultProveWithin) }

// ServerBackups is how many backups a server runs at the same time.
func ServerBackups(s *state.Server) int { return cmp.Or(s.Backups, defaultServerBackups) }

// SiteBackups is how many backups run at the same time at a site.
func SiteBackups(s *state.Site) int { return cmp.Or(s.Backups, defaultSiteBackups) }
