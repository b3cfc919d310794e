package worker

import "math"

// rankWeight is how many passes of one tier begin for one of the next.
const rankWeight = 4

// shares gives each tier its turn, by stride: each pass that begins moves its tier's own clock on, a high tier's the
// least, and who is behind is next. So after hours without a link the highest tier comes back first, and the lowest
// is never left out. The zero value is ready.
type shares struct {
	clocks map[int]float64 // by rank
	time   float64         // of the last pass that began
}

// next is the rank whose turn it is, of those that have something to do. One that had nothing for a while is owed nothing.
func (s *shares) next(waiting map[int][]*copyJob) int {
	if s.clocks == nil {
		s.clocks = make(map[int]float64)
	}
	best, found := 0, false
	for rank := range waiting {
		s.clocks[rank] = max(s.clocks[rank], s.time)
		if d := s.clocks[rank] - s.clocks[best]; !found || d < 0 || d == 0 && rank < best {
			best, found = rank, true
		}
	}
	return best
}

// begun counts a pass.
func (s *shares) begun(rank int) {
	s.time = s.clocks[rank]
	s.clocks[rank] += math.Pow(rankWeight, float64(rank))
}
