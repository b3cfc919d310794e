package accountinit

import (
	"testing"
	"time"
)

func TestTrouble(t *testing.T) {
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct{ raw, want string }{
		"nothing yet":        {``, ``},
		"not the init's":     {`{"a":`, ``},
		"all well":           {`[{"name":"web","running":true,"started":"1999-12-31T23:59:59Z"}]`, ``},
		"never started":      {`[{"name":"web","started":"1999-12-31T23:59:59Z","problem":"no such file"}]`, `service web: no such file`},
		"just started again": {`[{"name":"web","running":true,"started":"1999-12-31T23:59:30Z","problem":"exit 1"}]`, `service web: exit 1`},
		"runs again":         {`[{"name":"web","running":true,"started":"1999-12-31T23:58:00Z","problem":"exit 1"}]`, ``},
		"two":                {`[{"name":"a","problem":"x"},{"name":"b"},{"name":"c","problem":"y"}]`, `service a: x; service c: y`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Trouble([]byte(c.raw), now); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
