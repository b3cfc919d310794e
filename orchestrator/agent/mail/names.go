package mail

import (
	"path"
	"strings"
)

// longestName is the kernel's limit.
const longestName = 255

// splitName takes a message's name apart: what it is known by for ever, and its flags with the mark before them.
func splitName(name string) (base, flags string) {
	if at := strings.IndexByte(name, ':'); at >= 0 {
		return name[:at], name[at:]
	}
	return name, ""
}

// mostFlags is room for them in a name that is made. What it is known by must not depend on them.
const mostFlags = 64

// besideMessage makes what a message is known by whose name another one has. Its size fields stay true.
func besideMessage(base, sum string) string {
	unique, fields := base, ""
	if at := strings.IndexByte(base, ','); at >= 0 {
		unique, fields = base[:at], base[at:]
	}
	return shortened(longestName-mostFlags, unique, ".restored-"+sum, fields)
}

// besideFile names a file that is kept beside one of its name. A Sieve filter keeps its ending, so that it can be chosen.
func besideFile(name, sum string) string {
	ending := path.Ext(name)
	if ending == name {
		ending = ""
	}
	return shortened(longestName, strings.TrimSuffix(name, ending), ".restored-"+sum, ending)
}

// shortened cuts the last part of a name that would be too long where it leaves no room, and then the first one.
func shortened(longest int, first, middle, last string) string {
	last = last[:min(len(last), longest-len(middle))]
	return first[:min(len(first), longest-len(middle)-len(last))] + middle + last
}

// derived are files that Dovecot makes anew when they are missing, and of which an old one would be wrong.
func derived(name string) bool {
	for _, begins := range []string{"dovecot.index", "dovecot.list.index", "dovecot.mailbox.log", "dovecot-uidlist.", "maildirsize"} {
		if strings.HasPrefix(name, begins) {
			return true
		}
	}
	// Its UIDs are of messages that came and went without this target. Without it new ones are given.
	return name == "dovecot-uidlist" || strings.HasPrefix(name, "dovecot-uidvalidity") || strings.HasSuffix(name, ".svbin")
}

// counted are files of which the target's own is the right one, whatever another says.
func counted(name string) bool {
	return derived(name) || strings.HasPrefix(name, "dovecot-") || name == "subscriptions"
}
