package raftstoretest

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"drp/raftstore/state"
)

// Kind is what a client asks for.
type Kind string

const (
	Assign Kind = "assign" // to Server, after the token of Generation
	Stop   Kind = "stop"   // under the token of Generation
	Fence  Kind = "fence"  // the token of Generation
	Read   Kind = "read"
)

// Operation is one thing that a client asks for, of one account.
type Operation struct {
	Kind       Kind
	Account    state.AccountName
	Server     state.ServerName
	Generation uint64
}

// Answer is what the client was told.
type Answer struct {
	Unknown bool // nobody told it; the operation may be carried out at any time, or never
	Refused bool
	Changed bool    // of a write
	Account Account // of a read; of an assignment its Generation
}

// Account is an account's assignment as clients see it. Generation 0: there is none.
type Account struct {
	Server     state.ServerName
	Generation uint64
	Stopped    bool
	Fenced     bool
}

// next is the state after an operation that is carried out, and the answer to it.
func (a Account) next(o Operation) (Account, Answer) {
	refused := Answer{Refused: true}
	switch o.Kind {
	case Read:
		return a, Answer{Account: a}
	case Assign:
		if a.Generation != o.Generation || a.Generation != 0 && !a.Fenced {
			return a, refused
		}
		next := Account{Server: o.Server, Generation: a.Generation + 1}
		return next, Answer{Changed: true, Account: Account{Generation: next.Generation}}
	case Stop:
		if a.Generation == 0 || a.Generation != o.Generation {
			return a, refused
		}
		changed := !a.Stopped
		a.Stopped = true
		return a, Answer{Changed: changed}
	case Fence:
		if a.Generation == 0 || a.Generation != o.Generation {
			return a, refused
		}
		changed := !a.Fenced
		a.Fenced = true
		return a, Answer{Changed: changed}
	}
	panic("raftstoretest: operation of no known kind: " + string(o.Kind))
}

// model is all accounts, one at a time.
func model() porcupine.Model {
	return porcupine.Model{
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			byAccount := map[state.AccountName][]porcupine.Operation{}
			var names []state.AccountName
			for _, o := range history {
				name := o.Input.(Operation).Account
				if byAccount[name] == nil {
					names = append(names, name)
				}
				byAccount[name] = append(byAccount[name], o)
			}
			slices.Sort(names)
			var list [][]porcupine.Operation
			for _, name := range names {
				list = append(list, byAccount[name])
			}
			return list
		},
		Init: func() any { return Account{} },
		Step: func(before, input, output any) (bool, any) {
			after, want := before.(Account).next(input.(Operation))
			got := output.(Answer)
			// One that was never carried out is as if it were at the end of time, when any answer is as good.
			return got.Unknown || got == want, after
		},
		DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v: %+v", input, output) },
		DescribeState:     func(a any) string { return fmt.Sprintf("%+v", a) },
	}
}

// History is what all clients asked, when, and what they were told. Time is the order in which it happened in this
// process: a bubble's clock stands still while anybody works.
type History struct {
	mu         sync.Mutex
	now        int64
	operations []porcupine.Operation
	unknown    int
}

// Begin records that a client asks. The function that it returns records the answer.
func (h *History) Begin(client int, o Operation) (end func(Answer)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now++
	call := h.now
	return func(a Answer) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.now++
		end := h.now
		if a.Unknown {
			if o.Kind == Read {
				return // of a read without an answer there is nothing to say
			}
			end = math.MaxInt64
			h.unknown++
		}
		h.operations = append(h.operations, porcupine.Operation{ClientId: client, Input: o, Call: call, Output: a, Return: end})
	}
}

// Len is how many operations there are, and of how many the outcome is unknown.
func (h *History) Len() (all, unknown int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.operations), h.unknown
}

// checkTimeout is of the real clock: check outside of the bubble.
const checkTimeout = time.Minute

// Verdict says whether there is an order of the operations that explains all answers.
func (h *History) Verdict() porcupine.CheckResult {
	h.mu.Lock()
	defer h.mu.Unlock()
	return porcupine.CheckOperationsTimeout(model(), h.operations, checkTimeout)
}

// Check fails the test unless there is one. Call it outside of the bubble. That it was not found in time is a failure, too.
func (h *History) Check(t testing.TB) {
	t.Helper()
	if got := h.Verdict(); got != porcupine.Ok {
		t.Errorf("linearizable: %s", got)
		for _, part := range model().Partition(h.operations) {
			if porcupine.CheckOperationsTimeout(model(), part, checkTimeout) == porcupine.Ok {
				continue
			}
			slices.SortFunc(part, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
			for _, o := range part {
				t.Logf("client %d [%d, %d] %+v: %+v", o.ClientId, o.Call, o.Return, o.Input, o.Output)
			}
		}
	}
}
