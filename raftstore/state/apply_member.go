package state

func applyMemberSet(c *change, d MemberSetData) (bool, error) {
	m := d.Member
	if err := checkName("coordinator", m.Name); err != nil {
		return false, err
	}
	if m.Raft == "" || m.API == "" {
		return false, refuse(ErrInvalid, "coordinator %s: it needs an address for Raft and a URL for the API", m.Name)
	}
	if old := memberTable.get(c.Txn, m.Name); old != nil && *old == m {
		return false, nil
	}
	for _, other := range memberTable.list(c.Txn) {
		if other.Name != m.Name && (other.Raft == m.Raft || other.API == m.API) {
			return false, refuse(ErrConflict, "coordinator %s: coordinator %s has the same address", m.Name, other.Name)
		}
	}
	memberTable.put(c.Txn, &m)
	return true, nil
}

func applyMemberRemove(c *change, d MemberRemoveData) (bool, error) {
	old := memberTable.get(c.Txn, d.Name)
	if old == nil {
		return false, refuse(ErrNotFound, "there is no coordinator %s", d.Name)
	}
	memberTable.drop(c.Txn, old)
	return true, nil
}
