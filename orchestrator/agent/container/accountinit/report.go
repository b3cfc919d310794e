package accountinit

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"
)

// ReportFile is where the init tells how it stands with the services, below the root of its container. It is a word of
// the account: good for people to read, and for nothing else.
const ReportFile = "run/services.json"

// report is one service.
type report struct {
	Name    string    `json:"name"`
	Running bool      `json:"running"`
	Started time.Time `json:"started"`           // or tried to
	Problem string    `json:"problem,omitempty"` // why it did not start, or how it ended the last time
}

// tell is called with the lock held, after each change. Without a report the services go on all the same.
func (s *supervisor) tell() {
	list := []report{}
	for _, one := range s.services {
		list = append(list, report{one.Name, one.pid != 0, one.started, one.problem})
	}
	raw, err := json.Marshal(list)
	if err != nil {
		return
	}
	next := "/" + ReportFile + ".new"
	if os.WriteFile(next, raw, 0o644) == nil {
		_ = os.Rename(next, "/"+ReportFile)
	}
}

// Trouble says in a sentence which services of a report do not run, or have not run for long since they last failed.
// Empty: none.
func Trouble(raw []byte, now time.Time) string {
	var list []report
	if err := json.Unmarshal(raw, &list); err != nil {
		return "" // not written yet, or not by the init
	}
	var troubles []string
	for _, r := range list {
		if r.Problem != "" && (!r.Running || now.Sub(r.Started) < settled) {
			troubles = append(troubles, fmt.Sprintf("service %s: %s", r.Name, r.Problem))
		}
	}
	return strings.Join(troubles, "; ")
}
