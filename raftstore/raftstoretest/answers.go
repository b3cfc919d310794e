package raftstoretest

import (
	"context"
	"errors"
	"fmt"

	"drp/raftstore"
	"drp/raftstore/state"
)

// Store is nil while the node is down. Answers of its own methods do not know of crashes: Propose and Read of Node do.
func (n *Node) Store() *raftstore.Store {
	if p, _ := n.present(); p != nil {
		return p.store
	}
	return nil
}

func (n *Node) present() (*process, <-chan struct{}) {
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	return n.process, n.frozen
}

// ErrDown: nothing listens there, so nothing was done.
var ErrDown = errors.New("the node is down")

// Propose is Store.Propose as a client sees it: a process that was killed meanwhile has not answered.
func (n *Node) Propose(ctx context.Context, cmd state.Command) (state.Result, error) {
	p, err := n.reach(ctx)
	if err != nil {
		return state.Result{}, err
	}
	r, err := p.store.Propose(ctx, cmd)
	if lost := n.answered(ctx, p); lost != nil {
		return state.Result{}, lost
	}
	return r, err
}

// Read is Store.Read as a client sees it.
func (n *Node) Read(ctx context.Context) (*state.View, error) {
	p, err := n.reach(ctx)
	if err != nil {
		return nil, err
	}
	v, err := p.store.Read(ctx)
	if lost := n.answered(ctx, p); lost != nil {
		return nil, lost
	}
	return v, err
}

func (n *Node) reach(ctx context.Context) (*process, error) {
	p, frozen := n.present()
	if p == nil {
		return nil, ErrDown
	}
	if frozen != nil {
		select {
		case <-frozen:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: the node is frozen", raftstore.ErrUnknownOutcome)
		}
	}
	return p, nil
}

// answered tells whether an answer of a process has reached its client.
func (n *Node) answered(ctx context.Context, p *process) error {
	select {
	case <-p.dead:
		return fmt.Errorf("%w: the node was killed", raftstore.ErrUnknownOutcome)
	default:
	}
	if _, frozen := n.present(); frozen != nil {
		select {
		case <-frozen:
		case <-p.dead:
			return fmt.Errorf("%w: the node was killed", raftstore.ErrUnknownOutcome)
		case <-ctx.Done():
			return fmt.Errorf("%w: the node is frozen", raftstore.ErrUnknownOutcome)
		}
	}
	return nil
}
