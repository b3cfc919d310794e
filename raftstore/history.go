package raftstore

import (
	"crypto/tls"
	"fmt"
	"slices"
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

// protocols are what raft asks for when it dials, best first. A cluster that was never recovered may have members that are
// too old to know of incarnations.
func (h *history) protocols() []string {
	switch n := h.incarnation(); n {
	case 0:
		return []string{protocolName}
	case 1:
		return []string{ofIncarnation(n), protocolName}
	default:
		return []string{ofIncarnation(n)}
	}
}

func ofIncarnation(n uint64) string { return protocolName + "+" + strconv.FormatUint(n, 10) }

// choose picks from what is asked for, or nothing: the other side is of another history.
func (h *history) choose(asked []string) (string, bool) {
	if slices.Contains(asked, peerProtocol) {
		return peerProtocol, true
	}
	named := slices.IndexFunc(asked, func(p string) bool { return strings.HasPrefix(p, protocolName+"+") })
	switch n := h.incarnation(); {
	case named >= 0 && (n == 0 || asked[named] == ofIncarnation(n)):
		return asked[named], true
	case named < 0 && n <= 1 && slices.Contains(asked, protocolName):
		return protocolName, true
	}
	return "", false
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
		protocol, ok := s.history.choose(asked.SupportedProtos)
		if !ok {
			return nil, fmt.Errorf("it asks for %q, and this is a raft port of incarnation %d: another service was meant, or a coordinator from before a recovery comes back",
				asked.SupportedProtos, s.history.incarnation())
		}
		config = config.Clone()
		config.NextProtos = []string{protocol}
		return config, nil
	}
}
