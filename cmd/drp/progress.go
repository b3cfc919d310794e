package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"drp/orchestrator"
	"drp/raftstore/state"
)

// progress shows a run that is under way.
type progress interface {
	show(r *state.Run, title string)
	note(line string) // something beside the run itself
	tick()            // time has passed; note may be called meanwhile
	end()             // nothing more is shown
}

// change is a part of a run that is not as it was.
type change struct {
	step state.RunStep
	item *state.RunItem // nil: the step itself
}

// changes remembers what was shown, so that each change is shown once.
type changes struct{ seen map[string]string }

func newChanges() *changes { return &changes{seen: map[string]string{}} }

func (c *changes) of(r *state.Run) []change {
	var list []change
	for _, s := range r.Steps {
		if s.Status == state.StepPending {
			continue
		}
		for _, item := range s.Items {
			// An item that is under way tells how far it is; its phase is news, each percent is not.
			phase, _, _ := strings.Cut(item.Message, ":")
			if c.news(s.ID+"\x00"+string(item.Account), string(item.Status)+"\x00"+phase) {
				list = append(list, change{step: s, item: &item})
			}
		}
		if c.news(s.ID, string(s.Status)+"\x00"+s.Message) {
			list = append(list, change{step: s})
		}
	}
	return list
}

func (c *changes) news(key, value string) bool {
	if c.seen[key] == value {
		return false
	}
	c.seen[key] = value
	return true
}

// plainProgress prints a line for each change: for logs, and for terminals that cannot move a cursor.
type plainProgress struct {
	out     io.Writer
	changes *changes
}

func (p *plainProgress) show(r *state.Run, _ string) {
	for _, c := range p.changes.of(r) {
		if c.item == nil {
			fmt.Fprintln(p.out, line(c.step.ID, string(c.step.Status), c.step.Message))
			continue
		}
		fmt.Fprintln(p.out, line(c.step.ID+" "+string(c.item.Account), string(c.item.Status), itemText(c.item)))
	}
}

func (p *plainProgress) note(text string) { fmt.Fprintln(p.out, line("drp", "", text)) }
func (p *plainProgress) tick()            {}
func (p *plainProgress) end()             {}

func line(subject, status, message string) string {
	text := subject
	for _, part := range []string{status, message} {
		if part != "" {
			text += ": " + part
		}
	}
	return time.Now().Local().Format("15:04:05 ") + clean(text)
}

func itemText(i *state.RunItem) string {
	var parts []string
	if i.Message != "" {
		parts = append(parts, i.Message)
	}
	if i.Server != "" {
		parts = append(parts, "server "+string(i.Server))
	}
	if i.RTO > 0 {
		parts = append(parts, "rpo "+short(i.RPO), "rto "+short(i.RTO))
	}
	return strings.Join(parts, ", ")
}

// event is one line of JSON output.
type event struct {
	Event   string                     `json:"event"` // plan, step, item, note, run
	Step    string                     `json:"step,omitempty"`
	Account state.AccountName          `json:"account,omitempty"`
	Status  state.StepStatus           `json:"status,omitempty"`
	Message string                     `json:"message,omitempty"`
	Server  state.ServerName           `json:"server,omitempty"`
	RPO     time.Duration              `json:"rpo,omitempty"` // nanoseconds
	RTO     time.Duration              `json:"rto,omitempty"` // nanoseconds
	Plan    *orchestrator.Plan         `json:"plan,omitempty"`
	Run     *state.Run                 `json:"run,omitempty"` // the last line
	NotFit  []orchestrator.PlanRefusal `json:"not_fit,omitempty"`
}

func printLine(w io.Writer, v any) error { return json.NewEncoder(w).Encode(v) }

// jsonProgress prints an object a line. An error of the output shows at the end, when the run itself is printed.
type jsonProgress struct {
	out     io.Writer
	changes *changes
}

func (p *jsonProgress) show(r *state.Run, _ string) {
	for _, c := range p.changes.of(r) {
		e := event{Event: "step", Step: c.step.ID, Status: c.step.Status, Message: c.step.Message}
		if i := c.item; i != nil {
			e = event{Event: "item", Step: c.step.ID, Account: i.Account, Status: i.Status, Message: i.Message, Server: i.Server, RPO: i.RPO, RTO: i.RTO}
		}
		_ = printLine(p.out, e)
	}
}

func (p *jsonProgress) note(text string) { _ = printLine(p.out, event{Event: "note", Message: text}) }
func (p *jsonProgress) tick()            {}
func (p *jsonProgress) end()             {}

// liveProgress redraws the run in place.
type liveProgress struct {
	out   io.Writer
	size  func() (width, height int)
	now   func() time.Time
	mu    sync.Mutex // guards what follows: the connection's notes come from beside
	drawn int        // lines of the picture that stands
	run   *state.Run
	title string
}

func sizeOf(out io.Writer) func() (int, int) {
	return func() (int, int) {
		if f, ok := out.(*os.File); ok {
			if w, h, err := term.GetSize(int(f.Fd())); err == nil && w > 20 && h > 5 {
				return w, h
			}
		}
		return 80, 24
	}
}

func (p *liveProgress) show(r *state.Run, title string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.run, p.title = r, title
	p.draw("")
}

func (p *liveProgress) tick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.run != nil {
		p.draw("")
	}
}

func (p *liveProgress) note(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.draw(line("drp", "", text))
}

func (p *liveProgress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.run != nil {
		p.draw("")
	}
	p.run, p.drawn = nil, 0 // what stands stays
}

// draw replaces the picture; above, when there is one, is a line that stays.
func (p *liveProgress) draw(above string) {
	var b strings.Builder
	if p.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\x1b[J", p.drawn)
	}
	if above != "" {
		b.WriteString(above + "\n")
	}
	p.drawn = 0
	if p.run != nil {
		width, height := p.size()
		for _, l := range picture(p.run, p.title, height-2, p.now()) {
			b.WriteString(cut(l, width-1) + "\n")
			p.drawn++
		}
	}
	_, _ = io.WriteString(p.out, b.String())
}

// picture is a run in at most height lines: all steps, and of the step that is under way the accounts that are not
// done, as many as fit.
func picture(r *state.Run, title string, height int, now time.Time) []string {
	until := now
	if !r.Finished.IsZero() {
		until = r.Finished
	}
	if title == "" {
		title = r.Runbook
	}
	lines := []string{clean(fmt.Sprintf("%s: %s for %s (run %s)", title, r.Status, short(max(0, until.Sub(r.Created))), r.ID))}
	room := height - 1 - len(r.Steps)
	for _, s := range r.Steps {
		text := fmt.Sprintf("  %-14s %s", s.ID, s.Status)
		if done, failed, open := tally(s.Items); len(s.Items) > 0 {
			text += fmt.Sprintf(", %d of %d", done, len(s.Items))
			if failed > 0 {
				text += fmt.Sprintf(", %d failed", failed)
			}
			lines = append(lines, clean(withMessage(text, s.Message)))
			if s.Status == state.StepRunning {
				for _, item := range open[:min(len(open), max(room, 0))] {
					lines = append(lines, clean(fmt.Sprintf("    %-20s %-8s %s", item.Account, item.Status, itemText(&item))))
				}
			}
			continue
		}
		lines = append(lines, clean(withMessage(text, s.Message)))
	}
	return lines
}

func withMessage(text, message string) string {
	if message == "" {
		return text
	}
	return text + ": " + message
}

func tally(items []state.RunItem) (done, failed int, open []state.RunItem) {
	for _, i := range items {
		switch i.Status {
		case state.StepDone:
			done++
			continue
		case state.StepFailed:
			failed++
		}
		open = append(open, i)
	}
	return done, failed, open
}

func cut(s string, width int) string {
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	return string([]rune(s)[:width-1]) + "…"
}
