// Package obedience refuses the word of coordinators from before a recovery. When most of them come back they elect a
// leader, who knows nothing of what was decided since, and would have started here what runs elsewhere, written into what
// has moved, or copied over what is newer. Agents, gateways and workers go by it alike.
package obedience

import "fmt"

// first is the incarnation of a cluster which was never recovered. Coordinators that do not say theirs are of it.
const first = 1

// Journal keeps the highest incarnation whose orders were taken. Obey returns when it is on the disk.
type Journal interface {
	Obeyed() (uint64, error) // 0: none
	Obey(incarnation uint64) error
}

// Obedience is what one process obeys. It belongs to the loop that asks the leader.
type Obedience struct {
	journal Journal
	obeyed  uint64
}

// New begins with what the journal remembers.
func New(j Journal) (*Obedience, error) {
	obeyed, err := j.Obeyed()
	if err != nil {
		return nil, err
	}
	return &Obedience{journal: j, obeyed: obeyed}, nil
}

// Take judges an answer before anything of it is done. The incarnation is on the disk before anything is done under it.
// Coordinators that are being recovered order nothing, whatever they know: they are told what is remembered here, and begin
// a higher incarnation than that.
func (o *Obedience) Take(incarnation uint64, recovering bool) error {
	of := max(incarnation, first)
	switch {
	case recovering || of == o.obeyed:
		return nil
	case of < o.obeyed:
		return fmt.Errorf("a leader of incarnation %d answers, and here incarnation %d was obeyed: it is from before a recovery, and has to be stopped", of, o.obeyed)
	}
	if err := o.journal.Obey(of); err != nil {
		return err
	}
	o.obeyed = of
	return nil
}

// Told is what a report says of it; 0 where the cluster was never recovered.
func (o *Obedience) Told() uint64 {
	if o.obeyed > first {
		return o.obeyed
	}
	return 0
}
