package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// ListenSocket makes the local socket, and removes one that an earlier process left behind. Everybody may connect:
// who they are is asked of the kernel at each connection, and the answer to others is a clear 403.
func ListenSocket(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make folder of socket %s: %w", path, err)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("remove old socket: %w", err)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on socket: %w", err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		return nil, errors.Join(fmt.Errorf("open socket to local users: %w", err), l.Close())
	}
	return l, nil
}

// socketPeer is who is at the other end of a unix socket, as the kernel says.
type socketPeer struct {
	uid  uint32
	user string
	err  error
}

type socketPeerKey struct{}

// withSocketPeer is the http.Server.ConnContext of the unix listener.
func withSocketPeer(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, socketPeerKey{}, peerOf(c))
}

func peerOf(c net.Conn) socketPeer {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return socketPeer{err: fmt.Errorf("%T is not a unix socket", c)}
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return socketPeer{err: err}
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return socketPeer{err: err}
	}
	if credErr != nil {
		return socketPeer{err: credErr}
	}
	p := socketPeer{uid: cred.Uid, user: strconv.FormatUint(uint64(cred.Uid), 10)}
	if u, err := user.LookupId(p.user); err == nil {
		p.user = u.Username
	}
	return p
}
