package guard

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/osrg/gobgp/v4/pkg/server"
)

const (
	// A server that falls silent loses its routes after this. Three keepalives may be lost.
	holdTime          = 9
	keepaliveInterval = 3
	// How long a router keeps the routes of a guard that is away.
	restartTime = 60
	// How long a guard that was restarted waits for the routers' end-of-RIB marks before it announces. It wants no
	// routes of them, so this only bounds how long a router that is down can hold up the others.
	deferralTime = 1
	// How long until the next attempt at a router that does not answer, and after a session that ended.
	connectRetry = 2
	idleHold     = 1
)

// speaker is the BGP side of a guard.
type speaker struct {
	local netip.Addr
	bgp   *server.BgpServer
}

// startSpeaker announces the routes that are there from before, and dials the routers.
func startSpeaker(ctx context.Context, cfg Config, routes []Route, logger *slog.Logger) (*speaker, error) {
	level := new(slog.LevelVar)
	level.Set(slog.LevelWarn)
	s := &speaker{
		local: cfg.Local,
		bgp:   server.NewBgpServer(server.LoggerOption(slog.New(quiet{logger.Handler()}), level)),
	}
	go s.bgp.Serve()
	if err := s.bgp.StartBgp(ctx, &api.StartBgpRequest{Global: &api.Global{
		Asn:        cfg.AS,
		RouterId:   cfg.RouterID,
		ListenPort: -1, // it dials; nobody dials it
	}}); err != nil {
		return nil, fmt.Errorf("start BGP: %w", err)
	}
	if err := s.start(ctx, cfg, routes, logger); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

func (s *speaker) start(ctx context.Context, cfg Config, routes []Route, logger *slog.Logger) error {
	// Whatever a router sends is not wanted, even if that is the whole internet by mistake. The library asks the
	// import policy about its own routes too.
	own := &api.Policy{Name: "own-routes-only", Statements: []*api.Statement{{
		Name:       "own",
		Conditions: &api.Conditions{RouteType: api.Conditions_ROUTE_TYPE_LOCAL},
		Actions:    &api.Actions{RouteAction: api.RouteAction_ROUTE_ACTION_ACCEPT},
	}}}
	if err := s.bgp.AddPolicy(ctx, &api.AddPolicyRequest{Policy: own}); err != nil {
		return fmt.Errorf("add import policy: %w", err)
	}
	if err := s.bgp.SetPolicyAssignment(ctx, &api.SetPolicyAssignmentRequest{Assignment: &api.PolicyAssignment{
		Direction:     api.PolicyDirection_POLICY_DIRECTION_IMPORT,
		Policies:      []*api.Policy{own},
		DefaultAction: api.RouteAction_ROUTE_ACTION_REJECT,
	}}); err != nil {
		return fmt.Errorf("set import policy: %w", err)
	}
	if err := s.bgp.WatchEvent(ctx, server.WatchEventMessageCallbacks{OnPeerUpdate: logSessions(logger)}, server.WatchPeer()); err != nil {
		return fmt.Errorf("watch sessions: %w", err)
	}
	// Routes before peers, so that the first update is complete.
	for _, r := range routes {
		if err := s.announce(r); err != nil {
			return fmt.Errorf("announce %s again: %w", r.Address, err)
		}
	}
	for _, router := range cfg.Routers {
		if err := s.bgp.AddPeer(ctx, &api.AddPeerRequest{Peer: peer(cfg, router, len(routes) > 0)}); err != nil {
			return fmt.Errorf("add router %s: %w", router, err)
		}
	}
	return nil
}

// peer is the session with one router. A guard that comes back with routes is restarting: only then does GoBGP set
// the flags "restart state" and "forwarding state" in its OPEN, without which the router drops the routes that it
// has kept as soon as the session is up, before it hears of them again.
func peer(cfg Config, router netip.Addr, restarting bool) *api.Peer {
	return &api.Peer{
		Conf: &api.PeerConf{NeighborAddress: router.String(), PeerAsn: cfg.AS},
		Timers: &api.Timers{Config: &api.TimersConfig{
			HoldTime:               holdTime,
			KeepaliveInterval:      keepaliveInterval,
			ConnectRetry:           connectRetry,
			IdleHoldTimeAfterReset: idleHold,
		}},
		Transport: &api.Transport{LocalAddress: cfg.Local.String()},
		GracefulRestart: &api.GracefulRestart{
			Enabled:             true,
			RestartTime:         restartTime,
			NotificationEnabled: true,
			DeferralTime:        deferralTime,
			LocalRestarting:     restarting,
		},
		AfiSafis: []*api.AfiSafi{{
			Config:            &api.AfiSafiConfig{Family: &api.Family{Afi: api.Family_AFI_IP6, Safi: api.Family_SAFI_UNICAST}, Enabled: true},
			MpGracefulRestart: &api.MpGracefulRestart{Config: &api.MpGracefulRestartConfig{Enabled: true}},
		}},
	}
}

func (s *speaker) announce(r Route) error {
	path, err := s.path(r)
	if err != nil {
		return err
	}
	_, err = s.bgp.AddPath(apiutil.AddPathRequest{Paths: []*apiutil.Path{path}})
	return err
}

func (s *speaker) withdraw(r Route) error {
	path, err := s.path(r)
	if err != nil {
		return err
	}
	return s.bgp.DeletePath(apiutil.DeletePathRequest{Paths: []*apiutil.Path{path}})
}

func (s *speaker) path(r Route) (*apiutil.Path, error) {
	preference, err := Preference(r.Token)
	if err != nil {
		return nil, err
	}
	prefix, err := bgp.NewIPAddrPrefix(netip.PrefixFrom(r.Address, 128))
	if err != nil {
		return nil, err
	}
	reach, err := bgp.NewPathAttributeMpReachNLRI(bgp.RF_IPv6_UC, []bgp.PathNLRI{{NLRI: prefix}}, s.local)
	if err != nil {
		return nil, err
	}
	return &apiutil.Path{
		Family: bgp.RF_IPv6_UC,
		Nlri:   prefix,
		Attrs: []bgp.PathAttributeInterface{
			bgp.NewPathAttributeOrigin(bgp.BGP_ORIGIN_ATTR_TYPE_IGP),
			reach,
			bgp.NewPathAttributeLocalPref(preference),
		},
	}, nil
}

// sessions tells how it stands with each router, in the order of the addresses.
func (s *speaker) sessions(ctx context.Context) (map[netip.Addr]string, error) {
	states := map[netip.Addr]string{}
	err := s.bgp.ListPeer(ctx, &api.ListPeerRequest{}, func(p *api.Peer) {
		if ip, err := netip.ParseAddr(p.GetState().GetNeighborAddress()); err == nil {
			states[ip] = sessionState(p.GetState().GetSessionState())
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	return states, nil
}

// stop ends the sessions without a notification: for the routers the guard is away and will be back.
func (s *speaker) stop() error {
	return s.bgp.StopBgp(context.Background(), &api.StopBgpRequest{AllowGracefulRestart: true})
}

// logSessions says when a session comes and goes. The library calls it from one goroutine.
func logSessions(logger *slog.Logger) func(*apiutil.WatchEventMessage_PeerEvent, time.Time) {
	up := map[netip.Addr]bool{}
	return func(e *apiutil.WatchEventMessage_PeerEvent, _ time.Time) {
		router, now := e.Peer.State.NeighborAddress, e.Peer.State.SessionState == bgp.BGP_FSM_ESTABLISHED
		switch {
		case e.Type != apiutil.PEER_EVENT_STATE || now == up[router]:
		case now:
			logger.Info("session established", "router", router)
		default:
			logger.Warn("session lost", "router", router, "cause", e.Peer.State.DisconnectReason.String())
		}
		if e.Type == apiutil.PEER_EVENT_STATE {
			up[router] = now
		}
	}
}

func sessionState(s api.PeerState_SessionState) string {
	switch s {
	case api.PeerState_SESSION_STATE_ESTABLISHED:
		return Established
	case api.PeerState_SESSION_STATE_OPENSENT, api.PeerState_SESSION_STATE_OPENCONFIRM:
		return "opening"
	default:
		return "connecting"
	}
}

// quiet lets only warnings and errors of the BGP library through; what matters of the rest is logged here.
type quiet struct{ slog.Handler }

func (q quiet) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && q.Handler.Enabled(ctx, level)
}
func (q quiet) WithAttrs(a []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(a)} }
func (q quiet) WithGroup(g string) slog.Handler      { return quiet{q.Handler.WithGroup(g)} }
