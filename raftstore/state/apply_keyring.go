package state

import (
	"bytes"
	"strings"
)

// sealedHeader begins what is sealed to a key of the keyring; the key's id and a line feed follow, then age's own bytes.
const sealedHeader = "drp1 "

// SealedTo returns the id of the key that these bytes are sealed to; empty when they are sealed to recipients themselves.
func SealedTo(sealed []byte) string {
	rest, ok := bytes.CutPrefix(sealed, []byte(sealedHeader))
	if !ok {
		return ""
	}
	id, _, ok := strings.Cut(string(rest[:min(len(rest), 80)]), "\n")
	if !ok {
		return ""
	}
	return id
}

// SealedWith puts the header of a key before what age gave.
func SealedWith(id string, age []byte) []byte {
	return append([]byte(sealedHeader+id+"\n"), age...)
}

// checkSealed refuses what is sealed to a key that is not there (any more): nobody could open it again.
func (c *change) checkSealed(sealed []byte, what string) error {
	if id := SealedTo(sealed); id != "" && keyTable.get(c.Txn, id) == nil {
		return refuse(ErrConflict, "%s is sealed to key %s, which is not in the keyring: seal it again", what, id)
	}
	return nil
}

func applyKeyringSet(c *change, d KeyringSetData) (bool, error) {
	k := d.Key
	if err := checkName("key", k.ID); err != nil {
		return false, err
	}
	switch {
	case k.Recipient == "" || len(k.Sealed) == 0 || len(k.Recipients) == 0:
		return false, refuse(ErrInvalid, "key %s: it needs a recipient, and its identity sealed to somebody", k.ID)
	case keyTable.get(c.Txn, k.ID) != nil:
		return false, refuse(ErrConflict, "there is a key %s already", k.ID)
	}
	k.Created = c.at
	if newest := keyTable.first(c.Txn, "newest"); newest != nil { // the present key is the one set last, whatever clocks say
		k.Created = later(k.Created, newest.Created.Add(1))
	}
	keyTable.put(c.Txn, &k)
	return true, nil
}

func applyKeyringRetire(c *change, d KeyringRetireData) (bool, error) {
	k := keyTable.get(c.Txn, d.ID)
	if k == nil {
		return false, refuse(ErrNotFound, "there is no key %s", d.ID)
	}
	if newest := keyTable.first(c.Txn, "newest"); newest.ID == d.ID {
		return false, refuse(ErrConflict, "key %s is the present one", d.ID)
	}
	if what := c.sealedTo(d.ID); what != "" {
		return false, refuse(ErrConflict, "key %s: %s is sealed to it", d.ID, what)
	}
	keyTable.drop(c.Txn, k)
	return true, nil
}

// sealedTo names one thing that is sealed to a key; empty: nothing is.
func (c *change) sealedTo(id string) string {
	if i := issuerTable.get(c.Txn, ""); i != nil && SealedTo(i.SealedKey) == id {
		return "the key of the issuing authority"
	}
	for _, r := range repositoryTable.list(c.Txn) {
		if SealedTo(r.SealedPassword) == id {
			return "the repository's password of account " + string(r.Account)
		}
	}
	for _, r := range retiredTable.list(c.Txn) {
		if SealedTo(r.Repository.SealedPassword) == id {
			return "the password of repository " + r.Repository.Name()
		}
	}
	for _, k := range repositoryKeysTable.list(c.Txn) {
		if k.Rotation != nil && SealedTo(k.Rotation.Sealed) == id {
			return "the next password of account " + string(k.Account)
		}
	}
	for _, a := range accountTable.list(c.Txn) {
		for what, p := range a.Programs() {
			if SealedTo(p.SealedEnvironment) == id {
				return "the environment of " + what + " " + p.Name + " of account " + string(a.Name)
			}
		}
	}
	return ""
}

func applySecretsReseal(c *change, d SecretsResealData) (bool, error) {
	changed := false
	for _, item := range d.Items {
		if len(item.Sealed) == 0 {
			return false, refuse(ErrInvalid, "account %s: a secret is not replaced by nothing", item.Account)
		}
		if err := c.checkSealed(item.Sealed, "a secret"); err != nil {
			return false, err
		}
		done, err := c.reseal(item)
		if err != nil {
			return false, err
		}
		changed = changed || done
	}
	return changed, nil
}

func (c *change) reseal(item ResealItem) (bool, error) {
	switch item.Kind {
	case SecretIssuer:
		old := issuerTable.get(c.Txn, "")
		if old == nil || Sum(old.SealedKey) != item.Old {
			return false, nil
		}
		next := *old
		next.SealedKey = item.Sealed
		issuerTable.put(c.Txn, &next)
	case SecretRepository:
		return c.resealRepository(item), nil
	case SecretRotation:
		return c.resealRotation(item), nil
	case SecretEnvironment:
		return c.resealEnvironment(item), nil
	default:
		return false, refuse(ErrInvalid, "%q is no kind of secret", item.Kind)
	}
	return true, nil
}

// resealRepository finds a later repository by its name.
func (c *change) resealRepository(item ResealItem) bool {
	account, number, err := ParseRepositoryName(string(item.Account))
	if err != nil {
		return false
	}
	if old := repositoryTable.get(c.Txn, string(account)); old != nil && old.Number == number && Sum(old.SealedPassword) == item.Old {
		next := *old
		next.SealedPassword = item.Sealed
		repositoryTable.put(c.Txn, &next)
		return true
	}
	if old := retiredTable.get(c.Txn, retiredKey(account, number)); old != nil && Sum(old.Repository.SealedPassword) == item.Old {
		next := *old
		next.Repository.SealedPassword = item.Sealed
		retiredTable.put(c.Txn, &next)
		return true
	}
	return false
}

func (c *change) resealEnvironment(item ResealItem) bool {
	old := accountTable.get(c.Txn, string(item.Account))
	if old == nil {
		return false
	}
	next := old.WithOwnPrograms()
	for _, p := range next.Programs() {
		if p.Name == item.Service && len(p.SealedEnvironment) > 0 && Sum(p.SealedEnvironment) == item.Old {
			p.SealedEnvironment = item.Sealed
			accountTable.put(c.Txn, &next)
			return true
		}
	}
	return false
}
