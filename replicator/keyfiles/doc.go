// Package keyfiles sees to the keys of one site's copies of repositories. A repository has a file below keys/ for each password
// that opens it, named by its SHA-256; whoever has the password and the file has the repository.
//
// Keys are made at a repository's home, with restic (Make, for people with an offline key; Rotate, for the next password).
// Every other site gets the files as they are, without any password (SeeTo), and before its copy of what they open. A key goes
// only when each key that is to stay was seen to be there, whole; and it does not come back with a pass from a site that still
// has it (Removed). A break-glass key that has gone can be brought back for a while (GoingMark).
//
// What lies where, in the site's bucket:
//
//	.breakglass/NAME.age         the break-glass password of a repository, sealed to the offline recipients
//	.removed-keys/NAME/ID        a key file of that name is not to come back
//	.going-keys/NAME/ID          one on its way out
//	.going-keys/NAME/SUM.age     a sealed password on its way out
//	.going-keys/NAME/….since     since when that is known here
package keyfiles
