package state

import (
	"slices"
	"strings"
	"time"
)

// Commands about the keys of repositories: all of level 3. A repository has a key file for each password that opens it; sites hold
// copies of these files, as of everything else.
const (
	// KeysMade: the home's worker has added a key to a repository and opened it with that, or could not. Refused for another home
	// or repository than the present one, and for a rotation that nobody asked for or that has its key already.
	KeysMade Name = "keys.made"
	// KeysSeen: what a site's worker found when it was to see to the keys of its copy. An older version's is ignored.
	KeysSeen Name = "keys.seen"
	// KeysRotate: the next password of a repository, sealed. Refused while a rotation is under way, and for a repository that is
	// not made yet.
	KeysRotate Name = "keys.rotate"
	// KeysSwitch: the next password is the present one from now on. Refused unless each site that holds a copy, or is to hold
	// one, was seen to have its key.
	KeysSwitch Name = "keys.switch"
	// KeysRetire: the keys from before a rotation have to go, everywhere. Refused before the switch, and while anything is under way
	// that was given the old password.
	KeysRetire Name = "keys.retire"
	// BreakGlassRecord: a person has tried break-glass passwords with the offline key.
	BreakGlassRecord Name = "breakglass.record"
)

// KeyPurpose is what a key was made for.
type KeyPurpose string

const (
	KeyBreakGlass KeyPurpose = "breakglass" // for the holders of the offline keys
	KeyRotation   KeyPurpose = "rotation"   // for the next password
)

// Payloads of these commands.
type (
	KeysMadeData struct {
		Account    AccountName `json:"account"`
		Repository string      `json:"repository"`
		Home       Home        `json:"home"`
		Purpose    KeyPurpose  `json:"purpose"`
		Key        string      `json:"key,omitempty"` // the name of its file, 64 hexadecimal digits
		// Old are the key files that it stands in for: of breakglass those of the same purpose, of a rotation all but those of breakglass.
		Old []string `json:"old,omitempty"`
		// Of breakglass: to whom it was to be sealed, to whom it was, and the SHA-256 of the sealed file.
		Asked  []string `json:"asked,omitempty"`
		Sealed []string `json:"sealed,omitempty"`
		File   Digest   `json:"file,omitzero"`
		Error  string   `json:"error,omitempty"`
	}
	KeysSeenData struct {
		Account    AccountName `json:"account"`
		Repository string      `json:"repository"`
		Site       SiteName    `json:"site"`
		Version    uint64      `json:"version"` // of what it was to see to
		// Missing are the keys, and the SHA-256 of the sealed file, that are not there and could not be got from the home.
		Missing []string `json:"missing,omitempty"`
		Error   string   `json:"error,omitempty"` // empty: all that has to be there is, and what has to go is gone
	}
	KeysRotateData struct {
		Account AccountName `json:"account"`
		Sealed  []byte      `json:"sealed"`
	}
	KeysSwitchData struct {
		Account    AccountName `json:"account"`
		Repository string      `json:"repository"`
		Version    uint64      `json:"version"`
	}
	KeysRetireData struct {
		Account    AccountName `json:"account"`
		Repository string      `json:"repository"`
	}
	BreakGlassRecordData struct {
		Store  string   `json:"store"`
		Tested []string `json:"tested"` // repositories that were to be opened, some of them
		Count  int      `json:"count"`  // how many
		Failed []string `json:"failed,omitempty"`
		Error  string   `json:"error,omitempty"` // of the first that failed
	}
)

// RepositoryKeys is what is known of the keys of one repository.
type RepositoryKeys struct {
	Repository string      `json:"repository"` // its name
	Account    AccountName `json:"account"`
	// Version grows with each change of what the sites have to hold.
	Version    uint64      `json:"version"`
	BreakGlass *BreakGlass `json:"breakglass,omitempty"`
	Rotation   *Rotation   `json:"rotation,omitempty"` // under way
	// Password is the key file of the present password, and Since when it became that. Empty and zero before a first rotation.
	Password string    `json:"password,omitempty"`
	Since    time.Time `json:"since,omitzero"`
	// Remove are key files that no site is to hold any more. They stay here: a copy that comes back from an old disk has them.
	Remove []string `json:"remove,omitempty"`
	// Sites are what each has said last, by name.
	Sites []SiteKeys `json:"sites,omitempty"`
	// Failure of making a key at the home. A success ends it.
	Failure *Failure `json:"failure,omitempty"`
}

// BreakGlass is the key of a repository whose password the offline keys open, and nobody else.
type BreakGlass struct {
	Key  string `json:"key"`  // its file
	File Digest `json:"file"` // SHA-256 of the sealed password
	// Asked are the recipients that the leader named, and Sealed, where they are others, those that it is sealed to: the home's own
	// configuration counts. Both are ids of Recipients: a platform has one list, and a row for each account.
	Asked  Digest    `json:"asked"`
	Sealed Digest    `json:"sealed,omitzero"`
	Made   time.Time `json:"made"`
}

// To is whom it is sealed to.
func (b *BreakGlass) To() Digest {
	if b.Sealed.IsZero() {
		return b.Asked
	}
	return b.Sealed
}

// Recipients are a list of those to whom break-glass passwords are sealed.
type Recipients struct {
	ID   Digest   `json:"id"`
	List []string `json:"list"`
}

// RecipientsID is the one id of a list.
func RecipientsID(list []string) Digest { return Sum([]byte(strings.Join(list, "\n"))) }

// Rotation is the change of a repository's password, step by step.
type Rotation struct {
	Sealed   []byte    `json:"sealed"` // the next password, and after the switch the present one
	By       string    `json:"by"`
	Begun    time.Time `json:"begun"`
	Key      string    `json:"key,omitempty"` // its file; empty: not made yet
	Old      []string  `json:"old,omitempty"` // files that go at the end
	Switched time.Time `json:"switched,omitzero"`
}

// SiteKeys is what a site said of the keys of its copy.
type SiteKeys struct {
	Site    SiteName  `json:"site"`
	Version uint64    `json:"version"` // of what was found to be as it should
	At      time.Time `json:"at,omitzero"`
	Missing []string  `json:"missing,omitempty"` // at the last look: key files, and the SHA-256 of the sealed file
	Failure *Failure  `json:"failure,omitempty"`
}

// At is what a site has said; the zero value when it has not.
func (k *RepositoryKeys) At(site SiteName) SiteKeys {
	for _, s := range k.Sites {
		if s.Site == site {
			return s
		}
	}
	return SiteKeys{Site: site}
}

// Have are the key files that each site has to hold.
func (k *RepositoryKeys) Have() []string {
	var have []string
	if k.Password != "" {
		have = append(have, k.Password)
	}
	if k.Rotation != nil && k.Rotation.Key != "" {
		have = append(have, k.Rotation.Key)
	}
	if k.BreakGlass != nil {
		have = append(have, k.BreakGlass.Key)
	}
	slices.Sort(have)
	return slices.Compact(have)
}

// BreakGlassTest is one try of a person with the offline key.
type BreakGlassTest struct {
	At     time.Time `json:"at"`
	By     string    `json:"by"`
	Store  string    `json:"store"`
	Count  int       `json:"count"`
	Tested []string  `json:"tested"`
	Failed []string  `json:"failed,omitempty"`
	Error  string    `json:"error,omitempty"`
}

// BreakGlassTests are the last one, and the last one that opened everything.
type BreakGlassTests struct {
	Last   BreakGlassTest `json:"last"`
	Passed BreakGlassTest `json:"passed,omitzero"`
}
