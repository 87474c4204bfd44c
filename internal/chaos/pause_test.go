package chaos

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// moved is a value that goes from one unit to the other between 10 and 10.4.
func moved() *story {
	s := newStory()
	s.Loaded = at(100)
	for i, begun := range []float64{9, 9.5, 10.1} {
		s.run(one, string(rune('a'+i)), begun, begun+0.01, End)
	}
	s.run(away, "x", 10.4, 10.5, End)
	s.run(away, "y", 11, 11.1, End)
	s.move("beijing", "unit-2", 10, 10.3)
	return s
}

func TestPause(t *testing.T) {
	s := moved()
	v := Judge(&s.Evidence)
	require.Equal(t, []time.Duration{300 * time.Millisecond}, v.Pauses)
	require.Equal(t, 1, v.Switches)
	require.Contains(t, v.String(), "1 switches, p50/p99 pause 300/300 ms")
}

func TestPausesThatAreNotMeasured(t *testing.T) {
	for name, change := range map[string]func(*story){
		"a fault during the switch":         func(s *story) { s.fault(KillStore, "etcd", 10.2, 10.25) },
		"a fault just before":               func(s *story) { s.fault(KillReplicator, "unit-1.to-unit-2.1", 3, 6) },
		"a fault before the first start":    func(s *story) { s.fault(Delay, "unit-1 unit-2", 10.35, 20) },
		"an agent killed half a minute ago": func(s *story) { s.fault(KillAgent, away, -25, -20) },
		"a broker killed a minute ago":      func(s *story) { s.fault(KillBroker, "broker-unit-2", -59, -55) },
		"aborted":                           func(s *story) { s.Switches[0].Outcome = Aborted },
		"moved on at once":                  func(s *story) { s.move("beijing", "unit-1", 10.35, 10.6) },
		"nothing sent any more":             func(s *story) { s.Loaded = at(10.2) },
		"never seen there":                  func(s *story) { s.Switches[0].To = "unit-3" },
		"not seen before":                   func(s *story) { s.Switches[0].Values = []string{"guangzhou"} },
	} {
		t.Run(name, func(t *testing.T) {
			s := moved()
			change(s)
			require.Empty(t, Judge(&s.Evidence).Pauses)
		})
	}
	s := moved()
	s.fault(KillBroker, "broker-unit-1", -70, -61)
	s.fault(FreezeAgent, one, 0, 4.9)
	s.fault(KillStore, "etcd", 10.45, 12)
	require.Len(t, Judge(&s.Evidence).Pauses, 1, "recovered from, or after the first start")
}
