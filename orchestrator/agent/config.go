package agent

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"

	"drp/orchestrator/agent/database"
	"drp/orchestrator/agent/home"
	"drp/raftstore/identity"
	"drp/raftstore/state"
)

// Config is agent.yaml.
type Config struct {
	Server       state.ServerName `yaml:"server"`
	Site         state.SiteName   `yaml:"site"`
	Coordinators []string         `yaml:"coordinators"` // nearest first
	Certificates identity.Files   `yaml:"certificates"`
	// Trust is what was loaded of them. With it no gateway is used that shows a revoked certificate, or another role's.
	Trust *identity.Credentials `yaml:"-"`

	Data  string `yaml:"data"`  // the journal
	Homes string `yaml:"homes"` // on btrfs or an LVM volume where a backup shall see one moment
	Run   string `yaml:"run"`   // gone after a boot

	Guard        string     `yaml:"guard"` // socket
	Restic       string     `yaml:"restic"`
	Runc         string     `yaml:"runc"`
	CgroupParent string     `yaml:"cgroup_parent"`
	Uplink       string     `yaml:"uplink"`
	Identities   Identities `yaml:"identities"`
	// Databases are the engines that hold the databases of this server's accounts.
	Databases database.Config `yaml:"databases,omitempty"`
	// Backups is how many backups run at once. Zero: 2.
	Backups int `yaml:"backups,omitempty"`
	// ViewPercent is how much of the homes' LVM volume a snapshot of it may take for a backup, unless it is thin. Zero: 10.
	ViewPercent int `yaml:"view_percent,omitempty"`
}

// Identities are the host ids that accounts may get: Count ranges of Size ids, from First on.
type Identities struct {
	First uint32 `yaml:"first"`
	Size  uint32 `yaml:"size"`
	Count uint32 `yaml:"count"`
}

// Check says what is wrong with the configuration, in sentences, all at once.
func (c Config) Check() error {
	var wrong []error
	if c.Server == "" {
		wrong = append(wrong, errors.New("server: the name of this server is missing"))
	}
	if len(c.Coordinators) == 0 {
		wrong = append(wrong, errors.New("coordinators: at least one URL is needed"))
	}
	for key, path := range map[string]string{"data": c.Data, "homes": c.Homes, "run": c.Run, "guard": c.Guard,
		"restic": c.Restic, "runc": c.Runc, "cgroup_parent": c.CgroupParent} {
		if !filepath.IsAbs(path) {
			wrong = append(wrong, fmt.Errorf("%s: %q is not an absolute path", key, path))
		}
	}
	if err := c.Identities.check(); err != nil {
		wrong = append(wrong, fmt.Errorf("identities: %w", err))
	}
	if err := c.Databases.Check(); err != nil {
		wrong = append(wrong, fmt.Errorf("databases: %w", err))
	}
	if c.Backups < 0 {
		wrong = append(wrong, errors.New("backups: at least one has to run at a time"))
	}
	if c.ViewPercent < 0 || c.ViewPercent > 100 {
		wrong = append(wrong, fmt.Errorf("view_percent: %d is not a percentage of the homes' volume: 1 to 100, or nothing for 10", c.ViewPercent))
	}
	return errors.Join(wrong...)
}

func (i Identities) check() error {
	switch end := uint64(i.First) + uint64(i.Size)*uint64(i.Count); {
	case i.First == 0 || i.Size <= home.User || i.Count == 0:
		return errors.New("first, size (more than 1000) and count are needed")
	case end > math.MaxUint32: // the very last id means "no id" to the kernel
		return fmt.Errorf("%d ranges of %d from %d on do not fit into 32 bits", i.Count, i.Size, i.First)
	}
	return nil
}

// nth is the range of one account.
func (i Identities) nth(n uint32) home.IDs { return home.IDs{First: i.First + n*i.Size, Size: i.Size} }
