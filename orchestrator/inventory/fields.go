package inventory

import (
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"drp/raftstore/state"
	"drp/runbooks/strictyaml"
)

// readResources reads a plan or a capacity. All four are required: a forgotten limit would be no limit.
func readResources(v strictyaml.Value) state.Resources {
	m, ok := v.Map("memory", "processes", "cpu", "disk")
	if !ok {
		return state.Resources{}
	}
	m.Require("memory", "memory: 256MiB")
	m.Require("processes", "processes: 100")
	m.Require("cpu", "cpu: 1")
	m.Require("disk", "disk: 1GiB")
	return state.Resources{
		Memory: m.Size("memory"), Processes: m.Int("processes", 1, math.MaxInt32), CPU: m.Number("cpu"), Disk: m.Size("disk"),
	}
}

// readPrefix reads a range for accounts that overlaps none of the others.
func readPrefix(v strictyaml.Value, others []netip.Prefix) (netip.Prefix, bool) {
	text, ok := v.Text()
	if !ok {
		return netip.Prefix{}, false
	}
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		v.Fail(fmt.Sprintf("%q is no IPv6 prefix", text), `write it as in "2001:db8:a::/48"`)
	case !unicast(p.Addr()):
		v.Fail(fmt.Sprintf("%s is no range of IPv6 addresses that can be routed", text), `write it as in "2001:db8:a::/48"`)
	case p != p.Masked():
		v.Fail(fmt.Sprintf("the prefix %s has bits set behind its length", text), fmt.Sprintf("write %q", p.Masked()))
	default:
		for _, o := range others {
			if o.Overlaps(p) {
				v.Fail(fmt.Sprintf("the prefix %s overlaps %s", p, o), "remove one of them")
				return netip.Prefix{}, false
			}
		}
		return p, true
	}
	return netip.Prefix{}, false
}

// unicast reports whether an address is IPv6 and can be one account's in a routed network.
func unicast(a netip.Addr) bool {
	return a.Is6() && !a.Is4In6() && a.Zone() == "" && !a.IsMulticast() && !a.IsLinkLocalUnicast() && !a.IsLoopback() && !a.IsUnspecified()
}

func readAddress(v strictyaml.Value) (netip.Addr, bool) {
	text, ok := v.Text()
	if !ok {
		return netip.Addr{}, false
	}
	if p, err := netip.ParsePrefix(text); err == nil && p.Addr().Is6() {
		v.Fail(fmt.Sprintf("%s is a prefix, not an address", text), fmt.Sprintf("write %q", p.Addr()))
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		v.Fail(fmt.Sprintf("%q is no IPv6 address", text), `write it as in "2001:db8:a::100"`)
	case a.Is4() || a.Is4In6():
		v.Fail(fmt.Sprintf("%s is an IPv4 address", text), "accounts have IPv6 addresses from the provider's prefixes")
	case !unicast(a):
		v.Fail(fmt.Sprintf("%s is no IPv6 address that can be routed", text), "take one from the provider's prefixes")
	default:
		return a, true
	}
	return netip.Addr{}, false
}

// readGateway reads the URL of a site's gateway.
func readGateway(v strictyaml.Value, others []string) (string, bool) {
	text, ok := v.Text()
	if !ok {
		return "", false
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || !goodHost(u, true) || (u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		v.Fail(fmt.Sprintf("%q is no URL of a gateway", text), `write it as in "https://[2001:db8:f001::30]:7460"`)
		return "", false
	}
	text = "https://" + u.Host
	if slices.Contains(others, text) {
		v.Fail(text+" is there twice", "remove one of them")
		return "", false
	}
	return text, true
}

var bucketForm = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

func readStore(v strictyaml.Value) *state.Store {
	m, ok := v.Map("endpoint", "bucket", "region")
	if !ok {
		return nil
	}
	s := &state.Store{Region: m.Text("region")}
	if m.Require("endpoint", `endpoint: "https://s3.par1.example"`) {
		v, _ := m.Field("endpoint")
		if text, ok := v.Text(); ok {
			u, err := url.Parse(text)
			switch {
			case err == nil && u.User != nil:
				v.Fail("a key does not belong into the inventory", "write it into the site's own configuration")
			case err != nil || (u.Scheme != "https" && u.Scheme != "http") || !goodHost(u, false) || (u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.Fragment != "":
				v.Fail(fmt.Sprintf("%q is no URL of an S3 store", text), `write it as in "https://s3.par1.example"`)
			default:
				s.Endpoint = u.Scheme + "://" + u.Host
			}
		}
	}
	if m.Require("bucket", "bucket: drp-par1") {
		v, _ := m.Field("bucket")
		if text, ok := v.Text(); ok {
			if !bucketForm.MatchString(text) {
				v.Fail(fmt.Sprintf("%q is no name of a bucket", text), "it has 3 to 63 of a-z, 0-9, - and .")
			}
			s.Bucket = text
		}
	}
	return s
}

func goodHost(u *url.URL, wantPort bool) bool {
	if u.Hostname() == "" || strings.HasSuffix(u.Host, ":") || (wantPort && u.Port() == "") {
		return false
	}
	if u.Port() == "" {
		return true
	}
	n, err := strconv.ParseUint(u.Port(), 10, 16)
	return err == nil && n > 0
}
