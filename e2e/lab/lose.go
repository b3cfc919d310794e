package lab

import (
	"context"
	"fmt"
	"os"
)

// LoseHost ends a host for good: power, and all that was on its disk. What is in its /etc/drp a person has elsewhere.
func (l *Lab) LoseHost(ctx context.Context, name string) error {
	h, err := l.Host(name)
	if err != nil {
		return err
	}
	if err := l.killHosts(ctx, []Host{h}); err != nil {
		return err
	}
	data := l.paths.data(name)
	if err := os.RemoveAll(data); err != nil {
		return fmt.Errorf("lose disk of %s: %w", name, err)
	}
	if err := os.Mkdir(data, 0o755); err != nil {
		return fmt.Errorf("lose disk of %s: %w", name, err)
	}
	return nil
}

// BootHost starts a host that was killed, with its disk as it is.
func (l *Lab) BootHost(ctx context.Context, name string) error {
	h, err := l.Host(name)
	if err != nil {
		return err
	}
	done, err := l.change()
	if err != nil {
		return err
	}
	defer done()
	return l.boot(ctx, []Host{h})
}

// Etc is a host's /etc/drp as the machine sees it.
func (l *Lab) Etc(hostName string) string { return l.paths.etc(hostName) }
