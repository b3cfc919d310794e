package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"drp/replicator"
	"drp/runbooks/strictyaml"
)

// bandwidthValue is what a worker reads at most from other sites: 100MiB/s, or by time of day:
//
//	bandwidth: {default: 100MiB/s, "08:00-20:00": 20MiB/s, zone: Europe/Paris}
type bandwidthValue struct{ table replicator.Timetable }

const (
	slowest = 1 << 10 // bytes a second
	fastest = 1 << 40
)

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (v *bandwidthValue) UnmarshalYAML(n ast.Node) (err error) {
	m, ok := n.(*ast.MappingNode)
	if single, isSingle := n.(*ast.MappingValueNode); isSingle { // one line below the field
		m, ok = &ast.MappingNode{BaseNode: &ast.BaseNode{}, Values: []*ast.MappingValueNode{single}}, true
	}
	if !ok {
		v.table.Default, err = parseRate(scalar(n))
		return misplaced(n, "bandwidth", err)
	}
	seen := make(map[string]bool)
	for _, field := range m.Values {
		name := scalar(field.Key)
		if seen[name] {
			return misplaced(field.Key, "bandwidth", fmt.Errorf("%q stands there twice", name))
		}
		seen[name] = true
		if err := v.field(name, field); err != nil {
			return err
		}
	}
	if v.table.Default == 0 && len(v.table.Windows) == 0 {
		return misplaced(n, "bandwidth", errors.New(`no bound is given: write default: 100MiB/s, or "08:00-20:00": 20MiB/s`))
	}
	return nil
}

func (v *bandwidthValue) field(name string, field *ast.MappingValueNode) (err error) {
	text := scalar(field.Value)
	switch name {
	case "default":
		v.table.Default, err = parseRate(text)
		return misplaced(field.Value, "bandwidth", err)
	case "zone":
		if text != "" && text != "Local" { // both would be read, as something that is not written there
			v.table.Zone, err = time.LoadLocation(text)
		}
		if v.table.Zone == nil {
			err = fmt.Errorf(`unknown time zone %q: write a name of the IANA's, such as Europe/Paris or UTC`, text)
		}
		return misplaced(field.Value, "bandwidth", err)
	}
	w, err := parseWindow(name)
	if err != nil {
		return misplaced(field.Key, "bandwidth", err)
	}
	for _, other := range v.table.Windows {
		if w.Overlaps(other) {
			return misplaced(field.Key, "bandwidth", fmt.Errorf("%q overlaps another window", name))
		}
	}
	w.PerSecond, err = parseRate(text)
	v.table.Windows = append(v.table.Windows, w)
	return misplaced(field.Value, "bandwidth", err)
}

func parseRate(text string) (int64, error) {
	number, ok := strings.CutSuffix(text, "/s")
	if !ok {
		return 0, fmt.Errorf("%q is no rate: write an amount for each second, as in 100MiB/s", text)
	}
	n, err := strictyaml.ParseSize(number)
	if err == nil && (n < slowest || n > fastest) {
		err = fmt.Errorf("%q is not from 1KiB/s to 1TiB/s", text)
	}
	return n, err
}

var windowForm = regexp.MustCompile(`^(\d\d):(\d\d)-(\d\d):(\d\d)$`)

// parseWindow reads 08:00-20:00. A day ends at 24:00, or at 00:00.
func parseWindow(text string) (w replicator.Window, err error) {
	m := windowForm.FindStringSubmatch(text)
	if m == nil {
		return w, fmt.Errorf(`unknown field %q: want default, zone, or a time of day as in "08:00-20:00"`, text)
	}
	at := func(hour, minute string) time.Duration {
		d, parseErr := time.ParseDuration(hour + "h" + minute + "m")
		if parseErr != nil || minute > "59" || d > 24*time.Hour {
			err = fmt.Errorf("%q: there is no such time of day as %s:%s", text, hour, minute)
		}
		return d
	}
	w.From, w.To = at(m[1], m[2]), at(m[3], m[4])
	if err == nil && (w.From == w.To || w.From == 24*time.Hour) {
		err = fmt.Errorf("%q: a window begins before 24:00 and ends at another time; for all of the day write default", text)
	}
	return w, err
}

// open makes the bound; nil: there is none.
func (v bandwidthValue) open() *replicator.Bandwidth {
	if v.table.Default == 0 && len(v.table.Windows) == 0 {
		return nil
	}
	return replicator.NewTimedBandwidth(v.table)
}

var _ yaml.NodeUnmarshaler = (*bandwidthValue)(nil)
