package lab

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// inNetwork calls f on a thread that is in the network namespace of a process. Sockets that f makes stay in it.
func inNetwork(pid int, f func() error) error {
	there, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return fmt.Errorf("enter network of process %d: %w", pid, err)
	}
	defer there.Close()
	done := make(chan error, 1)
	go func() {
		// Not unlocked: the thread ends with this goroutine, so that no other one ever runs in that network.
		runtime.LockOSThread()
		if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter network of process %d: %w", pid, err)
			return
		}
		done <- f()
	}()
	return <-done
}

// Dial connects from inside the network of a process. The address is an IP address and a port: names are not looked up.
func Dial(ctx context.Context, pid int, network, address string) (net.Conn, error) {
	if _, err := netip.ParseAddrPort(address); err != nil {
		return nil, fmt.Errorf("dial %s in the lab: want an IP address and a port: %w", address, err)
	}
	var conn net.Conn
	err := inNetwork(pid, func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// HTTPClient makes a client whose connections start in the network of the process that pid tells at each dial. It
// keeps no connection open, so that each request goes where the routes lead now.
func HTTPClient(pid func() (int, error)) *http.Client {
	return &http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				p, err := pid()
				if err != nil {
					return nil, err
				}
				return Dial(ctx, p, network, address)
			},
		},
	}
}
