package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"drp/orchestrator/sealing"
	"drp/raftstore/identity"
	"drp/replicator/keyfiles"
	"drp/replicator/maintenance"
	"drp/replicator/verify"
	"drp/runbooks/strictyaml"
)

type workerConfig struct {
	Name         string         `yaml:"name"`
	Site         string         `yaml:"site"`
	Coordinators []string       `yaml:"coordinators"`
	Certificates identity.Files `yaml:"certificates"`
	Data         string         `yaml:"data"`
	Restic       string         `yaml:"restic"`
	Store        storeConfig    `yaml:"store"`
	Sources      []sourceConfig `yaml:"sources"`
	Concurrency  int            `yaml:"concurrency"`
	Bandwidth    bandwidthValue `yaml:"bandwidth"` // of what is read from other sites
	Capacity     capacityValue  `yaml:"capacity"`  // of this site's store

	// What protects this site's copies from everybody else, the leader included: it is read from this file alone.
	Grace    graceValue    `yaml:"grace"`
	Brake    brakeValue    `yaml:"brake"`
	Erasures erasuresValue `yaml:"erasures"` // accounts within a day

	// Recipients (age1…) of break-glass passwords. With any, nobody else's word on them counts.
	Recipients []string `yaml:"recipients"`

	Upkeep    upkeepValue `yaml:"upkeep_at_once"`
	Scratch   string      `yaml:"scratch"`     // DATA/scratch when empty
	ProveUpTo sizeValue   `yaml:"prove_up_to"` // larger snapshots are not restored as a proof
}

// sourceConfig is a key that may read another site's store, and should be able to do no more.
type sourceConfig struct {
	Site        string `yaml:"site"`
	Credentials string `yaml:"credentials"`
}

// scratch makes the directory that snapshots are restored into as a proof; empty: there is none.
func (c workerConfig) scratch() (string, error) {
	if c.Scratch == "" && c.Data == "" {
		return "", nil
	}
	dir := cmp.Or(c.Scratch, filepath.Join(c.Data, "scratch"))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make scratch directory: %w", err)
	}
	return dir, nil
}

// Values with a form of their own. What is wrong with one is said with its place.
type (
	durationValue time.Duration
	graceValue    time.Duration
	brakeValue    int // percent
	erasuresValue int // as maintenance.Keeper has it: none are -1
	upkeepValue   int
	sizeValue     int64 // bytes
	capacityValue int64 // bytes
)

const (
	leastGrace   = time.Hour
	mostUpkeep   = 64
	mostErasures = 10000
)

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (v *graceValue) UnmarshalYAML(n ast.Node) error {
	d, err := strictyaml.ParseDuration(scalar(n))
	if err == nil && d < leastGrace {
		err = fmt.Errorf("what was deleted is kept for %s at least", strictyaml.FormatDuration(leastGrace))
	}
	*v = graceValue(d)
	return misplaced(n, "grace", err)
}

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (v *durationValue) UnmarshalYAML(n ast.Node) error {
	d, err := strictyaml.ParseDuration(scalar(n))
	if err == nil && d <= 0 {
		err = fmt.Errorf("%q is not longer than nothing", scalar(n))
	}
	*v = durationValue(d)
	return misplaced(n, "duration", err)
}

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (v *brakeValue) UnmarshalYAML(n ast.Node) error {
	percent, err := strconv.Atoi(strings.TrimSuffix(scalar(n), "%"))
	if err != nil || percent < 1 || percent > 99 {
		err = fmt.Errorf("%q is not from 1%% to 99%%", scalar(n))
	}
	*v = brakeValue(percent)
	return misplaced(n, "brake", err)
}

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (v *erasuresValue) UnmarshalYAML(n ast.Node) error {
	count, err := strconv.Atoi(scalar(n))
	if err != nil || count < 0 || count > mostErasures {
		err = fmt.Errorf("%q is not a number of accounts within a day, from 0 (none at all) to %d", scalar(n), mostErasures)
	}
	if *v = erasuresValue(count); count == 0 {
		*v = -1
	}
	return misplaced(n, "erasures", err)
}

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (v *upkeepValue) UnmarshalYAML(n ast.Node) error {
	count, err := strconv.Atoi(scalar(n))
	if err != nil || count < 1 || count > mostUpkeep {
		err = fmt.Errorf("%q is not a number from 1 to %d", scalar(n), mostUpkeep)
	}
	*v = upkeepValue(count)
	return misplaced(n, "upkeep_at_once", err)
}

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (v *sizeValue) UnmarshalYAML(n ast.Node) error {
	size, err := strictyaml.ParseSize(scalar(n))
	*v = sizeValue(size)
	return misplaced(n, "prove_up_to", err)
}

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (v *capacityValue) UnmarshalYAML(n ast.Node) error {
	size, err := strictyaml.ParseSize(scalar(n))
	if err == nil && size == 0 {
		err = errors.New("a store has some; leave it out where it is not known")
	}
	*v = capacityValue(size)
	return misplaced(n, "capacity", err)
}

// scalar is a value's text, without quotes.
func scalar(n ast.Node) string {
	if t := n.GetToken(); t != nil && n.Type() != ast.MappingType && n.Type() != ast.SequenceType {
		return t.Value
	}
	return n.String()
}

func misplaced(n ast.Node, field string, err error) error {
	if err == nil {
		return nil
	}
	return &yaml.SyntaxError{Message: field + ": " + err.Error(), Token: n.GetToken()}
}

func (c workerConfig) keeper() *maintenance.Keeper {
	return &maintenance.Keeper{Site: c.Site, Grace: time.Duration(c.Grace), Brake: int(c.Brake), Erasures: int(c.Erasures)}
}

func (c workerConfig) verifier() *verify.Verifier {
	return &verify.Verifier{MostBytes: int64(c.ProveUpTo)}
}

// smith makes keys at this site. What is wrong with the recipients is better known now than when a key is made.
func (c workerConfig) smith() (*keyfiles.Smith, error) {
	if _, err := sealing.ParseRecipients(c.Recipients); err != nil {
		return nil, err
	}
	return &keyfiles.Smith{Site: c.Site, Recipients: sealing.Sorted(c.Recipients)}, nil
}
