package state

import "crypto/sha256"

func applyTokenCreate(c *change, d TokenCreateData) (bool, error) {
	t := d.Token
	if err := checkName("token", t.Name); err != nil {
		return false, err
	}
	if t.Created.IsZero() {
		t.Created = c.at
	}
	switch {
	case len(t.SHA256) != sha256.Size:
		return false, refuse(ErrInvalid, "token %s: of a token its SHA-256 is kept, which has %d bytes", t.Name, sha256.Size)
	case t.Role != "operator" && t.Role != "support":
		return false, refuse(ErrInvalid, "token %s: a token is for operator or support, not for %q", t.Name, t.Role)
	case !t.Expires.After(t.Created):
		return false, refuse(ErrInvalid, "token %s would expire before it exists", t.Name)
	case tokenTable.get(c.Txn, t.Name) != nil:
		return false, refuse(ErrConflict, "there is a token %s already", t.Name)
	}
	tokenTable.put(c.Txn, &t)
	return true, nil
}

func applyTokenRevoke(c *change, d TokenRevokeData) (bool, error) {
	t := tokenTable.get(c.Txn, d.Name)
	if t == nil {
		return false, refuse(ErrNotFound, "there is no token %s", d.Name)
	}
	tokenTable.drop(c.Txn, t)
	return true, nil
}
