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
		"good":             {"site: par1\ngrace: 14d\nbrake: 30%\nupkeep_at_once: 3\nprove_up_to: 20GiB\n", ""},
		"short grace":      {"site: par1\ngrace: 5m\n", ":2:8: grace: what was deleted is kept for 1h at least"},
		"no duration":      {"grace: soon\n", `:1:8: grace: "soon" is no duration`},
		"brake of nothing": {"site: par1\nbrake: 100%\n", `:2:8: brake: "100%" is not from 1% to 99%`},
		"brake in words":   {"brake: half\n", `:1:8: brake: "half" is not from 1% to 99%`},
		"brake as a list":  {"brake: [1]\n", `:1:8: brake: "[1]" is not from 1% to 99%`},
		"none at once":     {"upkeep_at_once: 0\n", `:1:17: upkeep_at_once: "0" is not a number from 1 to 64`},
		"no size":          {"prove_up_to: much\n", `:1:14: prove_up_to: "much" is no size`},
		"misspelt":         {"site: par1\ngraze: 7d\n", `:2:1: unknown field "graze"`},
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
				if k.Grace != 14*24*time.Hour || k.Brake != 30 || got.Upkeep != 3 || v.MostBytes != 20<<30 {
					t.Errorf("read %+v", got)
				}
			case err == nil || err.Error()[:min(len(err.Error()), len("read configuration: "+path+c.want))] != "read configuration: "+path+c.want:
				t.Errorf("got %v\nwant read configuration: %s%s", err, path, c.want)
			}
		})
	}
}
