package guard

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"

	"drp/raftstore/state"
)

// Status is what the guard tells of itself.
type Status struct {
	Server   state.ServerName `json:"server"`
	Routes   []Announced      `json:"routes"`   // sorted by address
	Sessions []Session        `json:"sessions"` // in the order of the configuration
}

// Announced is a route and the preference that goes with it.
type Announced struct {
	Route
	Preference uint32 `json:"preference"`
}

// Established is the state of a session over which the routes have been sent.
const Established = "established"

// Session is how it stands with one router: "connecting", "opening" or Established.
type Session struct {
	Router netip.Addr `json:"router"`
	State  string     `json:"state"`
}

// order is the body of PUT /routes/ADDRESS.
type order struct {
	Account state.AccountName `json:"account"`
	Token   state.Token       `json:"token"`
}

// handler serves the socket:
//
//	PUT    /routes/ADDRESS                           {"account", "token"}: announce
//	DELETE /routes/ADDRESS?account=NAME&token=I.G    withdraw
//	GET    /routes[?account=NAME]                    Status, with the routes of all accounts or of one
//	GET    /tokens                                   the highest token seen of each account
func handler(cfg Config, b *book, s *speaker, logger *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /routes", func(w http.ResponseWriter, r *http.Request) {
		states, err := s.sessions(r.Context())
		if err != nil {
			refuse(w, err)
			return
		}
		status := Status{Server: cfg.Server, Routes: []Announced{}, Sessions: []Session{}}
		only := state.AccountName(r.URL.Query().Get("account"))
		for _, route := range b.list() {
			if only != "" && route.Account != only {
				continue
			}
			preference, err := Preference(route.Token)
			if err != nil {
				refuse(w, err)
				return
			}
			status.Routes = append(status.Routes, Announced{route, preference})
		}
		for _, router := range cfg.Routers {
			status.Sessions = append(status.Sessions, Session{router, states[router]})
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(status)
	})
	mux.HandleFunc("GET /tokens", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(b.tokensSeen())
	})
	mux.HandleFunc("PUT /routes/{address}", func(w http.ResponseWriter, r *http.Request) {
		var o order
		body := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16))
		body.DisallowUnknownFields()
		if err := body.Decode(&o); err != nil {
			refuse(w, fmt.Errorf("%w: read order: %w", ErrBadRequest, err))
			return
		}
		carryOut(w, r, o, "announce", b.announce, logger)
	})
	mux.HandleFunc("DELETE /routes/{address}", func(w http.ResponseWriter, r *http.Request) {
		token, err := state.ParseToken(r.URL.Query().Get("token"))
		if err != nil {
			refuse(w, fmt.Errorf("%w: %w", ErrBadRequest, err))
			return
		}
		o := order{Account: state.AccountName(r.URL.Query().Get("account")), Token: token}
		carryOut(w, r, o, "withdraw", b.withdraw, logger)
	})
	return mux
}

func carryOut(w http.ResponseWriter, r *http.Request, o order, verb string, do func(Route) error, logger *slog.Logger) {
	ip, err := netip.ParseAddr(r.PathValue("address"))
	if err != nil {
		refuse(w, fmt.Errorf("%w: %w", ErrBadRequest, err))
		return
	}
	if err := do(Route{Address: ip, Account: o.Account, Token: o.Token}); err != nil {
		logger.Warn("order refused", "order", verb, "address", ip, "account", o.Account, "token", o.Token.String(), "cause", err)
		refuse(w, err)
		return
	}
	logger.Info(verb, "address", ip, "account", o.Account, "token", o.Token.String())
	w.WriteHeader(http.StatusNoContent)
}

func refuse(w http.ResponseWriter, err error) {
	status, p := problemOf(err)
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(p)
}
