package state

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"
)

// catalogue has the snapshots of one account, packed. A platform has millions of snapshots, and each row of a table costs
// some five hundred bytes of every coordinator's memory; here it costs seventy. From level 3 on; before, snapshots are rows of
// their own.
type catalogue struct {
	Account AccountName `json:"account"`
	// Names are the texts that the records name by their place: servers, sites, kinds of view, parts and why they failed.
	Names []string `json:"names"`
	// Records are the snapshots, newest first. Times in them are in milliseconds.
	Records []byte `json:"records"`
}

// pack makes the one catalogue that there is for these snapshots.
func pack(account AccountName, list []*Snapshot) *catalogue {
	slices.SortFunc(list, newerFirst)
	c := &catalogue{Account: account}
	places := map[string]uint64{}
	name := func(b []byte, text string) []byte {
		at, ok := places[text]
		if !ok {
			at = uint64(len(c.Names))
			places[text] = at
			c.Names = append(c.Names, text)
		}
		return binary.AppendUvarint(b, at)
	}
	for _, s := range list {
		id, err := hex.DecodeString(string(s.ID))
		if err != nil || len(id) != idSize {
			panic("state: pack snapshot " + string(s.ID)) // checkSnapshotID was before this
		}
		start := s.Start.UnixMilli()
		since := func(b []byte, t time.Time) []byte { return binary.AppendVarint(b, t.UnixMilli()-start) }
		b := append(c.Records, id...)
		b = binary.AppendVarint(b, start)
		b = since(b, s.Finished)
		b = name(b, string(s.Server))
		b = binary.AppendUvarint(b, s.Token.Incarnation)
		b = binary.AppendUvarint(b, s.Token.Generation)
		b = name(b, s.View)
		b = binary.AppendVarint(b, s.Files)
		b = binary.AppendVarint(b, s.Bytes)
		b = binary.AppendUvarint(b, uint64(len(s.Sites)))
		for _, copied := range s.Sites {
			b = name(b, string(copied.Site))
			b = since(b, copied.CopiedAt)
		}
		var more uint64
		if !s.ForgetAt.IsZero() {
			more |= hasForgetAt
		}
		if len(s.Parts) > 0 {
			more |= hasParts
		}
		if s.Copied > 0 {
			more |= hasCopied
		}
		if s.Repository != 0 {
			more |= inRepository
		}
		b = binary.AppendUvarint(b, more)
		if more&hasForgetAt != 0 {
			b = since(b, s.ForgetAt)
		}
		if more&hasParts != 0 {
			b = binary.AppendUvarint(b, uint64(len(s.Parts)))
			for _, p := range s.Parts {
				b = name(name(b, p.Name), p.Error)
			}
		}
		if more&hasCopied != 0 {
			b = binary.AppendUvarint(b, uint64(s.Copied))
		}
		if more&inRepository != 0 {
			b = binary.AppendUvarint(b, uint64(s.Repository))
		}
		c.Records = b
	}
	c.Records = slices.Clone(c.Records) // without room to grow
	return c
}

const idSize = 32

// What follows the copies in a record.
const (
	hasForgetAt = 1 << iota
	hasParts
	hasCopied
	inRepository // a later one than the first
)

func newerFirst(a, b *Snapshot) int {
	return cmp.Or(-cmp.Compare(a.Start.UnixMilli(), b.Start.UnixMilli()), cmp.Compare(a.ID, b.ID))
}

// snapshots of the catalogue, newest first.
func (c *catalogue) snapshots() []*Snapshot {
	list, err := c.unpack()
	if err != nil {
		panic("state: " + err.Error()) // it was made here, or unpacked when it was read
	}
	return list
}

var errRecord = errors.New("its records are damaged")

func (c *catalogue) unpack() ([]*Snapshot, error) {
	r := recordReader{rest: c.Records, names: c.Names}
	var list []*Snapshot
	for len(r.rest) > 0 && r.err == nil {
		s := &Snapshot{Account: c.Account, ID: r.id()}
		start := r.signed()
		s.Start = time.UnixMilli(start).UTC()
		s.Finished = r.since(start)
		s.Server = ServerName(r.name())
		s.Token = Token{r.number(), r.number()}
		s.View = r.name()
		s.Files, s.Bytes = r.signed(), r.signed()
		if n := r.number(); n <= uint64(len(r.rest)) { // a copy takes two bytes at least
			s.Sites = make([]Copy, n)
		} else {
			r.err = errRecord
		}
		for i := range s.Sites {
			s.Sites[i] = Copy{SiteName(r.name()), r.since(start)}
		}
		more := r.number()
		if more&^(hasForgetAt|hasParts|hasCopied|inRepository) != 0 {
			r.err = errRecord
		}
		if more&hasForgetAt != 0 {
			s.ForgetAt = r.since(start)
		}
		if more&hasParts != 0 {
			if n := r.number(); n <= uint64(len(r.rest)) { // a part takes two bytes at least
				s.Parts = make([]Part, n)
			} else {
				r.err = errRecord
			}
			for i := range s.Parts {
				s.Parts[i] = Part{r.name(), r.name()}
			}
		}
		if more&hasCopied != 0 {
			s.Copied = int(r.number())
		}
		if more&inRepository != 0 {
			if s.Repository = int(r.number()); s.Repository < 2 {
				r.err = errRecord
			}
		}
		list = append(list, s)
	}
	if r.err != nil {
		return nil, fmt.Errorf("catalogue of account %s: %w", c.Account, r.err)
	}
	return list, nil
}

// recordReader takes records apart. After an error it gives zeros.
type recordReader struct {
	rest  []byte
	names []string
	err   error
}

func (r *recordReader) id() SnapshotID {
	if len(r.rest) < idSize {
		r.err = errRecord
		return ""
	}
	id := SnapshotID(hex.EncodeToString(r.rest[:idSize]))
	r.rest = r.rest[idSize:]
	return id
}

func (r *recordReader) number() uint64 {
	n, size := binary.Uvarint(r.rest)
	return n * r.skip(size)
}

func (r *recordReader) signed() int64 {
	n, size := binary.Varint(r.rest)
	return n * int64(r.skip(size))
}

// skip goes on by what was read. It gives 0 where that was nothing good, and else 1.
func (r *recordReader) skip(size int) uint64 {
	if size <= 0 || r.err != nil {
		r.err = errRecord
		return 0
	}
	r.rest = r.rest[size:]
	return 1
}

func (r *recordReader) name() string {
	at := r.number()
	if at >= uint64(len(r.names)) {
		r.err = errRecord
		return ""
	}
	return r.names[at]
}

func (r *recordReader) since(start int64) time.Time {
	return time.UnixMilli(start + r.signed()).UTC()
}

// UnmarshalJSON refuses records that cannot be unpacked.
func (c *catalogue) UnmarshalJSON(data []byte) error {
	type plain catalogue
	if err := decodeStrict(data, (*plain)(c)); err != nil {
		return err
	}
	_, err := c.unpack()
	return err
}

func (c *catalogue) appendJSON(b []byte) []byte {
	b = appendText(append(b, `{"account":`...), string(c.Account))
	b = appendTexts(append(b, `,"names":`...), c.Names)
	b = appendBytes(append(b, `,"records":`...), c.Records)
	return append(b, '}')
}

// The snapshots of an account, whichever way they are kept.

// snapshotsOf an account, newest first.
func snapshotsOf(txn *transaction, account AccountName) []*Snapshot {
	if c := catalogueTable.get(txn, string(account)); c != nil {
		return c.snapshots()
	}
	return snapshotTable.prefixed(txn, "account", string(account))
}

// snapshot of an account, or nil.
func snapshotOf(txn *transaction, account AccountName, id SnapshotID) *Snapshot {
	if c := catalogueTable.get(txn, string(account)); c != nil {
		for _, s := range c.snapshots() {
			if s.ID == id {
				return s
			}
		}
		return nil
	}
	if s := snapshotTable.get(txn, string(id)); s != nil && s.Account == account {
		return s
	}
	return nil
}

// packs reports whether snapshots are kept in catalogues.
func packs(txn *transaction) bool {
	cluster := clusterTable.get(txn, "")
	return cluster != nil && cluster.Level >= LevelCatalogues
}

// putSnapshots adds snapshots of an account, or replaces those that are there.
func (c *change) putSnapshots(account AccountName, list ...*Snapshot) {
	switch {
	case len(list) == 0:
	case packs(c.Txn):
		all := withoutSnapshots(snapshotsOf(c.Txn, account), list)
		catalogueTable.put(c.Txn, pack(account, append(all, list...)))
	default:
		for _, s := range list {
			snapshotTable.put(c.Txn, s)
		}
	}
}

func (c *change) dropSnapshots(account AccountName, list ...*Snapshot) {
	old := catalogueTable.get(c.Txn, string(account))
	if old == nil {
		for _, s := range list {
			snapshotTable.drop(c.Txn, s)
		}
		return
	}
	if rest := withoutSnapshots(old.snapshots(), list); len(rest) > 0 {
		catalogueTable.put(c.Txn, pack(account, rest))
	} else {
		catalogueTable.drop(c.Txn, old)
	}
}

// withoutSnapshots leaves those out that have the ids of others.
func withoutSnapshots(all, others []*Snapshot) []*Snapshot {
	named := make(map[SnapshotID]bool, len(others))
	for _, s := range others {
		named[s.ID] = true
	}
	return slices.DeleteFunc(all, func(s *Snapshot) bool { return named[s.ID] })
}

// packAll puts all snapshots into catalogues, when every member can read those.
func (c *change) packAll() {
	for _, a := range accountTable.list(c.Txn) {
		if list := snapshotTable.prefixed(c.Txn, "account", string(a.Name)); len(list) > 0 {
			catalogueTable.put(c.Txn, pack(a.Name, slices.Clone(list)))
			for _, s := range list {
				snapshotTable.drop(c.Txn, s)
			}
		}
	}
}
