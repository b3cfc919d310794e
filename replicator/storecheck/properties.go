package storecheck

import (
	"context"
	"errors"
	"fmt"
)

// property is one thing that a store does, or does not.
type property struct {
	name   string
	claim  string // what it is when it holds
	needed bool
	// Without it: what is not guaranteed, and what drp does instead.
	without, instead string
	// probe returns nil or a holding when the property holds, a denial when it does not, and any other error when it could not be
	// told.
	probe func(ctx context.Context, p *prober) error
}

// denial is a property that does not hold: what was seen instead.
type denial struct{ seen string }

func (d denial) Error() string { return d.seen }

func denied(format string, args ...any) error { return denial{fmt.Sprintf(format, args...)} }

// holding is a property that holds: what was seen, where its claim does not say that.
type holding struct{ seen string }

func (h holding) Error() string { return h.seen }

func holds(seen string) error { return holding{seen} }

func (p property) look(ctx context.Context, with *prober) Result {
	r := Result{Property: p.name, Answer: OK, Needed: p.needed, Detail: p.claim}
	err := p.probe(ctx, with)
	var yes holding
	switch {
	case errors.As(err, &yes):
		r.Detail = yes.seen
		return r
	case err == nil:
		return r
	}
	r.Answer, r.Detail, r.NotGuaranteed, r.Instead = Unknown, err.Error(), p.without, p.instead
	var no denial
	if errors.As(err, &no) {
		r.Answer = No
	}
	return r
}

const (
	unusable = "do not use this store"
	notDone  = "where the store refuses, the site says so, and the erasure is not done and has no certificate"
	scrubs   = "the gateway and the copier hash every object themselves before its last part leaves them; scrubs read every object again"
)

// properties in the order in which they are looked at and told.
var properties = []property{
	{name: "read-after-write", claim: "what was written is read at once, byte for byte", needed: true, probe: readAfterWrite,
		without: "that a backup can be read", instead: unusable},
	{name: "sha256-signed", claim: "a wrong SHA-256 in the signature is refused", probe: wrongSigned,
		without: "that damage on the way to the store is noticed when it is written", instead: scrubs},
	{name: "sha256-checksum", claim: "a wrong SHA-256 in x-amz-checksum-sha256 is refused", probe: wrongChecksum,
		without: "that damage on the way to the store is noticed when it is written", instead: "the copier leaves no hashing to this store; " + scrubs},
	{name: "content-md5", claim: "a wrong Content-MD5 is refused", probe: wrongMD5,
		without: "nothing of drp's", instead: "it uses SHA-256"},
	{name: "truncated-put", claim: "a write that breaks off leaves no object", needed: true, probe: truncated,
		without: "that a broken object never lies under a good name: the gateway has a store refuse it by breaking off", instead: unusable},
	{name: "large-put", claim: "128 MiB, restic's largest pack, are taken in one request and read back", needed: true, probe: largePut,
		without: "that every pack can be stored and copied", instead: "have restic make packs of 16 MiB, its default, if a smaller object is taken"},
	{name: "overwrite", claim: "a second write is seen at once", needed: true, probe: overwrite,
		without: "that a broken object can be repaired", instead: unusable},
	{name: "delete", claim: "what was deleted is gone at once", needed: true, probe: deletion,
		without: "that locks of restic end, and that removed keys do", instead: unusable},
	{name: "missing-key", claim: "reading what is not there is answered by NoSuchKey, and never in a bucket that is not there", needed: true, probe: missing,
		without: "that an empty repository and a store without its disk are told apart", instead: unusable},
	{name: "range", claim: "parts of objects are read, and nothing beyond their end", needed: true, probe: ranges,
		without: "that restic can read: it reads parts of packs", instead: "the gateway refuses answers that are not the part that was asked for"},
	{name: "list-after-write", claim: "listings name at once what was written", needed: true, probe: listAfterWrite,
		without: "that a copy has all that its snapshots need: passes copy what listings name", instead: unusable},
	{name: "list-after-delete", claim: "listings name no more what was deleted", needed: true, probe: listAfterDelete,
		without: "that maintenance can tell what it took away", instead: "it puts everything back and says that it failed"},
	{name: "list-complete", claim: "a listing of several pages names every object once", needed: true, probe: listComplete,
		without: "that a copy has all that its snapshots need: passes copy what listings name", instead: unusable},
	{name: "list-order", claim: "listings are in the order of names", probe: listOrder,
		without: "that many repositories are compared by one listing of each side", instead: "the copier lists such repositories one by one, which takes more requests"},
	{name: "server-copy", claim: "the store copies objects inside of a bucket", needed: true, probe: serverCopy,
		without: "that anything can be deleted: it is copied into the trash before", instead: "maintenance fails and says so; everything is kept"},
	{name: "etag-md5", claim: "an ETag is the MD5 of the content", probe: etag,
		without: "that a listing shows damage of equal size", instead: "the copier compares sizes alone, moves hash both objects; scrubs read every object"},
	{name: "conditional-write", claim: "If-None-Match: * has one winner, also in a race", probe: conditional,
		without: "that of two who write one name at once only one succeeds", instead: "nothing of it is used: leases and tokens are the coordinators' alone"},
	{name: "object-lock", claim: "what is retained cannot be deleted", probe: objectLock,
		without: "that who has the store's key cannot delete everything at this site", instead: "the key is known to this site's gateway and worker alone; other sites keep their copies, see grace and brake"},
	{name: "retention", claim: "a retention in compliance mode cannot be shortened", probe: retention,
		without: "that a retention binds who has the store's key", instead: "nothing rests on it"},
	{name: "versioning", claim: "the bucket says whether it keeps versions", probe: versioning,
		without: "that the erasure of an account deletes what the bucket keeps of replaced and deleted objects", instead: notDone},
	{name: "list-versions", claim: "a listing of several pages names every version and marker", probe: listVersions,
		without: "that nothing of an account is left when it was erased", instead: notDone + "; what is not listed stays"},
	{name: "delete-version", claim: "one version is deleted by its id, a marker too, and the others stay", probe: deleteVersion,
		without: "that an account can be erased", instead: notDone},
	{name: "unfinished-uploads", claim: "an unfinished upload in parts is listed and aborted", probe: uploads,
		without: "that what others began to upload under an account's name is erased with it", instead: "drp uploads nothing in parts; " + notDone},
	{name: "clock", claim: "the store's clock is ours to a minute", probe: clock,
		without: "that the age of restic's locks is right", instead: "a lock counts for 30 minutes though restic renews it every 5; beyond 15 minutes S3 refuses all requests"},
}
