package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"drp/raftstore/identity"
	"drp/raftstore/state"
)

// leaderLook is how often it is looked whether another coordinator leads by now.
const leaderLook = 50 * time.Millisecond

// Join records a coordinator and adds it as a non-voter. The record comes first: a coordinator that leads must be
// reachable, and must be able to open what is sealed. A join that was broken off is finished by the same request.
func (o *Orchestrator) Join(ctx context.Context, by string, r JoinRequest) ([]string, error) {
	view, members, err := o.changing(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("join %s: %w: %w", r.Name, err, state.ErrInvalid)
	}
	if err := r.against(members); err != nil {
		return nil, fmt.Errorf("join %s: %w: %w", r.Name, err, ErrRefused)
	}
	row := state.Member{Name: r.Name, Site: r.Site, Raft: r.Address, API: r.API, Recipient: r.Recipient}
	before := view.Member(r.Name)
	if before == nil || *before != row {
		if _, err := o.propose(ctx, by, state.MemberSet, state.MemberSetData{Member: row}); err != nil {
			return nil, fmt.Errorf("join %s: record it: %w", r.Name, err)
		}
	}
	if err := o.config.Membership.Add(ctx, r.Name, r.Address); err != nil {
		return nil, o.undoJoin(ctx, by, r.Name, before, members, fmt.Errorf("join %s: %w", r.Name, err))
	}
	q := QuorumOf(members)
	if m := find(members, r.Name); m == nil || !m.Votes() {
		q = newQuorum(q.Voters+1, q.Answering+1)
	}
	return q.Warnings(), nil
}

// undoJoin takes the record back of a coordinator that certainly was not added, and that was not known before.
func (o *Orchestrator) undoJoin(ctx context.Context, by, name string, before *state.Member, members []Member, cause error) error {
	if before != nil || find(members, name) != nil || errors.Is(cause, ErrUnknownOutcome) || errors.Is(cause, ErrNotLeader) || ctx.Err() != nil {
		return cause
	}
	if _, err := o.propose(ctx, by, state.MemberRemove, state.MemberRemoveData{Name: name}); err != nil {
		return fmt.Errorf("%w (and its record stays: %w)", cause, err)
	}
	return cause
}

var memberName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{0,62}$`)

// check judges a request by itself.
func (r JoinRequest) check() error {
	if !memberName.MatchString(r.Name) {
		return fmt.Errorf("%q is no name of a coordinator: small letters, digits, dots and dashes", r.Name)
	}
	if r.Site == "" {
		return errors.New("its site is missing")
	}
	if err := CheckPlace(r.Address, r.API); err != nil {
		return err
	}
	if _, err := identity.ParseAgeRecipient(r.Recipient); err != nil {
		return fmt.Errorf("%w, as drp server init --join prints it", err)
	}
	return nil
}

// CheckPlace says what is wrong with where a coordinator is to be reached: its Raft port, and its API.
func CheckPlace(address, api string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("address %q: want HOST:PORT of its Raft port", address)
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		return fmt.Errorf("address %q: the others cannot reach it there", address)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("address %q: %q is no port", address, port)
	}
	u, err := url.Parse(api)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.Port() == "" || u.Path != "" {
		return fmt.Errorf("API %q: want https://HOST:PORT", api)
	}
	if u.Host == address {
		return fmt.Errorf("API %q: that is its Raft port", api)
	}
	return nil
}

// against judges a request by the members that there are.
func (r JoinRequest) against(members []Member) error {
	for _, m := range members {
		switch {
		case m.Name == r.Name && m.Role != RoleUnfinished && m.Address != r.Address:
			return fmt.Errorf("%s is a member already, at %s. A new machine gets a new name: join it under that, and then remove %s. "+
				"Under one name two machines would have two votes", m.Name, m.Address, m.Name)
		case m.Name != r.Name && m.Address == r.Address:
			return fmt.Errorf("%s is the address of %s; if that one is gone for good, remove it first", r.Address, m.Name)
		case m.Name != r.Name && m.API == r.API:
			return fmt.Errorf("%s is the API of %s; if that one is gone for good, remove it first", r.API, m.Name)
		case m.Name != r.Name && m.Recipient == r.Recipient:
			return fmt.Errorf("its age key is that of %s: each coordinator has its own, or the removal of one would not shut it out", m.Name)
		}
	}
	return nil
}

// PlanRemoval says what a removal would mean. It changes nothing.
func (o *Orchestrator) PlanRemoval(ctx context.Context, name string) (*RemovalPlan, error) {
	_, members, err := o.changing(ctx)
	if err != nil {
		return nil, err
	}
	return RemovalOf(members, name)
}

// RemoveMember removes a coordinator if that still means what the plan said. The leader makes another one lead first, and
// then answers ErrNotLeader, so that the request goes on there.
func (o *Orchestrator) RemoveMember(ctx context.Context, by, name, planHash string) error {
	view, members, err := o.changing(ctx)
	if err != nil {
		return err
	}
	plan, err := RemovalOf(members, name)
	if err != nil {
		return err
	}
	switch {
	case plan.Refused != "":
		return fmt.Errorf("remove %s: %s: %w", name, plan.Refused, ErrRefused)
	case plan.Role == RoleUnfinished:
	case plan.Hash != planHash:
		return fmt.Errorf("remove %s: who votes, or who of them answers, is not as in the plan that was shown; look at it again: %w", name, ErrRefused)
	case plan.Role == RoleLeader:
		return o.stepAside(ctx, name)
	default:
		if why := removalLoses(view, withoutMember(members, name)); why != "" {
			return fmt.Errorf("remove %s: %s: %w", name, why, ErrRefused)
		}
		if err := o.note(ctx, by, "remove coordinator", name, plan.After.String()); err != nil {
			return fmt.Errorf("remove %s: %w", name, err)
		}
		if err := o.config.Membership.Remove(ctx, name); err != nil {
			return fmt.Errorf("remove %s: %w", name, err)
		}
	}
	if view.Member(name) == nil {
		return nil
	}
	if _, err := o.propose(ctx, by, state.MemberRemove, state.MemberRemoveData{Name: name}); err != nil {
		return fmt.Errorf("remove %s: it is no member any more; remove its record: %w", name, err)
	}
	return nil
}

// withoutMember are the names of those that Raft's configuration has beside one.
func withoutMember(members []Member, name string) []string {
	var names []string
	for _, m := range members {
		if m.Name != name && m.Role != RoleUnfinished {
			names = append(names, m.Name)
		}
	}
	return names
}

func (o *Orchestrator) stepAside(ctx context.Context, name string) error {
	if err := o.config.Membership.Transfer(ctx, ""); err != nil {
		return fmt.Errorf("remove %s: it leads, and no other could be made the leader: %w", name, err)
	}
	if _, err := o.successor(ctx); err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return fmt.Errorf("remove %s: it leads no more, and the next leader removes it: %w", name, ErrNotLeader)
}

// Transfer makes another voter the leader.
func (o *Orchestrator) Transfer(ctx context.Context, by, to string) (string, error) {
	_, members, err := o.changing(ctx)
	if err != nil {
		return "", err
	}
	if to == o.config.Name {
		return to, nil
	}
	if to != "" {
		if err := mayLead(members, to); err != nil {
			return "", fmt.Errorf("transfer to %s: %w", to, err)
		}
	}
	// One that can write nothing more can still give the leadership to another.
	if err := o.note(ctx, by, "transfer leadership", to, "from "+o.config.Name); err != nil && !errors.Is(err, ErrReadOnly) {
		return "", fmt.Errorf("transfer: %w", err)
	}
	if err := o.config.Membership.Transfer(ctx, to); err != nil {
		return "", fmt.Errorf("transfer: %w", err)
	}
	return o.successor(ctx)
}

func mayLead(members []Member, name string) error {
	m := find(members, name)
	switch {
	case m == nil:
		return unknownMember(name, members)
	case !m.Votes():
		return fmt.Errorf("it is a %s, and only a voter can lead: %w", m.Role, ErrRefused)
	case !m.Answers:
		return fmt.Errorf("it does not answer (%s): %w", m.Problem, ErrRefused)
	}
	return nil
}

// successor waits until another coordinator leads.
func (o *Orchestrator) successor(ctx context.Context) (string, error) {
	look := time.NewTicker(leaderLook)
	defer look.Stop()
	for {
		if name, ok := o.config.Store.Leader(); ok && name != o.config.Name {
			return name, nil
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("leadership was given up and nobody has taken it yet: %w: %w", ctx.Err(), ErrUnknownOutcome)
		case <-look.C:
		}
	}
}

// SnapshotLog cuts the leader's log.
func (o *Orchestrator) SnapshotLog(ctx context.Context, by string) error {
	if _, _, err := o.changing(ctx); err != nil {
		return err
	}
	if err := o.note(ctx, by, "snapshot log", o.config.Name, ""); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	if err := o.config.Membership.Snapshot(ctx); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	return nil
}

// VerifyMembers compares the state of all members.
func (o *Orchestrator) VerifyMembers(ctx context.Context, _ string) (*Verification, error) {
	_, members, err := o.changing(ctx)
	if err != nil {
		return nil, err
	}
	v, err := o.config.Membership.Verify(ctx)
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	v.At = o.config.Clock()
	for _, m := range members { // one that could not be asked is not one that agrees
		if m.Role != RoleUnfinished && !slices.ContainsFunc(v.Nodes, func(n NodeDigest) bool { return n.Name == m.Name }) {
			v.Nodes = append(v.Nodes, NodeDigest{Name: m.Name, Problem: "not compared: " + m.Problem})
		}
	}
	slices.SortFunc(v.Nodes, func(a, b NodeDigest) int { return strings.Compare(a.Name, b.Name) })
	return v, nil
}

// changing is what every change begins with: this coordinator leads, and the state is its newest.
func (o *Orchestrator) changing(ctx context.Context) (*state.View, []Member, error) {
	if err := o.hasMembership(); err != nil {
		return nil, nil, err
	}
	view, err := o.View(ctx)
	if err != nil {
		return nil, nil, err
	}
	return view, o.members(view, o.config.Clock()), nil
}

// note commits to the record what is about to be done and is no command of its own. While a member is too old to know such
// entries it is in this coordinator's log alone.
func (o *Orchestrator) note(ctx context.Context, by, action, subject, detail string) error {
	o.log.Info(action, "by", by, "subject", subject, "detail", detail)
	if o.config.Store.View().Level() < state.LevelOf(state.AuditNote) {
		return nil
	}
	_, err := o.propose(ctx, by, state.AuditNote, state.AuditNoteData{Action: action, Subject: subject, Detail: detail})
	return err
}

func find(members []Member, name string) *Member {
	for i := range members {
		if members[i].Name == name {
			return &members[i]
		}
	}
	return nil
}

func unknownMember(name string, members []Member) error {
	names := make([]string, len(members))
	for i, m := range members {
		names[i] = m.Name
	}
	return fmt.Errorf("there is no coordinator %q; there are %s: %w", name, strings.Join(names, ", "), state.ErrNotFound)
}
