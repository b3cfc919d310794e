package lab

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"strings"
	"time"

	"drp/e2e/lab/host"
)

const birdSocket = "/run/bird/bird.ctl"

// WaitRoutes waits until the routers that can reach one another agree: all their sessions are established, and each
// would send each account's packets after the same announcement.
func (l *Lab) WaitRoutes(ctx context.Context) error {
	missing := "nothing was asked yet"
	for {
		why, err := l.routesSettled(ctx)
		switch {
		case err == nil && why == "":
			return nil
		case err == nil:
			missing = why
		case ctx.Err() == nil:
			missing = err.Error()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for routes: %s: %w", missing, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// routesSettled says what is still missing; empty: nothing.
func (l *Lab) routesSettled(ctx context.Context) (string, error) {
	var agreed map[string]string
	for _, s := range l.top.sites {
		m := l.machines[s.router()]
		if !l.linked(m) {
			continue
		}
		want := l.expectedSessions(s)
		out, err := m.birdc(ctx, "show", "protocols")
		if err != nil {
			return "", err
		}
		have := establishedSessions(out)
		for _, name := range want {
			if !have[name] {
				return fmt.Sprintf("%s has no session with %s", s.router(), name), nil
			}
		}
		if len(want) == 0 || len(want) == 1 && want[0] == transitName {
			continue // cut off from the other sites: it may think what it likes
		}
		out, err = m.birdc(ctx, "show", "route", "primary", "all", "where", "source", "=", "RTS_BGP", "&&", "net.len", "=", "128")
		if err != nil {
			return "", err
		}
		routes := announcements(out)
		if agreed != nil && !maps.Equal(agreed, routes) {
			return fmt.Sprintf("%s does not know the routes of the others yet", s.router()), nil
		}
		agreed = routes
	}
	return "", nil
}

// expectedSessions names the neighbours that a site's router can reach now.
func (l *Lab) expectedSessions(s site) []string {
	var names []string
	cuts := l.currentCuts()
	for _, ln := range l.top.linksOf(s.router()) {
		if ln.kind != mesh && ln.kind != uplink || severed(ln, cuts) {
			continue
		}
		other := ln.a
		if other.host == s.router() {
			other = ln.b
		}
		m := l.machines[other.host]
		switch {
		case !l.linked(m):
		case ln.kind == uplink:
			names = append(names, transitName)
		default:
			names = append(names, m.Site)
		}
	}
	return names
}

// linked reports whether a router runs.
func (l *Lab) linked(m *machine) bool {
	_, alive := m.process()
	return alive && len(m.services) > 0
}

func (m *machine) birdc(ctx context.Context, args ...string) (string, error) {
	out, err := m.control.Exec(ctx, host.Command{Args: append([]string{"birdc", "-r", "-s", birdSocket}, args...)})
	if err != nil {
		return "", fmt.Errorf("ask router %s: %w", m.Name, err)
	}
	if out.Status != 0 {
		return "", fmt.Errorf("ask router %s: %s", m.Name, strings.TrimSpace(string(out.Stdout)+string(out.Stderr)))
	}
	return string(out.Stdout), nil
}

// establishedSessions reads "show protocols": name, protocol, table, state, since, info.
func establishedSessions(out string) map[string]bool {
	names := make(map[string]bool)
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) > 4 && f[1] == "BGP" && f[len(f)-1] == "Established" {
			names[f[0]] = true
		}
	}
	return names
}

var accountRoute = regexp.MustCompile(`^([0-9a-f:]+/128)\s`)

// announcements reads "show route primary all": which preference wins for each account's address.
func announcements(out string) map[string]string {
	routes := make(map[string]string)
	current := ""
	for line := range strings.Lines(out) {
		if m := accountRoute.FindStringSubmatch(line); m != nil {
			current = m[1]
			routes[current] = ""
		}
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "BGP.local_pref: "); ok && current != "" {
			routes[current] = value
		}
	}
	return routes
}
