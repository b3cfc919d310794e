package replicator

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
)

// A key file says itself what trying a password on it costs, and restic tries each that it finds, at each start. Those that
// restic makes take 60 MB and half a second; these are beyond any of its.
const (
	mostKeyFile   = 64 << 10  // bytes
	mostKeyMemory = 256 << 20 // bytes
	mostKeyWork   = 1 << 23   // N·r·p: some seconds
)

// bringKey copies a key file, unless it is one with which somebody who may write at the source could make every look at the
// copy expensive. What is none of restic's key files is not judged here. It is small: it is read once, as a whole.
func (p *pass) bringKey(ctx context.Context, i *item, key string) error {
	if i.size > mostKeyFile {
		return errDear
	}
	content, err := p.src.Get(ctx, key, i.size)
	if err != nil || sha256.Sum256(content) != i.sum {
		return carry(ctx, p.src, p.dst, i, key) // it finds out what it is, and whether it stays so
	}
	if dear(content) {
		return errDear
	}
	written, err := p.dst.Put(ctx, key, content, i.sum)
	switch {
	case refusesHash(err):
		return carry(ctx, p.src, p.dst, i, key) // a bit flipped on the way
	case err != nil:
		return err
	}
	return confirm(ctx, p.dst, i, written)
}

// dearKey is what bringKey would say of one that is not copied by a pass. It reads it.
func dearKey(ctx context.Context, src *Store, i *item, key string) bool {
	if i.size > mostKeyFile {
		return true
	}
	content, err := src.Get(ctx, key, i.size)
	return err == nil && sha256.Sum256(content) == i.sum && dear(content)
}

// errDear is a key file that is not copied.
var errDear = errors.New("to try this key file would cost too much")

// dear reports whether a key file makes whoever tries a password on it work for too long.
func dear(content []byte) bool {
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
