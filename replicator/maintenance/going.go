package maintenance

import (
	"context"
	"strings"
	"time"

	"drp/replicator"
	"drp/replicator/keyfiles"
)

// goingMark says since when, by this machine's clock, something of a break-glass key is known to be on its way out.
type goingMark struct {
	At time.Time `json:"at"`
}

// GoingKeys names the repositories of whose keys something is on its way out.
func (k *Keeper) GoingKeys(ctx context.Context) ([]string, error) {
	return k.namesBelow(ctx, replicator.GoingKeysRoot)
}

// TendKeys deletes for good what of a repository's keys has been on its way out for the grace. What it sees for the first time
// begins its grace then.
func (k *Keeper) TendKeys(ctx context.Context, name string) error {
	if err := checkAccount(name); err != nil {
		return err
	}
	list, err := k.Store.List(ctx, replicator.GoingKeysRoot+name+"/")
	if err != nil {
		return err
	}
	there := make(map[string]replicator.Object, len(list))
	for _, o := range list {
		there[o.Key] = o
	}
	for _, o := range list {
		if of, ok := strings.CutSuffix(o.Key, keyfiles.GoingMark); ok {
			if _, ok := there[of]; ok {
				continue
			}
			if err := k.Store.Discard(ctx, o.Key); err != nil {
				return err
			}
			continue
		}
		mark, marked := there[o.Key+keyfiles.GoingMark]
		if err := k.tendKey(ctx, name, o, mark, marked); err != nil {
			return err
		}
	}
	return nil
}

func (k *Keeper) tendKey(ctx context.Context, name string, o, mark replicator.Object, marked bool) error {
	at := o.Key + keyfiles.GoingMark
	var m goingMark
	if marked {
		if _, err := k.getJSON(ctx, at, &m); err != nil {
			return err
		}
		over, ahead, err := k.aged(ctx, m.At, mark.Modified)
		if err != nil || !over && !ahead {
			return err
		}
		if over {
			k.log(name).Info("what was on its way out of the break-glass keys is gone", "object", o.Key)
			if err := k.Store.Discard(ctx, o.Key); err != nil {
				return err
			}
			return k.Store.Discard(ctx, at)
		}
		k.log(name).Warn("the grace of a break-glass key begins anew: its mark bears a time that has yet to come, so a clock was wrong",
			"object", o.Key, "time", m.At, "store_time", mark.Modified)
	}
	return k.putJSON(ctx, at, goingMark{At: k.now().UTC()})
}
