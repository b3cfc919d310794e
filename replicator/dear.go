package replicator

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"strings"
)

// A key file says itself what trying a password on it costs, and restic tries each that it finds, at each start. Those that
// restic makes take 60 MB and half a second; these are beyond any of its.
const (
	mostKeyFile   = 64 << 10  // bytes
	mostKeyMemory = 256 << 20 // bytes
	mostKeyWork   = 1 << 23   // N·r·p: some seconds
)

// dear reports whether an object is a key file with which somebody who may write at the source could make every look at
// the copy expensive. What is none of restic's key files is not judged here.
func (p *pass) dear(ctx context.Context, i *item, key string) bool {
	if !strings.HasPrefix(strings.TrimPrefix(key, p.prefix), string(keys)+"/") {
		return false
	}
	if i.size > mostKeyFile {
		return true
	}
	content, err := p.src.Get(ctx, key, i.size)
	if err != nil || sha256.Sum256(content) != i.sum {
		return false // carry finds out what it is, and whether it stays so
	}
	var cost struct{ N, R, P uint64 }
	if json.Unmarshal(content, &cost) != nil {
		return false
	}
	memory := product(128, cost.N, cost.R)
	return memory > mostKeyMemory || product(cost.N, cost.R, cost.P) > mostKeyWork
}

// product stops at a number that is too large for anything here.
func product(factors ...uint64) uint64 {
	const huge = 1 << 31
	all := uint64(1)
	for _, f := range factors {
		if all *= min(f, huge); all > huge {
			return huge
		}
	}
	return all
}
