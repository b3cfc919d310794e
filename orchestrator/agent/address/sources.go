package address

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
)

// The table has one chain at the hook, one map from interface to chain, and one chain for each account. Each
// script is one transaction, so that there is no moment without a check; and each works from nothing, so that it
// also puts right what somebody else has flushed.

// base sends what comes from an account's veth through that account's chain; without one it is dropped.
const base = `
table inet drp {
	map accounts { type ifname : verdict; }
	chain source { type filter hook prerouting priority raw; policy accept; }
}
flush chain inet drp source
add rule inet drp source iifname vmap @accounts
add rule inet drp source iifname "drp*" counter drop
`

// checkSources lets packets from the veth pass only when they bear one of the account's addresses. Neighbour
// discovery may also come from the link-local address that the kernel gives eth0.
func checkSources(ctx context.Context, veth string, addresses []netip.Addr) error {
	list := make([]string, len(addresses))
	for i, ip := range addresses {
		list[i] = ip.String()
	}
	script := base + strings.NewReplacer("VETH", veth, "ADDRESSES", strings.Join(list, ", ")).Replace(`
add chain inet drp VETH
flush chain inet drp VETH
add rule inet drp VETH icmpv6 type { nd-router-advert, nd-redirect } counter drop
add rule inet drp VETH ip6 saddr { ADDRESSES } accept
add rule inet drp VETH ip6 saddr fe80::/10 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
add rule inet drp VETH counter drop
add element inet drp accounts { "VETH" : goto VETH }
`)
	if err := nft(ctx, script); err != nil {
		return fmt.Errorf("set source check of %s: %w", veth, err)
	}
	return nil
}

// dropSources forgets an account's chain. Adding it first makes deleting it work when it is not there.
func dropSources(ctx context.Context, veth string) error {
	script := base + strings.ReplaceAll(`
add chain inet drp VETH
add element inet drp accounts { "VETH" : goto VETH }
delete element inet drp accounts { "VETH" }
delete chain inet drp VETH
`, "VETH", veth)
	if err := nft(ctx, script); err != nil {
		return fmt.Errorf("delete source check of %s: %w", veth, err)
	}
	return nil
}

// nft runs one script as one transaction, in the calling thread's network namespace.
func nft(ctx context.Context, script string) error {
	cmd := exec.CommandContext(ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		first, _, _ := strings.Cut(strings.TrimSpace(said.String()), "\n")
		return fmt.Errorf("run nft: %w: %s", err, first)
	}
	return nil
}
