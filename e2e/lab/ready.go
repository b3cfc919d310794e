package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// inventory is the platform as an operator writes it down: provider, sites and servers. Policies and accounts are the
// user's.
func (t *topology) inventory() string {
	var b strings.Builder
	fmt.Fprintf(&b, "kind: provider\nname: lab\nas: %d\nprefixes: [%q]\n", platformAS, covering)
	for _, s := range t.sites {
		fmt.Fprintf(&b, "---\nkind: site\nname: %s\n", s.name)
		if s.servers == 0 {
			b.WriteString("witness: true\n")
			continue
		}
		data, _ := t.host(s.data())
		store := t.storeOf(data, "")
		fmt.Fprintf(&b, "gateways: [%q]\nstore:\n  endpoint: %q\n  bucket: %s\n  region: %s\n",
			"https://"+at(data, gatewayPort), store.Endpoint, store.Bucket, store.Region)
		for j, h := range t.at(s.name, Server) {
			fmt.Fprintf(&b, "---\nkind: server\nname: %s\nsite: %s\nrack: %s-r%d\npower: %s-%c\n", h.Name, s.name, s.name, j+1, s.name, 'a'+j)
			b.WriteString("capacity: {memory: 4GiB, processes: 4000, cpu: 8, disk: 16GiB}\n")
		}
	}
	return b.String()
}

// RoutesReady waits for the routers alone.
func RoutesReady() Check {
	return Check{Name: "the routers", Wait: func(ctx context.Context, l *Lab) error {
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		return l.WaitRoutes(ctx)
	}}
}

// PlatformReady waits for routers, a leader, and everybody who should have dialled it.
func PlatformReady() []Check {
	return []Check{
		RoutesReady(),
		{Name: "a leader", Wait: func(ctx context.Context, l *Lab) error {
			return l.retry(ctx, func(ctx context.Context) error {
				_, err := l.drp(ctx, "apply", "-f", l.Platform())
				return err
			})
		}},
		{Name: "agents, gateways and workers", Wait: func(ctx context.Context, l *Lab) error {
			return l.retry(ctx, l.everybodySeen)
		}},
	}
}

// retry asks until there is no error, for a minute.
func (l *Lab) retry(ctx context.Context, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// drp runs the ordinary CLI against the lab's coordinators.
func (l *Lab) drp(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, l.paths.binary(), args...)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "DRP_SOCKET=" + l.Sockets()}
	var out, messages bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &messages
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("drp %s: %w: %s", args[0], err, bytes.TrimSpace(messages.Bytes()))
	}
	return out.Bytes(), nil
}

// everybodySeen asks the leader whom it has heard.
func (l *Lab) everybodySeen(ctx context.Context) error {
	out, err := l.drp(ctx, "status", "--json")
	if err != nil {
		return err
	}
	var report struct {
		Sites []struct {
			Site        string    `json:"site"`
			Witness     bool      `json:"witness"`
			GatewaySeen time.Time `json:"gateway_seen"`
			WorkerSeen  time.Time `json:"worker_seen"`
		} `json:"sites"`
		Servers []struct {
			Server string `json:"server"`
			Status string `json:"status"`
		} `json:"servers"`
	}
	if err := json.Unmarshal(out, &report); err != nil {
		return fmt.Errorf("read drp status: %w", err)
	}
	var missing []string
	for _, s := range report.Sites {
		if !s.Witness && s.GatewaySeen.IsZero() {
			missing = append(missing, "gateway of "+s.Site)
		}
		if !s.Witness && s.WorkerSeen.IsZero() {
			missing = append(missing, "worker of "+s.Site)
		}
	}
	for _, s := range report.Servers {
		if s.Status != "up" {
			missing = append(missing, "agent of "+s.Server)
		}
	}
	if len(report.Servers) != len(l.top.withRole(Server)) {
		missing = append(missing, "servers in the inventory")
	}
	if len(missing) > 0 {
		return errors.New("not heard by the leader: " + strings.Join(missing, ", "))
	}
	return nil
}
