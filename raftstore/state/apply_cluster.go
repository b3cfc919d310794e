package state

// applyClusterInit gives the cluster its identity, once.
func applyClusterInit(c *change, d ClusterInitData) (bool, error) {
	if d.UUID == "" || d.Incarnation == 0 {
		return false, refuse(ErrInvalid, "a cluster needs a uuid and an incarnation of 1 or more")
	}
	if old := clusterTable.get(c.Txn, ""); old != nil {
		if old.UUID == d.UUID && old.Incarnation == d.Incarnation {
			return false, nil
		}
		return false, refuse(ErrConflict, "this is cluster %s (incarnation %d) already, not %s (incarnation %d)",
			old.UUID, old.Incarnation, d.UUID, d.Incarnation)
	}
	clusterTable.put(c.Txn, &Cluster{UUID: d.UUID, Incarnation: d.Incarnation, CreatedAt: c.at, Level: d.Level})
	return true, nil
}

// applyServerSeen records a server's status. The last contact never goes back, since a recovery is measured from it; but
// one that lies in the future came from a wrong clock, and would make a dead server look alive.
func applyServerSeen(c *change, d ServerSeenData) (bool, error) {
	if _, err := c.server(d.Server); err != nil {
		return false, err
	}
	switch d.Status {
	case Up, Unknown, Down:
	default:
		return false, refuse(ErrInvalid, "server %s: a status is up, unknown or down, not %q", d.Server, d.Status)
	}
	next := ServerStatus{Server: d.Server, Status: d.Status, Since: c.at, LastContact: earlier(d.LastContact, c.at)}
	if old := serverStatusTable.get(c.Txn, string(d.Server)); old != nil {
		next.LastContact = later(next.LastContact, earlier(old.LastContact, c.at))
		if old.Status == next.Status {
			next.Since = old.Since
		}
		if old.Status == next.Status && old.LastContact.Equal(next.LastContact) {
			return false, nil
		}
	}
	serverStatusTable.put(c.Txn, &next)
	return true, nil
}
