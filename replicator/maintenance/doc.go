// Package maintenance takes out of a site's copy of a repository what is over, so that no good copy can be lost by it.
//
// At a repository's home Run has restic forget snapshots and prune, through a door (gateway.Local) that deletes nothing:
// it moves each object into the site's trash. Then all that remains is read (restic check --read-data). Only when that
// is good is the run complete: its mark is written, and a list of tombstones. In any other case everything is moved
// back. A run without its mark is one that was broken off; whoever comes next moves it back.
//
// A replica has no key. It takes the home's lists (Follow) after a complete pass that began when they were there, and moves
// into its own trash what they name and the home does not hold: provided that it holds no snapshot that the home lacks. An index
// file that the home never had, which a broken-off prune may have left, goes with what it may name; and where a home takes in
// such a one from elsewhere (Over), it takes in all that it may name.
//
// A repository that another has taken the place of goes as a whole (Remove), at each site by itself.
//
// The trash is emptied (Tend) after the site's grace, and not before all data was read with the key once after the
// deletion. The grace is over when the worker's clock and the store's both say so; a lock is dead likewise.
//
// An account that has left is erased (Erase): all of its repositories at this site, in every version, without a trash.
//
// What lies where, in the site's bucket. ACCOUNT is a repository's name: that of the account, or ACCOUNT~N of a later one.
//
//	.trash/ACCOUNT/RUN/…                 objects, under their names below the repository
//	.trash/ACCOUNT/RUN/complete.json     the run's mark: an Outcome
//	.trash/ACCOUNT/RUN/locks/NAME        a lock that the run's restic has set
//	.tombstones/ACCOUNT/EPOCH-RUN-SUM.json  a list, named by its SHA-256
//	.marks/ACCOUNT/config.json           the config as it was first seen
//	.marks/ACCOUNT/removed.json          what took the place of a repository that was removed
//	.marks/.clock                        written to hear the store's time
//	.marks/ACCOUNT/read.json             how far all data was read, by the checks of this site
//	.erasing/ACCOUNT.json                since when an account is to be erased, and what was deleted (here ACCOUNT is one)
//	.erasing/.begun.json                 the accounts whose deletion began within a day
//	.erased/ACCOUNT.json                 one that was erased here; it stays
package maintenance
