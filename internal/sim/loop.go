package sim

import "math/rand/v2"

// loop is the queue of events: a heap ordered by time, then by age, so that equal seeds give equal orders.
type loop struct {
	now   int64 // ms
	count uint64
	heap  []event
	rng   *rand.Rand
}

type event struct {
	at  int64
	seq uint64
	run func()
}

func newLoop(seed uint64) *loop {
	return &loop{rng: rand.New(rand.NewPCG(seed, 0x6d736861))}
}

func (e event) before(o event) bool { return e.at < o.at || e.at == o.at && e.seq < o.seq }

// after runs f in d ms.
func (l *loop) after(d int64, f func()) {
	l.count++
	l.heap = append(l.heap, event{l.now + max(d, 0), l.count, f})
	for i := len(l.heap) - 1; i > 0; {
		parent := (i - 1) / 2
		if !l.heap[i].before(l.heap[parent]) {
			return
		}
		l.heap[i], l.heap[parent] = l.heap[parent], l.heap[i]
		i = parent
	}
}

// step runs the next event; false if there is none.
func (l *loop) step() bool {
	n := len(l.heap) - 1
	if n < 0 {
		return false
	}
	e := l.heap[0]
	l.heap[0] = l.heap[n]
	l.heap[n] = event{}
	l.heap = l.heap[:n]
	for i := 0; ; {
		child := 2*i + 1
		if child >= n {
			break
		}
		if child+1 < n && l.heap[child+1].before(l.heap[child]) {
			child++
		}
		if !l.heap[child].before(l.heap[i]) {
			break
		}
		l.heap[i], l.heap[child] = l.heap[child], l.heap[i]
		i = child
	}
	l.now = e.at
	e.run()
	return true
}

// chance is true with probability p.
func (l *loop) chance(p float64) bool { return p > 0 && l.rng.Float64() < p }

// between draws from [low, high].
func (l *loop) between(low, high int64) int64 { return low + l.rng.Int64N(high-low+1) }

// mostly draws from the usual range, and with probability p from the rare one.
func (l *loop) mostly(low, high int64, p float64, rareLow, rareHigh int64) int64 {
	if l.chance(p) {
		return l.between(rareLow, rareHigh)
	}
	return l.between(low, high)
}

func pick[T any](l *loop, list []T) T { return list[l.rng.IntN(len(list))] }
