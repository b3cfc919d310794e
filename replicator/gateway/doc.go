// Package gateway is a site's door to its repositories: restic's REST backend protocol (versions 1 and 2) over mutual
// TLS, stored in the site's S3 bucket.
//
// What it promises, whatever store lies behind it:
//   - A server touches only the repositories of accounts that it is granted, under the token of the grant, judged at
//     each request; a write is judged a second time before its last bytes are let through.
//   - Nothing is altered. An object is acknowledged once its SHA-256 is its name and the store has said that it is
//     there; an object that exists is never written again. Only locks can be deleted; keys and config cannot be written.
//   - What coordinators keep here (exports of the state, the audit trail) is written once and read by coordinators alone.
//   - Without a fresh view of the grants nothing is written: the repository's home may have moved.
//
// What it does not: it does not open repositories, so it cannot tell a false index or snapshot from a genuine one; and
// a server that may write may also remove other writers' locks.
package gateway
