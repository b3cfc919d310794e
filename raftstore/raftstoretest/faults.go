package raftstoretest

import (
	"bytes"
	"slices"
	"testing"

	"drp/raftstore/state"
)

// Isolate cuts a node off from all others.
func (c *Cluster) Isolate(n *Node) { c.Split([]*Node{n}) }

// Split cuts the links between the nodes given and all others.
func (c *Cluster) Split(side []*Node) {
	for _, a := range c.nodes {
		for _, b := range c.nodes {
			if a != b && slices.Contains(side, a) != slices.Contains(side, b) {
				c.Network.Set(a.Name, b.Name, Link{Cut: true})
			}
		}
	}
}

// Mute lets nothing out of a node; it still hears the others.
func (c *Cluster) Mute(n *Node) {
	for _, o := range c.nodes {
		if o != n {
			c.Network.Set(n.Name, o.Name, Link{Cut: true})
		}
	}
}

// Ring leaves each node the links to its two neighbours. Of five nodes each sees a majority, and no two the same.
func (c *Cluster) Ring() {
	count := len(c.nodes)
	for i, a := range c.nodes {
		for j, b := range c.nodes {
			if d := (i - j + count) % count; d != 0 && d != 1 && d != count-1 {
				c.Network.Set(a.Name, b.Name, Link{Cut: true})
			}
		}
	}
}

// Links makes all links as given.
func (c *Cluster) Links(l Link) {
	for _, a := range c.nodes {
		for _, b := range c.nodes {
			if a != b {
				c.Network.Set(a.Name, b.Name, l)
			}
		}
	}
}

// Persisted is the whole state as bytes.
func Persisted(t testing.TB, v *state.View) string {
	t.Helper()
	var b bytes.Buffer
	if err := v.Persist(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
