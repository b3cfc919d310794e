package orchestrator

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Quorum is the arithmetic of a set of voters.
type Quorum struct {
	Voters    int `json:"voters"`
	Needed    int `json:"needed"`    // so many have to answer, or nothing is decided
	Answering int `json:"answering"` // of the voters
	Survives  int `json:"survives"`  // so many more may fail at the same time; negative: nothing can be decided now
}

func newQuorum(voters, answering int) Quorum {
	needed := voters/2 + 1
	return Quorum{Voters: voters, Needed: needed, Answering: answering, Survives: answering - needed}
}

// QuorumOf counts the voters among members.
func QuorumOf(members []Member) Quorum {
	voters, answering := 0, 0
	for _, m := range members {
		if m.Votes() {
			voters++
			if m.Answers {
				answering++
			}
		}
	}
	return newQuorum(voters, answering)
}

// String is one line for a person.
func (q Quorum) String() string {
	return fmt.Sprintf("%s, %d needed, %d answering: %s", count(q.Voters, "voter"), q.Needed, q.Answering, q.survival())
}

func (q Quorum) survival() string {
	switch {
	case q.Survives < 0:
		return "nothing can be decided"
	case q.Survives == 0:
		return "no further failure is survived"
	}
	return "the failure of " + count(q.Survives, "more") + " is survived"
}

// Warnings say what is wrong with the numbers.
func (q Quorum) Warnings() []string {
	var all []string
	if q.Voters > 0 && q.Voters%2 == 0 {
		all = append(all, fmt.Sprintf("the number of voters is even: %d survive no more failures than %d do, and there is one more that can fail; add or remove one",
			q.Voters, q.Voters-1))
	}
	if q.Voters > 1 && q.Survives == 0 {
		all = append(all, fmt.Sprintf("%d of %d voters answer and %d are needed: the next failure stops every decision", q.Answering, q.Voters, q.Needed))
	}
	return all
}

func count(n int, what string) string {
	if n != 1 && what != "more" {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// RemovalPlan says what the removal of a coordinator means, before anybody agrees to it.
type RemovalPlan struct {
	Name   string     `json:"name"`
	Role   MemberRole `json:"role"`
	Before Quorum     `json:"before"`
	After  Quorum     `json:"after"`
	// Refused is why it cannot be done at all. Empty: it can.
	Refused string `json:"refused,omitempty"`
	// Doubts speak against it; with any, a person has to type the name whatever else was said before.
	Doubts []string `json:"doubts,omitempty"`
	// Consequences are what follows from it, and what is left to do for a person.
	Consequences []string `json:"consequences"`
	// Hash binds an agreement to this plan: who votes, and who of them answers.
	Hash string `json:"hash"`
}

// RemovalOf says what a removal means, given all members as the leader sees them.
func RemovalOf(members []Member, name string) (*RemovalPlan, error) {
	leaving := find(members, name)
	if leaving == nil {
		return nil, unknownMember(name, members)
	}
	rest := slices.DeleteFunc(slices.Clone(members), func(m Member) bool { return m.Name == leaving.Name })
	p := &RemovalPlan{Name: leaving.Name, Role: leaving.Role, Before: QuorumOf(members), After: QuorumOf(rest), Hash: removalHash(members, leaving.Name)}
	var silent []string
	for _, m := range rest {
		if m.Votes() && !m.Answers {
			silent = append(silent, m.Name)
		}
	}
	switch {
	case !leaving.Votes():
	case p.After.Voters == 0:
		p.Refused = fmt.Sprintf("%s is the only voter: without it there is no cluster and no state", leaving.Name)
	case p.After.Survives < 0:
		p.Refused = fmt.Sprintf("of the %s that stay %d answer and %d are needed, so nothing could be decided any more, not even to undo this; silent: %s",
			count(p.After.Voters, "voter"), p.After.Answering, p.After.Needed, strings.Join(silent, ", "))
	case leaving.Answers && len(silent) > 0:
		p.Doubts = append(p.Doubts, fmt.Sprintf("%s answers, and %s %s silent: is that not the one to remove?", leaving.Name, strings.Join(silent, ", "), isAre(silent)))
	}
	if leaving.Votes() {
		p.Consequences = append(p.Consequences, p.After.Warnings()...)
	}
	if leaving.Role == RoleLeader {
		p.Consequences = append(p.Consequences, leaving.Name+" leads: another voter is made the leader first, by itself")
	}
	p.Consequences = append(p.Consequences,
		"every secret is sealed anew, to the coordinators that stay and to the offline recipients",
		fmt.Sprintf("its certificate stays good until it expires: revoke it (drp ca revoke coordinator/%s)", leaving.Name),
		fmt.Sprintf("the machine of %s must never be started again with its old directory, nor with a copy of it: that remembers who the coordinators were. "+
			"Two such machines would be a majority of three, and a second cluster that gives out the same tokens. Empty the directory before the machine is used again", leaving.Name))
	return p, nil
}

func isAre(subjects []string) string {
	if len(subjects) == 1 {
		return "is"
	}
	return "are"
}

// removalHash leaves out who leads: a removal of the leader goes on under the next one.
func removalHash(members []Member, leaving string) string {
	type line struct {
		Name           string
		Votes, Answers bool
	}
	lines := []any{leaving}
	for _, m := range members {
		lines = append(lines, line{m.Name, m.Votes(), m.Answers})
	}
	data, err := json.Marshal(lines)
	if err != nil {
		panic("orchestrator: encode members: " + err.Error()) // plain values
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:12])
}
