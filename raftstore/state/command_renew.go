package state

import "time"

// Commands about repositories that take the place of others: all of level 3.
const (
	// RepositoryRenew retires an account's repository and gives it a new one, in one step: from then on the old one is read and
	// no longer written, and what is sealed in the new one no server has been given. Backups under way end as failed: what they
	// made is in no catalogue. Refused unless Number is that of the present one.
	RepositoryRenew Name = "repository.renew"
	// RepositoryRemove marks every snapshot of a retired repository as over: from then on nobody restores from it, and sites
	// remove it. Refused as long as a site holds no newer snapshot than one of them, and while something reads one.
	RepositoryRemove Name = "repository.remove"
	// RepositoryRemoved is a site's word on that. With that of the last site that is no witness, its snapshots leave the state, and
	// nobody reads it any more. Refused for one that is not to be removed.
	RepositoryRemoved Name = "repository.removed"
	// RepositoryDrop takes the password of a removed repository out of the state. Refused before PasswordKept is over.
	RepositoryDrop Name = "repository.drop"
)

// PasswordKept is for how long after the last site's word the password of a removed repository stays: until then a site's trash
// may hold all of it, and whoever moves that back can open it.
const PasswordKept = 35 * 24 * time.Hour

// LevelRenewals is the first level at which accounts have more repositories than one.
const LevelRenewals = 3

// Payloads of these commands.
type (
	RepositoryRenewData struct {
		Account        AccountName `json:"account"`
		Number         int         `json:"number"` // of the present one
		SealedPassword []byte      `json:"sealed_password"`
		Server         ServerName  `json:"server,omitempty"` // the one that was compromised
		Reason         string      `json:"reason,omitempty"`
	}
	RepositoryRemoveData struct {
		Account AccountName `json:"account"`
		Number  int         `json:"number"`
	}
	RepositoryRemovedData struct {
		Account AccountName `json:"account"`
		Number  int         `json:"number"`
		Site    SiteName    `json:"site"`
		Objects int64       `json:"objects"`         // moved to the site's trash
		Bytes   int64       `json:"bytes"`           // moved to the site's trash
		Error   string      `json:"error,omitempty"` // why it is still there
	}
	RepositoryDropData struct {
		Account AccountName `json:"account"`
		Number  int         `json:"number"`
	}
)

// Retired is a repository that is read and no longer written: a server that was given its password can have put anything
// into it, and indexes by which an honest prune would delete what is good. So nothing in it is ever pruned. It goes as a
// whole, when the last of its snapshots is over.
type Retired struct {
	Repository Repository `json:"repository"`
	At         time.Time  `json:"at"`
	By         string     `json:"by"` // role/name
	Server     ServerName `json:"server,omitempty"`
	Reason     string     `json:"reason,omitempty"`
	// Removing is since when it is removed at each site. Removed are those that have done it; of the others the newest failure.
	Removing time.Time            `json:"removing,omitzero"`
	Removed  []SiteName           `json:"removed,omitempty"`
	Errors   map[SiteName]Failure `json:"errors,omitempty"`
	// Gone is since when it is at no site any more but in the trash. Then nothing but its password counts.
	Gone time.Time `json:"gone,omitzero"`
}

// Holders are the servers that were given the password of an account's present repository before the present server was.
type Holders struct {
	Account AccountName  `json:"account"`
	Servers []ServerName `json:"servers"`        // sorted
	Many    bool         `json:"many,omitempty"` // and others: it may be any server
}

// mostHolders bounds what is remembered of one account.
const mostHolders = 64
