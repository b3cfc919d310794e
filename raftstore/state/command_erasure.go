package state

import "time"

// Commands about the erasure of accounts: all of level 3. It is the one thing that deletes the last good copy on purpose, so
// three looks are between the order and the deletion: a waiting time, in which the order can be taken back; the account's stop; and
// each site's own grace, by its own configuration.
const (
	// ErasureOrder: an account is to be erased when a waiting time is over. Until then nothing changes. Refused for an
	// account that there is not, and while another order of it stands.
	ErasureOrder Name = "erasure.order"
	// ErasureCancel takes an order back. Refused once the erasure has begun.
	ErasureCancel Name = "erasure.cancel"
	// ErasureBegin takes an account out of the state in one step, with its passwords, snapshots, tasks, and all else: what is left
	// is the row of its erasure. Its addresses are free again, and its name is never used again. Refused before the waiting
	// time is over, and while the account may run somewhere.
	ErasureBegin Name = "erasure.begin"
	// ErasureSite is a site's word on how far it is. With that of the last site the erasure is done. Refused for one that has not
	// begun, and for a site that it is not about.
	ErasureSite Name = "erasure.site"
)

// LevelErasures is the first level at which accounts can be erased.
const LevelErasures = 3

// MostErasureWait bounds the waiting time: an order that nobody remembers any more is none.
const MostErasureWait = 90 * 24 * time.Hour

// Payloads of these commands.
type (
	ErasureOrderData struct {
		Account AccountName   `json:"account"`
		Wait    time.Duration `json:"wait"`
		Reason  string        `json:"reason,omitempty"`
	}
	ErasureCancelData struct {
		Account AccountName `json:"account"`
	}
	ErasureBeginData struct {
		Account AccountName `json:"account"`
	}
	ErasureSiteData struct {
		Account      AccountName `json:"account"`
		Site         SiteName    `json:"site"`
		Until        time.Time   `json:"until,omitzero"`         // nothing is deleted there before, by the site's clock
		Repositories []string    `json:"repositories,omitempty"` // what was found there, by name
		Objects      int64       `json:"objects"`                // deleted, all in all
		Bytes        int64       `json:"bytes"`                  // deleted, all in all
		Empty        time.Time   `json:"empty,omitzero"`         // since when nothing is listed there, by the site's clock
		Error        string      `json:"error,omitempty"`        // why it stands still
	}
)

// Erasure is what is left of an account that is erased, or is to be.
type Erasure struct {
	Account   AccountName `json:"account"`
	By        string      `json:"by"` // role/name
	Reason    string      `json:"reason,omitempty"`
	Ordered   time.Time   `json:"ordered"`
	NotBefore time.Time   `json:"not_before"` // when its waiting time is over
	Begun     time.Time   `json:"begun,omitzero"`
	// Token is the last one: a server that holds the account under one up to it has to stop it at its next contact.
	Token Token `json:"token,omitzero"`
	// Repositories are the names of all that were known, to the state or to a site.
	Repositories []string `json:"repositories,omitempty"`
	// Servers had the account's home, or the password of its backups. Many: and others.
	Servers []ServerName  `json:"servers,omitempty"`
	Many    bool          `json:"many,omitempty"`
	Sites   []SiteErasure `json:"sites,omitempty"` // by name: all that were no witnesses when it began, and witnesses that once got copies
	Done    time.Time     `json:"done,omitzero"`   // when the last site had told that nothing is left there
}

// SiteErasure is how far one site is.
type SiteErasure struct {
	Site    SiteName  `json:"site"`
	Heard   time.Time `json:"heard,omitzero"` // the newest word
	Until   time.Time `json:"until,omitzero"`
	Objects int64     `json:"objects"`
	Bytes   int64     `json:"bytes"`
	Empty   time.Time `json:"empty,omitzero"`
	Error   string    `json:"error,omitempty"`
	Failing time.Time `json:"failing,omitzero"` // since when each word was an error
}

// MostErased bounds how many of one account's repositories are remembered by name. All are erased.
const MostErased = 64

// Waiting reports that the order can still be taken back.
func (e *Erasure) Waiting() bool { return e.Begun.IsZero() }

// Erasure is nil for an account of which nobody ever ordered one, or for which it was taken back.
func (v *View) Erasure(a AccountName) *Erasure { return erasureTable.get(v.txn, string(a)) }

// Erasures are all that there are, sorted by account, those that are done too.
func (v *View) Erasures() []*Erasure { return erasureTable.list(v.txn) }

// OpenErasures are those that are not done.
func (v *View) OpenErasures() []*Erasure { return erasureTable.find(v.txn, "open", "") }
