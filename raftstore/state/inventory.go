package state

import (
	"net/netip"
	"time"
)

// Provider is the platform itself. There is one.
type Provider struct {
	Name     string         `json:"name"`
	AS       uint32         `json:"as,omitempty"`
	Prefixes []netip.Prefix `json:"prefixes"` // every account address lies in one of these
}

// Site is a datacenter. A witness site has a coordinator, but neither servers nor a store.
type Site struct {
	Name    SiteName `json:"name"`
	Witness bool     `json:"witness,omitempty"`
	// Gateways are the URLs (https://host:port) at which this site's servers reach its repositories.
	Gateways []string `json:"gateways,omitempty"`
	// Store says where the site's objects lie. Its keys are in the site's local configuration only.
	Store *Store `json:"store,omitempty"`
	// Backups are at the same time at most; zero: a default.
	Backups int `json:"backups,omitempty"`
}

// Store is a site's S3 bucket.
type Store struct {
	Endpoint string `json:"endpoint"` // URL; http only where the network is private to the site
	Bucket   string `json:"bucket"`
	Region   string `json:"region,omitempty"`
}

// Server is a machine that runs accounts.
type Server struct {
	Name     ServerName `json:"name"`
	Site     SiteName   `json:"site"`
	Rack     string     `json:"rack,omitempty"`
	Power    string     `json:"power,omitempty"`
	Capacity Resources  `json:"capacity"`
	Backups  int        `json:"backups,omitempty"` // at the same time at most; zero: a default
}

// Resources are an account's plan, or what a server offers to plans.
type Resources struct {
	Memory    int64   `json:"memory"`    // bytes
	Processes int64   `json:"processes"` // processes and threads
	CPU       float64 `json:"cpu"`       // cores
	Disk      int64   `json:"disk"`      // bytes
}

// Policy is what protection an account gets.
type Policy struct {
	Name     PolicyName `json:"name"`
	Schedule string     `json:"schedule"`            // five cron fields, or @every 15s
	TimeZone string     `json:"time_zone,omitempty"` // IANA name; empty: UTC
	// Replicas are the sites that hold a copy; the home's site counts whether listed or not.
	Replicas []SiteName `json:"replicas"`
	// Retention is how long every snapshot is kept; zero: for ever. Keep has some of them kept longer.
	Retention time.Duration `json:"retention,omitempty"`
	RPO       time.Duration `json:"rpo,omitempty"`
	Keep      *Keep         `json:"keep,omitempty"`
	// Within these times a copy has to be checked, all of its data read, and a snapshot of it proven. Zero: a default.
	CheckWithin time.Duration `json:"check_within,omitempty"`
	ReadWithin  time.Duration `json:"read_within,omitempty"`
	ProveWithin time.Duration `json:"prove_within,omitempty"`
}

// Keep says of how many days, weeks and months the newest snapshot is kept beyond a policy's retention.
type Keep struct {
	Daily   int `json:"daily,omitempty"`
	Weekly  int `json:"weekly,omitempty"`
	Monthly int `json:"monthly,omitempty"`
}

// Tier is the order of recovery: gold before silver before bronze.
type Tier string

const (
	Gold   Tier = "gold"
	Silver Tier = "silver"
	Bronze Tier = "bronze"
)

// Rank orders tiers; lower recovers first.
func (t Tier) Rank() int {
	switch t {
	case Gold:
		return 0
	case Silver:
		return 1
	default:
		return 2
	}
}

// Account is the unit of everything: a black box that can be rebuilt on any server.
type Account struct {
	Name      AccountName  `json:"name"`
	Plan      Resources    `json:"plan"`
	Tier      Tier         `json:"tier"`
	Policy    PolicyName   `json:"policy"`
	Site      SiteName     `json:"site,omitempty"` // where it is placed at first; empty: anywhere
	Addresses []netip.Addr `json:"addresses"`      // each routed as a /128
	Services  []Service    `json:"services,omitempty"`
	// From level 3 on.
	Databases []Database `json:"databases,omitempty"`
	Mailboxes []Mailbox  `json:"mailboxes,omitempty"`
	CronJobs  []CronJob  `json:"cron_jobs,omitempty"`
}
