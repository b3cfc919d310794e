// Package replicator copies restic repositories from one S3 store to another, without a key to them.
//
// Every file of a repository but config is named by the SHA-256 of its content and never changes. So a copier can
// prove each object from end to end, and a copy is restorable at every moment when it lists in read order (snapshots,
// index, data), writes in write order (keys, config, data, index, snapshots) and copies only what it listed.
//
// Nothing here deletes an object of a repository: Move puts one elsewhere in the same bucket, verified, and Discard takes
// only what is none. Locks are never copied.
package replicator
