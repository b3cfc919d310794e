package maintenance

import (
	"context"
	"fmt"
)

// BrakeError says that more was to be deleted at once than this site's configuration allows.
type BrakeError struct {
	Account         string
	Wanted, Allowed int
	Brake           int
}

func (e *BrakeError) Error() string {
	return fmt.Sprintf("%d snapshots of %s were to go and %d went: within the grace at most %d%% of them may (brake in the configuration of this site's worker)",
		e.Wanted, e.Account, e.Allowed, e.Brake)
}

// mayGo is how many of so many snapshots may go now. What counts is the largest number that was there before any run
// which is still in the trash: an hourly schedule may turn its snapshots over many times in the grace, as long as about
// as many are there as before; and who empties a repository step by step gets no further than in one.
func (k *Keeper) mayGo(ctx context.Context, account string, held int) (int, error) {
	runs, err := k.runs(ctx, account)
	if err != nil {
		return 0, err
	}
	most := held
	for _, r := range runs {
		var o Outcome
		if found, err := k.getJSON(ctx, r.mark(), &o); err != nil {
			return 0, err
		} else if !found {
			continue
		}
		if over, err := k.pastGrace(ctx, r, &o); err != nil {
			return 0, err
		} else if !over {
			most = max(most, o.Held)
		}
	}
	stay := (most*(100-k.brake()) + 99) / 100 // rounded up
	return max(0, held-stay), nil
}

// brakeBytes refuses to let most of a repository go when no snapshot does: then restic takes it for waste, or was made
// to. What goes with snapshots is their size, and how many of these may go is bounded.
func (k *Keeper) brakeBytes(snapshots int, before, after int64) error {
	if snapshots > 0 || after >= before/100*int64(100-k.brake()) {
		return nil
	}
	return fmt.Errorf("of %d bytes %d would remain although no snapshot goes: at most %d%% may (brake in the configuration of this site's worker)",
		before, after, k.brake())
}
