package lab

import (
	"fmt"
	"strings"
	"text/template"
)

// The routers run Debian's BIRD, configured as a provider would:
//
//   - Babel carries the infrastructure alone: LANs, loopbacks and links. A link that goes down is seen at once, a silent
//     one after a few seconds. (OSPF in BIRD changes its mind about its own links once in five seconds at most, so that each
//     start and each healed cut took that long.)
//   - Each router is route reflector for the guards of its LAN, and speaks iBGP with the other routers from loopback to
//     loopback with itself as next hop. A site that died takes its loopback with it; its routes are then unreachable and lose
//     against any other, long before a session's hold time ends.
//   - Each originates the covering prefix to the internet; only the platform's routers know the /128 of accounts.
//   - Kernel routes have one next hop each, so that one account never answers from two places.
const routerConfig = `log stderr all;
router id {{.ID}};
graceful restart wait 5;

protocol device { scan time 2; }
protocol direct { ipv6; interface "lan", "lo"; check link yes; }
protocol static covering { ipv6; route {{.Covering}} unreachable; }
protocol kernel {
	ipv6 { import none; export where source != RTS_DEVICE; };
	learn no;
	merge paths no;
}

protocol babel infrastructure {
	ipv6 { import all; export where source = RTS_DEVICE || source = RTS_BABEL; };
{{- range .Mesh}}
	interface "to-{{.Site}}" { type wired; hello interval 1 s; update interval 4 s; check link yes; };
{{- end}}
}

template bgp site {
	local {{.Loopback}} as {{.AS}};
	multihop;
	hold time 9; keepalive time 3;
	connect delay time 1; connect retry time 1; error wait time 1, 2;
	graceful restart no; long lived graceful restart no;
	ipv6 { import all; export where source = RTS_BGP; next hop self; };
}
{{range .Mesh}}
protocol bgp {{.Site}} from site { neighbor {{.Loopback}} as {{$.AS}}; }
{{- end}}

protocol bgp guards {
	local {{.LAN}} as {{.AS}};
	neighbor range {{.Network}} as {{.AS}};
	dynamic name "guard";
	rr client;
	direct;
	graceful restart aware;
	error wait time 1, 2; # a server that is back is not kept waiting for the default of a minute
	ipv6 {
		import where net ~ {{.Covering}} && net.len = 128;
		export filter { reject; }; # not "export none": a guard waits for the end-of-RIB mark
	};
}

protocol bgp inet {
	local {{.Uplink}} as {{.AS}};
	neighbor {{.Transit}} as {{.TransitAS}};
	check link yes;
	hold time 9; keepalive time 3;
	connect delay time 1; connect retry time 1; error wait time 1, 2;
	graceful restart no;
	ipv6 {
		import where net = {{.ClientNetwork}};
		export where proto = "covering";
	};
}
`

// The internet prefers the uplink of par1, then par2, then par3: the same one each time, so that a scenario means the
// same in every run. The client's requests come in at par1 as long as its uplink is there.
const transitConfig = `log stderr all;
router id {{.ID}};

protocol device { scan time 2; }
protocol direct { ipv6; check link yes; }
protocol static customers { ipv6; route {{.ClientNetwork}} unreachable; }
protocol kernel {
	ipv6 { import none; export where source = RTS_BGP; };
	learn no;
	merge paths no;
}
{{range .Sites}}
protocol bgp {{.Site}} {
	local {{.Local}} as {{$.TransitAS}};
	neighbor {{.Neighbor}} as {{$.AS}};
	check link yes;
	hold time 9; keepalive time 3;
	connect delay time 1; connect retry time 1; error wait time 1, 2;
	graceful restart no;
	ipv6 {
		import filter { if net != {{$.Covering}} then reject; bgp_local_pref = {{.Preference}}; accept; };
		export where proto = "customers";
	};
}
{{end}}`

type meshNeighbor struct{ Site, Loopback string }

type uplinkNeighbor struct {
	Site, Local, Neighbor string
	Preference            int
}

// birdConfig writes the configuration of a router.
func (t *topology) birdConfig(h Host) (string, error) {
	common := map[string]any{
		"ID":            h.Identifier,
		"AS":            platformAS,
		"TransitAS":     transitAS,
		"Covering":      covering,
		"ClientNetwork": clientNetwork,
	}
	text := routerConfig
	if h.Role == Transit {
		text = transitConfig
		var list []uplinkNeighbor
		for i, s := range t.sites {
			list = append(list, uplinkNeighbor{
				Site: s.name, Local: uplinkAddress(s, 2).Addr().String(), Neighbor: uplinkAddress(s, 1).Addr().String(),
				Preference: 300 - 50*i,
			})
		}
		common["Sites"] = list
	} else {
		own, ok := t.site(h.Site)
		if !ok {
			return "", fmt.Errorf("configure router %s: no site %q", h.Name, h.Site)
		}
		var list []meshNeighbor
		for _, s := range t.sites {
			if s.name != own.name {
				list = append(list, meshNeighbor{Site: s.name, Loopback: s.loopback().String()})
			}
		}
		common["Mesh"] = list
		common["Loopback"] = own.loopback()
		common["LAN"] = own.address(1)
		common["Network"] = own.network()
		common["Uplink"] = uplinkAddress(own, 1).Addr()
		common["Transit"] = uplinkAddress(own, 2).Addr()
	}
	tmpl, err := template.New(h.Name).Parse(text)
	if err != nil {
		return "", fmt.Errorf("configure router %s: %w", h.Name, err)
	}
	var b strings.Builder
	if err := tmpl.Execute(&b, common); err != nil {
		return "", fmt.Errorf("configure router %s: %w", h.Name, err)
	}
	return b.String(), nil
}
