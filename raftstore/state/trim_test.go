package state

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"net/netip"
)

// TestTable_decodeTrims: a row is what was written, with lists that have no room for more.
func TestTable_decodeTrims(t *testing.T) {
	account := &Account{Name: "shop", Policy: "hourly", Tier: Gold, Addresses: []netip.Addr{netip.MustParseAddr("2001:db8::1")},
		Services: []Service{{Program: Program{Name: "web", Command: []string{"a", "b", "c"}}}}, Databases: []Database{{}}, Mailboxes: []Mailbox{}}
	keys := &RepositoryKeys{Repository: "shop", Account: "shop", Sites: []SiteKeys{{Site: "par1"}, {Site: "par2"}}, Remove: []string{"x"}}
	for _, c := range []struct {
		row    any
		decode func(json.RawMessage) (any, error)
	}{{account, accountTable.decode}, {keys, repositoryKeysTable.decode}} {
		data, err := json.Marshal(c.row)
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.decode(data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.row, got, cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		switch row := got.(type) {
		case *Account:
			if cap(row.Services) != 1 || cap(row.Addresses) != 1 || cap(row.Services[0].Command) != 3 {
				t.Errorf("room for %d services, %d addresses, %d words", cap(row.Services), cap(row.Addresses), cap(row.Services[0].Command))
			}
		case *RepositoryKeys:
			if cap(row.Sites) != 2 || cap(row.Remove) != 1 {
				t.Errorf("room for %d sites, %d keys", cap(row.Sites), cap(row.Remove))
			}
		}
	}
}
