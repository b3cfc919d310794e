package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestWorkerConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "worker.yaml")
	for name, c := range map[string]struct{ text, want string }{
		"good":                {"site: par1\ngrace: 14d\nbrake: 30%\nerasures: 5\nupkeep_at_once: 3\nprove_up_to: 20GiB\ncapacity: 20TiB\n", ""},
		"short grace":         {"site: par1\ngrace: 5m\n", ":2:8: grace: what was deleted is kept for 1h at least"},
		"no duration":         {"grace: soon\n", `:1:8: grace: "soon" is no duration`},
		"brake of nothing":    {"site: par1\nbrake: 100%\n", `:2:8: brake: "100%" is not from 1% to 99%`},
		"brake in words":      {"brake: half\n", `:1:8: brake: "half" is not from 1% to 99%`},
		"brake as a list":     {"brake: [1]\n", `:1:8: brake: "[1]" is not from 1% to 99%`},
		"erasures of a kind":  {"site: par1\nerasures: many\n", `:2:11: erasures: "many" is not a number of accounts within a day, from 0 (none at all) to 10000`},
		"fewer than none":     {"erasures: -1\n", `:1:11: erasures: "-1" is not a number of accounts`},
		"erasures as a list":  {"erasures: [1]\n", `:1:11: erasures: "[1]" is not a number of accounts`},
		"erasures of all":     {"erasures: 10001\n", `:1:11: erasures: "10001" is not a number of accounts`},
		"none at once":        {"upkeep_at_once: 0\n", `:1:17: upkeep_at_once: "0" is not a number from 1 to 64`},
		"no size":             {"prove_up_to: much\n", `:1:14: prove_up_to: "much" is no size`},
		"capacity in TB":      {"capacity: 20TB\n", `:1:11: capacity: the size "20TB" has an unknown unit`},
		"capacity of nothing": {"capacity: 0GiB\n", `:1:11: capacity: a store has some`},
		"no rate":             {"bandwidth: 100MiB\n", `:1:12: bandwidth: "100MiB" is no rate`},
		"no unit":             {"bandwidth: 100/s\n", `:1:12: bandwidth: the size "100" has no unit`},
		"a crawl":             {"bandwidth: 1B/s\n", `:1:12: bandwidth: "1B/s" is not from 1KiB/s to 1TiB/s`},
		"rates as a list":     {"bandwidth: [1MiB/s]\n", `:1:12: bandwidth: "[1MiB/s]" is no rate`},
		"no bound at all":     {"bandwidth: {zone: UTC}\n", `:1:12: bandwidth: no bound is given`},
		"no window":           {"bandwidth:\n  default: 1MiB/s\n  8-20: 1MiB/s\n", `:3:3: bandwidth: unknown field "8-20"`},
		"no time of day":      {"bandwidth: {default: 1MiB/s, \"08:00-25:00\": 1MiB/s}\n", `:1:30: bandwidth: "08:00-25:00": there is no such time of day as 25:00`},
		"no minute":           {"bandwidth: {\"08:60-20:00\": 1MiB/s}\n", `:1:13: bandwidth: "08:60-20:00": there is no such time of day as 08:60`},
		"no length":           {"bandwidth: {\"08:00-08:00\": 1MiB/s}\n", `:1:13: bandwidth: "08:00-08:00": a window begins before`},
		"windows overlap":     {"bandwidth:\n  \"22:00-08:00\": 1MiB/s\n  \"07:59-20:00\": 1MiB/s\n", `:3:3: bandwidth: "07:59-20:00" overlaps another window`},
		"a window's rate":     {"bandwidth:\n  \"22:00-08:00\": fast\n", `:2:18: bandwidth: "fast" is no rate`},
		"a window twice":      {"bandwidth:\n  \"22:00-08:00\": 1MiB/s\n  \"22:00-08:00\": 1MiB/s\n", `:3:3: `},
		"no zone":             {"bandwidth: {default: 1MiB/s, zone: Europe/Pari}\n", `:1:36: bandwidth: unknown time zone "Europe/Pari"`},
		"this machine's zone": {"bandwidth: {default: 1MiB/s, zone: Local}\n", `:1:36: bandwidth: unknown time zone "Local"`},
		"misspelt":            {"site: par1\ngraze: 7d\n", `:2:1: unknown field "graze"`},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			var got workerConfig
			err := readConfig(path, &got)
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want == "":
				k, v := got.keeper(), got.verifier()
				if k.Grace != 14*24*time.Hour || k.Brake != 30 || k.Erasures != 5 || got.Upkeep != 3 || v.MostBytes != 20<<30 || got.Capacity != 20<<40 {
					t.Errorf("read %+v", got)
				}
			case err == nil || err.Error()[:min(len(err.Error()), len("read configuration: "+path+c.want))] != "read configuration: "+path+c.want:
				t.Errorf("got %v\nwant read configuration: %s%s", err, path, c.want)
			}
		})
	}
}

func TestWorkerConfig_bandwidth(t *testing.T) {
	path := filepath.Join(t.TempDir(), "worker.yaml")
	at := func(clock string) time.Time {
		moment, err := time.Parse(time.RFC3339, "2026-07-01T"+clock+":00+02:00") // summer in Paris
		if err != nil {
			t.Fatal(err)
		}
		return moment
	}
	for text, want := range map[string]map[string]int64{
		"bandwidth: 100MiB/s\n": {"03:00": 100 << 20, "12:00": 100 << 20},
		"bandwidth: {default: 100MiB/s, \"08:00-20:00\": 20MiB/s, zone: Europe/Paris}\n":           {"07:59": 100 << 20, "08:00": 20 << 20, "19:59": 20 << 20, "20:00": 100 << 20},
		"bandwidth:\n  \"08:00-20:00\": 20MiB/s\n":                                                 {"09:59": 0, "10:00": 20 << 20, "21:59": 20 << 20, "22:00": 0}, // UTC
		"bandwidth:\n  \"22:00-06:00\": 1MiB/s\n  \"06:00-24:00\": 2MiB/s\n  zone: Europe/Paris\n": nil,
		"bandwidth:\n  \"22:00-06:00\": 1MiB/s\n  \"06:00-22:00\": 2MiB/s\n  zone: Europe/Paris\n": {"21:59": 2 << 20, "22:00": 1 << 20, "00:00": 1 << 20, "05:59": 1 << 20, "06:00": 2 << 20},
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var got workerConfig
		if err := readConfig(path, &got); (err != nil) != (want == nil) {
			t.Errorf("%s: %v", text, err)
		}
		for clock, rate := range want {
			if is := got.Bandwidth.table.At(at(clock)); is != rate {
				t.Errorf("%s at %s: got %d, want %d", text, clock, is, rate)
			}
		}
		if want != nil && got.Bandwidth.open() == nil {
			t.Errorf("%s: no bound", text)
		}
	}
	if (bandwidthValue{}).open() != nil {
		t.Error("a bound where none is written")
	}
}

// TestWorkerConfig_erasures: none at all is another thing than nothing said.
func TestWorkerConfig_erasures(t *testing.T) {
	path := filepath.Join(t.TempDir(), "worker.yaml")
	for text, want := range map[string]int{"site: par1\n": 0, "erasures: 0\n": -1, "erasures: 10000\n": 10000} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var got workerConfig
		if err := readConfig(path, &got); err != nil || got.keeper().Erasures != want {
			t.Errorf("%q: got %d, %v, want %d", text, got.keeper().Erasures, err, want)
		}
	}
}
