package identity

// Anonymous makes credentials without a certificate, for a client that shows a token: they only know whom to trust.
// Their Identity has a cluster, and neither role nor name.
func Anonymous(authorityPEM []byte) (*Credentials, error) {
	pool, cluster, err := readRoots(authorityPEM)
	if err != nil {
		return nil, err
	}
	c := &Credentials{authority: pool, authorityPEM: authorityPEM}
	c.current.Store(&loaded{identity: Identity{Cluster: cluster}})
	return c, nil
}
