package chaos

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func options() Options {
	return Options{
		Units: []string{"unit-1", "unit-2", "unit-3"}, Values: []string{"beijing", "guangzhou", "wuhan"}, Length: 10 * time.Minute, Calm: 10 * time.Second,
		Storm: time.Minute, Lull: 30 * time.Second, Every: 2 * time.Second, Freeze: 8 * time.Second,
	}
}

func TestSeedGivesTheSchedule(t *testing.T) {
	require.Equal(t, Draw(7, options()), Draw(7, options()))
	require.NotEqual(t, Draw(7, options()), Draw(8, options()))
}

func TestScheduleHasEverything(t *testing.T) {
	o := options()
	for seed := range uint64(50) {
		s := Draw(seed, o)
		kinds, lulls := map[Kind]int{}, 0
		targets, back := Targets(o.Units, o.Second), map[string]time.Duration{}
		last := time.Duration(0)
		for _, a := range s.Faults {
			kinds[a.Kind]++
			require.GreaterOrEqual(t, a.At, o.Calm)
			require.Less(t, a.At, o.Length)
			require.Contains(t, targets[a.Kind], a.Target)
			require.LessOrEqual(t, a.For, 10*time.Second)
			for _, part := range Parts(o.Units, o.Second, a.Kind, a.Target) {
				require.GreaterOrEqual(t, a.At, back[part], "%s is not back", part)
				back[part] = a.At + a.For + a.Kind.rest()
			}
			if a.At-last >= o.Lull {
				lulls++
			}
			last = a.At
		}
		require.Equal(t, len(Kinds()), len(kinds))
		counts := []int{}
		for kind, n := range kinds {
			if kind == KillSite {
				require.GreaterOrEqual(t, n, 3)
				continue // each is given time to rejoin
			}
			counts = append(counts, n)
		}
		require.LessOrEqual(t, slices.Max(counts)-slices.Min(counts), 2)
		require.GreaterOrEqual(t, lulls, 4)

		shapes := map[string]bool{}
		for _, m := range s.Moves {
			switch {
			case m.From != "":
				shapes["unit"] = true
				require.Empty(t, m.Values)
				require.NotEqual(t, m.From, m.To[0])
			case len(m.To) > 1:
				shapes["chain"] = true
			case len(m.Values) > 1:
				shapes["several"] = true
			default:
				shapes["one"] = true
			}
		}
		require.Len(t, shapes, 4)
	}
}

func TestShortRoundMeetsAlmostEveryKind(t *testing.T) {
	o := options()
	o.Units, o.Length, o.Ebb, o.Every = o.Units[:2], 75*time.Second, 30*time.Second, 3500*time.Millisecond
	for seed := range uint64(50) {
		kinds := map[Kind]bool{}
		for _, a := range Draw(seed, o).Faults {
			kinds[a.Kind] = true
		}
		require.GreaterOrEqual(t, len(kinds), len(Kinds())-2)
		if seed == Seed {
			require.Len(t, kinds, len(Kinds()))
		}
	}
}

func TestEbbLeavesTimeForLocks(t *testing.T) {
	o := options()
	o.Ebb = time.Minute
	for seed := range uint64(50) {
		faults := Draw(seed, o).Faults
		require.Greater(t, faults[len(faults)-1].At, o.Length-o.Ebb)
		for _, a := range faults {
			require.True(t, a.At <= o.Length-o.Ebb || a.Kind != KillAgent && a.Kind != KillBroker && a.Kind != KillSite, a)
		}
	}
}

func TestChosenKinds(t *testing.T) {
	o := options()
	o.Kinds = []Kind{KillBroker, Delay}
	for _, a := range Draw(1, o).Faults {
		require.Contains(t, o.Kinds, a.Kind)
	}
}

func TestTargets(t *testing.T) {
	targets := Targets([]string{"unit-1", "unit-2"}, true)
	require.Equal(t, []string{"unit-1.agent-1", "unit-1.agent-2", "unit-2.agent-1", "unit-2.agent-2"}, targets[KillAgent])
	require.Equal(t, []string{"unit-1.to-unit-2", "unit-2.to-unit-1"}, targets[FreezeReplicator])
	require.Equal(t, []string{"unit-1 unit-2"}, targets[Partition])
	require.Equal(t, []string{"broker-unit-1", "broker-unit-2", "broker-unit-2-second"}, targets[KillBroker])
	require.Equal(t, "unit-2", unitOfBroker("broker-unit-2-second"))
	require.Equal(t, []string{
		"broker-unit-1", "broker-unit-2", "broker-unit-2-second", "etcd", "nameserver-unit-1", "nameserver-unit-2", "unit-1.manager",
		"unit-2.agent-1", "unit-2.agent-2", "unit-2.manager", "unit-2.to-unit-1",
	}, Parts([]string{"unit-1", "unit-2"}, true, KillSite, "unit-2"))
	require.Equal(t, []string{"etcd"}, Parts([]string{"unit-1", "unit-2"}, true, KillStore, "etcd"))
	for _, k := range Kinds() {
		require.NotEmpty(t, targets[k], k)
	}
}
