package raftstore

import (
	"crypto/tls"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/hashicorp/raft"
)

// protocolName is raft's ALPN: a client of the API that comes here by mistake is told so at once.
const protocolName = "drp-raft/1"

// incarnationKey is where the incarnation stands in the stable store.
var incarnationKey = []byte("drp-incarnation")

// history is which past of the cluster this node's log belongs to. A recovery begins a new incarnation from what was
// saved; a coordinator that comes back from before it has a log that fits at the beginning, a term that may be
// higher, and the right certificate: raft would let it overwrite what was recovered. So raft's connections say their
// incarnation, and two that differ are never made. A node that knows none yet has nothing to overwrite with.
type history struct {
	stable raft.StableStore

	mu    sync.Mutex
	known uint64
}

func openHistory(stable raft.StableStore) (*history, error) {
	n, err := stable.GetUint64(incarnationKey)
	if err != nil && err.Error() != "not found" { // as raft compares it: stores have no common error
		return nil, fmt.Errorf("read the incarnation: %w", err)
	}
	return &history{stable: stable, known: n}, nil
}

func (h *history) incarnation() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.known
}

// learn keeps an incarnation that the state has. It is on the disk before the state is used any further.
func (h *history) learn(n uint64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n <= h.known {
		return nil
	}
	if err := h.stable.SetUint64(incarnationKey, n); err != nil {
		return fmt.Errorf("keep incarnation %d: %w", n, err)
	}
	h.known = n
	return nil
}

// protocol is what we say when we dial.
func (h *history) protocol() string {
	if n := h.incarnation(); n != 0 {
		return protocolName + "+" + strconv.FormatUint(n, 10)
	}
	return protocolName
}

// accepts reports whether a connection that asks for this protocol can be of our history.
func (h *history) accepts(protocol string) bool {
	ours := h.protocol()
	return protocol == protocolName || protocol == ours || ours == protocolName && strings.HasPrefix(protocol, protocolName+"+")
}

// offer makes the server choose the protocol by what it is asked for.
func (s *stream) offer() {
	base := s.server
	base.NextProtos = []string{protocolName, peerProtocol}
	s.server = base.Clone()
	s.server.GetConfigForClient = func(asked *tls.ClientHelloInfo) (*tls.Config, error) {
		config := base
		if f := base.GetConfigForClient; f != nil {
			own, err := f(asked)
			if err != nil {
				return nil, err
			}
			if own != nil {
				config = own
			}
		}
		config = config.Clone()
		config.NextProtos = nil
		for _, p := range asked.SupportedProtos {
			if p == peerProtocol || s.history.accepts(p) {
				config.NextProtos = append(config.NextProtos, p)
			}
		}
		if len(config.NextProtos) == 0 {
			return nil, fmt.Errorf("it speaks %q, and this is %s: another protocol, or a coordinator from before a recovery", asked.SupportedProtos, s.history.protocol())
		}
		return config, nil
	}
}
