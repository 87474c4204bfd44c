//go:build real

package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestRound is one round: in `make test` a short one that has every kind of fault, always with the same schedule; `make chaos` draws a long one.
func TestRound(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	require.Contains(t, []int{2, 3}, *units)
	fmt.Printf("chaos: seed %d, %d units, %v\n", *seed, *units, *length)
	ctx, cancel := context.WithTimeout(t.Context(), *length+15*time.Minute)
	defer cancel()
	begun := time.Now()
	w := start(t, ctx, *members)
	t.Logf("started after %.0f seconds", time.Since(begun).Seconds())
	stop := w.produce()
	w.eventually("every unit's handlers are at work", w.everywhere)
	s := Draw(*seed, Options{
		Units: w.names, Second: *second, Values: values, Kinds: chosen(t),
		Length: *length, Calm: min(10*time.Second, *length/4), Storm: *storm, Lull: *lull, Every: *every, Freeze: *freeze, Ebb: *ebb,
	})
	w.play(s, stop)
	t.Logf("all faults and switches over after %.0f seconds: %d faults", time.Since(begun).Seconds(), len(w.evidence.Faults))
	w.settled()
	v := Judge(w.read())
	w.audit()
	fmt.Println(v)
	t.Log(v.Details())
	t.Logf("%.0f seconds", time.Since(begun).Seconds())
	for _, p := range w.processes {
		w.failures = append(w.failures, p.outcries()...)
	}
	for _, f := range w.failures {
		t.Error(f)
	}
	require.NoError(t, v.Err())
}

// chosen are the kinds of fault that the round is to have.
func chosen(t *testing.T) (all []Kind) {
	for name := range strings.SplitSeq(*kinds, ",") {
		if name != "" {
			require.Contains(t, Kinds(), Kind(name))
			all = append(all, Kind(name))
		}
	}
	return all
}

// everywhere says whether each agent has begun to work.
func (w *world) everywhere() bool {
	busy := map[string]bool{}
	for _, l := range w.read().Lines {
		if l.Event == End {
			busy[l.Process] = true
		}
	}
	return len(busy) == Agents*len(w.names)
}

// play lets a schedule happen, and returns once nothing is sent any more, everything that it took away is back and every switch has been
// answered.
func (w *world) play(s Schedule, stop func()) {
	begun := time.Now()
	var wg sync.WaitGroup
	for i, m := range s.Moves {
		wg.Go(func() {
			if after(w.ctx, begun, m.At) {
				w.move(m, i)
			}
		})
	}
	for i, a := range s.Faults {
		wg.Go(func() {
			if !after(w.ctx, begun, a.At) {
				return
			}
			if a.During {
				wg.Go(func() { w.move(Move{Values: []string{values[i%len(values)]}, To: []string{""}}, i) })
				pause(w.ctx, rand.N(300*time.Millisecond))
			}
			w.perform(a)
		})
	}
	pause(w.ctx, *length)
	stop()
	w.mu.Lock()
	w.evidence.Loaded = time.Now()
	w.mu.Unlock()
	wg.Wait()
}

// over says whether the time of faults is.
func (w *world) over() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.evidence.Loaded.IsZero()
}

const (
	hopeless = 2*locks + 45*time.Second // without a single run of a handler, although not everything is processed
	silence  = 5 * time.Second          // longer than a retry takes
	settling = 2 * (locks + 10*time.Second)
)

// settled waits until everything is processed, all switches have ended, and then until nothing has happened for a while, with every queue in
// hands that live.
func (w *world) settled() {
	w.Helper()
	healed := time.Now()
	held := time.Time{} // when every queue has a living holder
	for _, f := range w.evidence.Faults {
		if at := f.Until.Add(locks); f.Kind.lasting() && at.After(held) {
			held = at
		}
	}
	lines, since := 0, time.Now()
	for w.ctx.Err() == nil {
		e := w.read()
		if len(e.Lines) != lines {
			lines, since = len(e.Lines), time.Now()
		}
		endless := w.endless()
		if len(w.left) == 0 && len(endless) == 0 && time.Since(since) > silence && time.Since(held) > silence {
			return
		}
		if len(endless) > 0 && time.Since(healed) > settling {
			w.fail("switches do not end: %v", endless)
			return
		}
		if len(endless) == 0 && time.Since(since) > hopeless {
			return // the verdict says what is missing
		}
		pause(w.ctx, time.Second)
	}
	w.fail("not settled in time")
}
