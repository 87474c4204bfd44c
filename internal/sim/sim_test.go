package sim

import (
	"flag"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

// enoughSeeds is how many schedules meet everything that the model knows.
const enoughSeeds = 1000

var (
	seeds  = flag.Int("sim.seeds", defaultSeeds, "number of schedules")
	seed   = flag.Uint64("sim.seed", 0, "run this schedule alone and print its last events")
	mutant = flag.String("sim.mutation", "", "with sim.seed: leave this step out")
	about  = flag.String("sim.about", "", "with sim.seed: print only events of this message, and those of no message")
)

// sweep runs schedules from 1 on until one fails or n have passed.
func sweep(n int, mutation Mutation) (failed *Result, all Counts) {
	var next atomic.Uint64
	var stop atomic.Bool
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for !stop.Load() {
				s := next.Add(1)
				if s > uint64(n) {
					return
				}
				r := Run(s, mutation)
				mu.Lock()
				all.Add(r.Counts)
				if r.Err != nil && (failed == nil || r.Seed < failed.Seed) {
					failed = &r
					stop.Store(true)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return failed, all
}

func TestSchedules(t *testing.T) {
	if *seed != 0 {
		w := newWorld(*seed, Mutation(*mutant))
		if *about != "" {
			w.tr.keep = func(e traced) bool {
				o := msha.Origin{OriginQueue: e.origin.First(), Offset: e.origin.Offset}
				return e.origin.Topic == "" || o.String() == *about
			}
		}
		r := w.run(*seed)
		t.Logf("%+v", r.Counts)
		require.NoError(t, r.Err, "%s", r.Trace)
		return
	}
	failed, counts := sweep(*seeds, "")
	if failed != nil {
		t.Fatalf("%s\nseed %d: %v\nto repeat: go test ./internal/sim -run TestSchedules -sim.seed=%d", failed.Trace, failed.Seed, failed.Err, failed.Seed)
	}
	t.Logf("%d schedules: %+v", *seeds, counts)
	if *seeds < enoughSeeds {
		return // too few to meet everything
	}
	for name, n := range map[string]int{
		"splits": counts.Splits, "aborts after Ack": counts.AbortsAfterAck, "graceful leaves": counts.Leaves,
		"stored but timed-out retries": counts.StoredTimeouts, "take-overs": counts.TakeOvers, "voided Opens": counts.Voided,
		"refused copies": counts.Refused, "copies of the past": counts.PastCopies, "repeats": counts.Repeats, "dead letters": counts.DeadLetters,
		"re-scanned messages": counts.Rescanned, "lapsed gates": counts.LapsedGates, "lost locks": counts.LostLocks, "locks taken from the dead": counts.TakenLocks,
		"ordered runs": counts.OrderedRuns, "ordered failures": counts.OrderedFailures, "ordered re-scans": counts.OrderedRescanned,
		"repeated batches": counts.ReplicatorRepeats, "runs without metastore": counts.RunsInOutage, "passed deadlines": counts.Deadlines,
		"forced switches": counts.Forced, "forced splits": counts.ForcedSplits, "forced twice": counts.ForcedChains, "forced in Strict mode": counts.StrictForced,
		"losses of a tail": counts.Losses, "lost messages": counts.LostMessages, "lost copies": counts.LostCopies, "lost retry copies": counts.LostRetries,
		"lost facts": counts.LostFacts, "incarnations": counts.Raised, "incarnations raised by hand": counts.RaisedByHand, "messages stored over lost ones": counts.Early,
		"queues that were missed": counts.Parted, "work carried over": counts.Carried, "processes that began anew": counts.LogsLost,
		"lost managers": counts.ManagersLost, "resumed switches": counts.Resumptions,
		"starts in a lost unit": counts.Stale, "held back": counts.HeldBack, "rejoins": counts.Rejoins, "repeats of lost progress": counts.ForcedRepeats,
	} {
		require.NotZero(t, n, "no schedule had %s", name)
	}
}

func TestSeedReproducesSchedule(t *testing.T) {
	for s := range uint64(5) {
		first, second := Run(s+1, ""), Run(s+1, "")
		require.Equal(t, fmt.Sprint(first), fmt.Sprint(second))
	}
}
