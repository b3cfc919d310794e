package state

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestInventoryApply_Notes(t *testing.T) {
	n := newPlatform(t)
	n.same(InventoryApply, inventory())

	d := inventory()
	d.Policies[0].Schedule = "@every 15s"
	d.Policies[0].RPO = time.Hour
	d.Policies[0].Replicas = []SiteName{"par2"}
	d.Sites[0].Gateways = []string{"https://gw:1"}
	d.Sites[0].Store = &Store{Bucket: "drp-par1"}
	d.Servers[0].Capacity = Resources{Memory: 5, CPU: 0.5}
	d.Accounts[0].Services = []Service{{Program: Program{Name: "web", Command: []string{"php"}}}}
	d.Accounts = append(d.Accounts, Account{Name: "blog", Policy: "hourly"})
	got := n.must(InventoryApply, d).Notes
	want := []string{
		"site par1: gateways none → https://gw:1, store added",
		"server par1-s1: capacity.memory 0 → 5, capacity.cpu 0 → 0.5",
		"policy hourly: schedule @every 1h → @every 15s, replicas par1 par2 → par2, rpo 0s → 1h0m0s",
		"account guestbook: services added",
		"account blog: created",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
	n.same(InventoryApply, d)

	d.Sites[0].Store = &Store{Bucket: "other"}
	got = n.must(InventoryApply, InventoryData{Sites: d.Sites}).Notes
	if diff := cmp.Diff([]string{"site par1: store.bucket drp-par1 → other"}, got); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
}

func TestInventoryApply_Refused(t *testing.T) {
	tests := []struct {
		name  string
		kind  error
		words string
		edit  func(*InventoryData)
	}{
		{"server at no site", ErrNotFound, `server par1-s1 names site "par9"`, func(d *InventoryData) { d.Servers[0].Site = "par9" }},
		{"server at a witness", ErrInvalid, "par3, which is a witness", func(d *InventoryData) { d.Servers[0].Site = "par3" }},
		{"policy with no such replica", ErrNotFound, `policy hourly names site "par9"`, func(d *InventoryData) { d.Policies[0].Replicas[0] = "par9" }},
		{"account without policy", ErrNotFound, `account static names policy ""`, func(d *InventoryData) { d.Accounts[1].Policy = "" }},
		{"account at no site", ErrNotFound, `account static names site "par9"`, func(d *InventoryData) { d.Accounts[1].Site = "par9" }},
		{"address outside", ErrInvalid, "lies outside of the provider's prefixes [2001:db8:a::/48]", func(d *InventoryData) {
			d.Accounts[0].Addresses = []netip.Addr{netip.MustParseAddr("2001:db8:b::1")}
		}},
		{"prefixes that leave an account outside", ErrInvalid, "account guestbook: address 2001:db8:a::100", func(d *InventoryData) {
			d.Provider.Prefixes = []netip.Prefix{netip.MustParsePrefix("2001:db8:b::/48")}
			d.Accounts = nil
		}},
		{"address of another account", ErrConflict, "belongs to account guestbook", func(d *InventoryData) {
			d.Accounts[1].Addresses = d.Accounts[0].Addresses
			d.Accounts = d.Accounts[1:]
		}},
		{"address twice", ErrInvalid, "has address 2001:db8:a::101 twice", func(d *InventoryData) {
			d.Accounts[1].Addresses = append(d.Accounts[1].Addresses, d.Accounts[1].Addresses[0])
		}},
		{"database of no engine", ErrInvalid, `no engine "oracle"`, func(d *InventoryData) {
			d.Accounts[0].Databases = []Database{{Engine: "oracle", Name: "shop"}}
		}},
		{"database with the name of a path", ErrInvalid, `"../shop" is no name of a database`, func(d *InventoryData) {
			d.Accounts[0].Databases = []Database{{Engine: PostgreSQL, Name: "../shop"}}
		}},
		{"database of the engine itself", ErrInvalid, "belongs to the engine itself", func(d *InventoryData) {
			d.Accounts[0].Databases = []Database{{Engine: MariaDB, Name: "mysql"}}
		}},
		{"database twice", ErrInvalid, "has mysql/shop twice", func(d *InventoryData) {
			d.Accounts[0].Databases = []Database{{Engine: MariaDB, Name: "shop"}, {Engine: MariaDB, Name: "shop"}}
		}},
		{"database of another account", ErrConflict, "account guestbook: postgresql/shop belongs to account static", func(d *InventoryData) {
			d.Accounts[0].Databases = []Database{{Engine: PostgreSQL, Name: "shop"}}
			d.Accounts[1].Databases = d.Accounts[0].Databases
		}},
		{"mailbox of another account", ErrConflict, "account guestbook: mails/example.org/info belongs to account static", func(d *InventoryData) {
			d.Accounts[0].Mailboxes = []Mailbox{{Domain: "example.org", Name: "info"}}
			d.Accounts[1].Mailboxes = d.Accounts[0].Mailboxes
		}},
		{"mailbox outside", ErrInvalid, `".." is no name of a mailbox`, func(d *InventoryData) {
			d.Accounts[0].Mailboxes = []Mailbox{{Domain: "example.org", Name: ".."}}
		}},
		{"domain outside", ErrInvalid, `"../.." is no domain`, func(d *InventoryData) {
			d.Accounts[0].Mailboxes = []Mailbox{{Domain: "../..", Name: "info"}}
		}},
		{"name twice", ErrInvalid, "site par2 is given twice", func(d *InventoryData) { d.Sites[0].Name = "par2" }},
		{"no name", ErrInvalid, "a server has no name", func(d *InventoryData) { d.Servers[0].Name = "" }},
		{"name that is a path", ErrInvalid, `account "../etc"`, func(d *InventoryData) { d.Accounts[0].Name = "../etc" }},
		{"witness with servers", ErrConflict, "server par1-s1 is there", func(d *InventoryData) {
			*d = InventoryData{Sites: []Site{{Name: "par1", Witness: true}}}
		}},
		{"witness with a store", ErrInvalid, "neither a store nor gateways", func(d *InventoryData) { d.Sites[2].Store = &Store{} }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			n := newPlatform(t)
			d := inventory()
			d.Policies[0].Schedule = "@daily" // something that would change
			test.edit(&d)
			n.refused(test.kind, test.words, InventoryApply, d)
		})
	}
}

func TestInventoryApply_AddressesChangeHandsInOneApply(t *testing.T) {
	n := newPlatform(t)
	d := InventoryData{Accounts: inventory().Accounts}
	d.Accounts[0].Addresses, d.Accounts[1].Addresses = d.Accounts[1].Addresses, d.Accounts[0].Addresses
	n.must(InventoryApply, d)
	d.Accounts = d.Accounts[:1]
	d.Accounts[0].Addresses = inventory().Accounts[0].Addresses
	n.refused(ErrConflict, "belongs to account static", InventoryApply, d)
}

func TestInventoryApply_ServerWithAccountsStays(t *testing.T) {
	n, _ := running(t)
	n.refused(ErrConflict, "server par1-s1 holds 1 accounts", InventoryApply, InventoryData{Servers: []Server{{Name: "par1-s1", Site: "par2"}}})
	n.must(InventoryApply, InventoryData{Servers: []Server{{Name: "par1-s2", Site: "par2"}}})
	if got, want := len(n.view().ServersAt("par2")), 3; got != want {
		t.Errorf("got %d servers at par2, want %d", got, want)
	}
}

func TestClusterInit(t *testing.T) {
	n := newPlatform(t)
	n.same(ClusterInit, ClusterInitData{UUID: "7d1f", Incarnation: 1, Level: 2})
	n.refused(ErrConflict, "this is cluster 7d1f", ClusterInit, ClusterInitData{UUID: "0000", Incarnation: 1})
	n.refused(ErrInvalid, "needs a uuid", ClusterInit, ClusterInitData{})
}

func TestServerSeen(t *testing.T) {
	n := newPlatform(t)
	n.refused(ErrNotFound, `no server "par9"`, ServerSeen, ServerSeenData{Server: "par9", Status: Up})
	n.refused(ErrInvalid, `not "fine"`, ServerSeen, ServerSeenData{Server: "par1-s1", Status: "fine"})
	n.must(ServerSeen, ServerSeenData{Server: "par1-s1", Status: Up, LastContact: epoch})
	n.must(ServerSeen, ServerSeenData{Server: "par1-s1", Status: Down, LastContact: epoch.Add(-time.Hour)})
	n.same(ServerSeen, ServerSeenData{Server: "par1-s1", Status: Down, LastContact: epoch})
	got := n.view().ServerStatus("par1-s1")
	if got.Status != Down || !got.LastContact.Equal(epoch) {
		t.Errorf("got %+v, want down and a last contact that does not go back", got)
	}
}
