// Package guard tells a site's routers which accounts' addresses are on this server.
//
// It is a process of its own (`drp guard`) beside the agent, so that an agent that dies or is upgraded moves no
// packet. The agent orders by a local unix socket; the guard speaks BGP (iBGP, it dials out and listens nowhere)
// and decides nothing by itself. In particular it never withdraws a route by itself: a failing health check that
// did so would leave the field to a stale twin.
//
// # What is kept where
//
//   - Data/tokens.json: the highest token seen of each account. It is on disk (fsync) before a route is announced, and
//     survives everything: an order with a lower token is stale and refused.
//   - Run/routes.json: what is announced. Run has to be a tmpfs. A guard that was restarted announces the same
//     again at once; after a boot it announces nothing until it is told to.
//
// # Restarts
//
// While the guard is away the routers keep its routes for RestartTime: graceful restart (RFC 4724). That holds when
// the connection just ends, as it does with kill -9 and with SIGTERM (Run sends no notification). It does not
// hold when the server falls silent: then the hold time ends and the routes go. A guard that starts with routes in
// Run says in its OPEN that forwarding went on, so that the router never drops them in between; one that starts with none
// does not say it, so that the router drops what it still has of the last boot. (A guard that lives on while a
// connection breaks does not say it either, for GoBGP says it once per process: the router then drops its routes when the
// session is back, and has them again some milliseconds later.)
//
// # Preference
//
// The local preference orders the announcements of one address by their tokens: see Preference. It does not cross
// eBGP, so all routers and guards are in one AS.
//
// # The router's side
//
// testdata/router.conf is a configuration for BIRD 2 with everything that this needs; the tests run it. In short:
//
//   - an iBGP session for each server: "rr client" (or a router keeps to itself what it has from a server),
//     "passive" (the guard does not listen), "export filter { reject; }" (the guard wants no routes; unlike "export none"
//     that still sends the end-of-RIB mark);
//   - iBGP between all routers with "next hop self": the servers' networks are only known at their own site;
//   - "protocol direct", for the next hops of iBGP are looked up in the router's table;
//   - an import filter for servers that takes single addresses of the provider's range and nothing else.
package guard
