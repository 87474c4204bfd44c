package chaos

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// story is evidence that is written down in seconds.
type story struct {
	Evidence
	seq  map[string]int
	runs int
}

func newStory() *story { return &story{seq: map[string]int{}} }

var zero = time.Unix(1_800_000_000, 0)

func at(s float64) time.Time { return zero.Add(time.Duration(s * float64(time.Second))) }

func (s *story) line(process string, when float64, e Event, run int, key, value string) {
	s.seq[process]++
	s.Lines = append(s.Lines, Line{Process: process, Seq: s.seq[process], At: at(when), Event: e, Run: run, Key: key, Value: value})
}

func (s *story) sent(keys ...string) {
	for _, key := range keys {
		s.line("unit-1.producer", 0, Sent, 0, key, "beijing")
	}
}

// run is a run of a handler; without an end it is cut off.
func (s *story) run(process, key string, start, end float64, e Event) {
	s.runOf(process, key, "beijing", start, end, e)
}

func (s *story) runOf(process, key, value string, start, end float64, e Event) {
	s.runs++
	s.line(process, start, Start, s.runs, key, value)
	if e != "" {
		s.line(process, end, e, s.runs, key, value)
	}
}

func (s *story) fault(k Kind, target string, from, until float64) {
	gone := from + 0.1
	s.Faults = append(s.Faults, Fault{Kind: k, Target: target, From: at(from), Gone: at(gone), Until: at(until)})
}

// site kills all of unit-1 at 10; what was published from uncopied on is not copied, 0: all of it is.
func (s *story) site(uncopied float64) {
	f := Fault{Kind: KillSite, Target: "unit-1", Agents: []string{one, other}, From: at(10), Gone: at(10.1), Until: at(30)}
	if uncopied > 0 {
		f.Uncopied = at(uncopied)
	}
	s.Faults = append(s.Faults, f)
}

func (s *story) move(value, to string, begun, ended float64) {
	s.Switches = append(s.Switches, Switch{Query: "values=" + value, Values: []string{value}, To: to, Begun: at(begun), Ended: at(ended), Outcome: Done})
}

const (
	one   = "unit-1.agent-1.1"
	other = "unit-1.agent-2.1"
	away  = "unit-2.agent-1.1"
)

func TestVerdict(t *testing.T) {
	s := newStory()
	s.sent("a", "b", "c")
	s.line("unit-1.producer", 0, Unsure, 0, "d", "beijing")
	s.run(one, "a", 1, 2, End)
	s.run(one, "b", 1, 2, Fail)
	s.run(other, "b", 3, 4, End)
	s.run(one, "c", 3, 4, End)
	v := Judge(&s.Evidence)
	require.NoError(t, v.Err())
	require.Equal(t, "chaos: 3 sent, 3 processed, 0 lost, 0 repeated (0 allowed by killed work), 0 switches, p50/p99 pause 0/0 ms", v.String())
	require.Equal(t, 1, v.FailedRuns)
	require.Equal(t, 1, v.Unsure)
	s.run(one, "d", 5, 6, End)
	require.NoError(t, Judge(&s.Evidence).Err(), "a message that nobody answered for may be there")
	s.run(one, "d", 7, 8, End)
	require.ErrorContains(t, Judge(&s.Evidence).Err(), "repeated: d", "but not twice")
}

func TestLost(t *testing.T) {
	s := newStory()
	s.sent("a", "b")
	s.run(one, "a", 1, 2, Fail)
	v := Judge(&s.Evidence)
	require.Equal(t, 2, v.Lost)
	require.ErrorContains(t, v.Err(), "lost: a of beijing\n\tunit-1.agent-1.1")
	require.ErrorContains(t, v.Err(), "failed\nlost: b of beijing")
}

// TestRepeats holds each way in which a message can be processed twice.
func TestRepeats(t *testing.T) {
	for name, c := range map[string]struct {
		happens func(*story)
		allowed bool
	}{
		"for no reason": {func(s *story) {
			s.run(one, "a", 1, 2, End)
			s.run(other, "a", 3, 4, End)
		}, false},
		"unpublished when killed": {func(s *story) {
			s.run(one, "a", 9, 9.5, End)
			s.fault(KillAgent, one, 10, 12)
			s.run(other, "a", 70, 71, End)
		}, true},
		"published when killed": {func(s *story) {
			s.run(one, "a", 7, 7.9, End)
			s.fault(KillAgent, one, 10, 12)
			s.run(other, "a", 70, 71, End)
		}, false},
		"the other one was killed": {func(s *story) {
			s.run(one, "a", 9, 9.5, End)
			s.fault(KillAgent, other, 10, 12)
			s.run(away, "a", 70, 71, End)
		}, false},
		"its successor was killed": {func(s *story) {
			s.run(one, "a", 1, 2, End)
			s.run(other, "a", 9, 9.5, End)
			s.fault(KillAgent, other, 10, 12)
		}, false},
		"something else was killed": {func(s *story) {
			s.run(one, "a", 9, 9.5, End)
			s.fault(KillReplicator, "unit-1.to-unit-2.1", 10, 12)
			s.fault(KillBroker, "broker-unit-1", 10, 12)
			s.run(other, "a", 70, 71, End)
		}, false},
		"in flight when frozen, and taken over": {func(s *story) {
			s.runs++
			s.line(one, 9.9, Start, s.runs, "a", "beijing")
			mine := s.runs
			s.run(other, "a", 71, 72, End)
			s.line(one, 80, End, mine, "a", "beijing")
			s.fault(FreezeAgent, one, 10, 79)
		}, true},
		"unpublished when frozen": {func(s *story) {
			s.run(one, "a", 9, 9.5, End)
			s.run(other, "a", 70, 71, End)
			s.fault(FreezeAgent, one, 10, 79)
		}, true},
		"begun by a thawed process before it knew": {func(s *story) {
			s.run(other, "a", 70, 71, End)
			s.run(one, "a", 79.5, 80, End)
			s.fault(FreezeAgent, one, 10, 79)
		}, true},
		"begun by a thawed process long after": {func(s *story) {
			s.run(other, "a", 70, 71, End)
			s.run(one, "a", 85, 86, End)
			s.fault(FreezeAgent, one, 10, 79)
		}, false},
		"done by a process long before it was frozen": {func(s *story) {
			s.run(one, "a", 1, 2, End)
			s.run(other, "a", 3, 4, End)
			s.fault(FreezeAgent, one, 10, 12)
		}, false},
		"killed while its broker was dead": {func(s *story) {
			s.run(one, "a", 4, 4.5, End)
			s.fault(KillBroker, "broker-unit-1", 5, 12)
			s.fault(KillAgent, one, 10, 12)
			s.run(other, "a", 70, 71, End)
		}, true},
		"killed while the other unit's broker was dead": {func(s *story) {
			s.run(one, "a", 4, 4.5, End)
			s.fault(KillBroker, "broker-unit-2", 5, 12)
			s.fault(KillAgent, one, 10, 12)
			s.run(other, "a", 70, 71, End)
		}, false},
		"killed long after its broker was dead": {func(s *story) {
			s.run(one, "a", 4, 4.5, End)
			s.fault(KillBroker, "broker-unit-1", 5, 12)
			s.fault(KillAgent, one, 30, 32)
			s.run(other, "a", 70, 71, End)
		}, false},
		"unpublished when its site died": {func(s *story) {
			s.run(one, "a", 9, 9.5, End)
			s.site(0)
			s.run("unit-1.agent-1.2", "a", 70, 71, End)
		}, true},
		"in flight when its site died": {func(s *story) {
			s.run(one, "a", 9.9, 10.05, End)
			s.site(0)
			s.run(away, "a", 70, 71, End)
		}, true},
		"published and not copied when its site died": {func(s *story) {
			s.run(one, "a", 5, 5.5, End)
			s.site(6)
			s.run(away, "a", 12, 13, End)
		}, true},
		"published and not copied, but repeated at home": {func(s *story) {
			s.run(one, "a", 5, 5.5, End)
			s.site(6)
			s.run("unit-1.agent-1.2", "a", 70, 71, End)
		}, false},
		"published and copied when its site died": {func(s *story) {
			s.run(one, "a", 3, 3.5, End)
			s.site(6)
			s.run(away, "a", 12, 13, End)
		}, false},
		"published, and all is copied, when its site died": {func(s *story) {
			s.run(one, "a", 7, 7.5, End)
			s.site(0)
			s.run(away, "a", 12, 13, End)
		}, false},
		"the other site died": {func(s *story) {
			s.run(away, "a", 9, 9.5, End)
			s.site(6)
			s.run(one, "a", 40, 41, End)
		}, false},
		"begun after the site was back": {func(s *story) {
			s.run("unit-1.agent-1.2", "a", 31, 32, End)
			s.site(6)
			s.run(away, "a", 40, 41, End)
		}, false},
		"not copied since the broker was dead, when its site died": {func(s *story) {
			s.run(one, "a", 3, 3.5, End)
			s.fault(KillBroker, "broker-unit-1", 4, 5)
			s.site(6)
			s.run(away, "a", 12, 13, End)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStory()
			s.sent("a")
			c.happens(s)
			v := Judge(&s.Evidence)
			require.Equal(t, 1, v.Repeated)
			if c.allowed {
				require.NoError(t, v.Err())
				require.Equal(t, 1, v.Allowed)
				return
			}
			require.Zero(t, v.Allowed)
			require.ErrorContains(t, v.Err(), "repeated: a of beijing\n\tunit-")
		})
	}
}

func TestEachRepeatNeedsItsOwnExcuse(t *testing.T) {
	s := newStory()
	s.sent("a")
	s.run(one, "a", 9, 9.5, End)
	s.fault(KillAgent, one, 10, 12)
	s.run(other, "a", 70, 71, End)
	s.run(away, "a", 90, 91, End)
	v := Judge(&s.Evidence)
	require.Equal(t, 2, v.Repeated)
	require.Equal(t, 1, v.Allowed)
	require.Equal(t, 500*time.Millisecond, v.OldestAllowed)
	require.Equal(t, 1, strings.Count(v.Err().Error(), "repeated:"))
}

func TestRepeatIsShownWithWhatHappened(t *testing.T) {
	s := newStory()
	s.sent("a")
	s.run(one, "a", 11, 12, End)
	s.fault(Partition, "unit-1 unit-2", 9, 12)
	s.fault(Partition, "unit-1 unit-2", 90, 92)
	s.move("beijing", "unit-2", 12, 13)
	s.move("guangzhou", "unit-2", 12, 13)
	s.run(away, "a", 14, 15, End)
	err := Judge(&s.Evidence).Err()
	require.ErrorContains(t, err, "while\n\t\tpartition unit-1 unit-2")
	require.ErrorContains(t, err, "switch values=beijing")
	require.NotContains(t, err.Error(), "guangzhou")
	require.Equal(t, 1, strings.Count(err.Error(), "partition"))
}

func TestTwoOwnersAtOnce(t *testing.T) {
	s := newStory()
	s.sent("a", "b", "c")
	s.run(one, "a", 1, 3, End)
	s.run(other, "b", 2, 4, End)
	s.run(away, "c", 4, 5, End)
	require.NoError(t, Judge(&s.Evidence).Err(), "two agents of one unit may")
	s.sent("d")
	s.run(away, "d", 2.5, 3.5, End)
	require.ErrorContains(t, Judge(&s.Evidence).Err(), "two owners of beijing")

	s = newStory()
	s.sent("e", "f")
	s.runOf(one, "e", NoValue, 1, 3, End)
	s.runOf(away, "f", NoValue, 2, 4, End)
	require.NoError(t, Judge(&s.Evidence).Err(), "each unit owns what has no value")

	s = newStory()
	s.sent("a", "b")
	s.run(one, "a", 1, 0, "")
	s.fault(KillAgent, one, 2, 9)
	s.run(away, "b", 3, 4, End)
	s.run(other, "a", 70, 71, End)
	require.NoError(t, Judge(&s.Evidence).Err(), "what a killed process had in flight ended with it")
}

func TestWhatDiedWithItsSiteIsCutOff(t *testing.T) {
	s := newStory()
	s.sent("a", "b", "c")
	s.run(one, "a", 9, 0, "")
	s.run(other, "b", 9, 0, "")
	s.site(0)
	s.run(away, "a", 12, 13, End)
	s.run(away, "b", 12, 13, End)
	s.run(away, "c", 12, 13, End)
	require.NoError(t, Judge(&s.Evidence).Err())
	s.run("unit-1.agent-1.2", "c", 70, 0, "")
	require.ErrorContains(t, Judge(&s.Evidence).Err(), "the handler of c did not end", "its process is not one that died")
}

func TestJournalsThatCannotBeTrusted(t *testing.T) {
	s := newStory()
	s.sent("a", "b")
	s.run(one, "a", 1, 2, End)
	s.run(one, "b", 3, 4, End)
	whole := s.Lines
	for i := range whole {
		s.Lines = append(append([]Line{}, whole[:i]...), whole[i+1:]...)
		if i != 1 && i != len(whole)-1 { // the last lines of their journals
			require.ErrorContains(t, Judge(&s.Evidence).Err(), "follows line", i)
		}
		require.Error(t, Judge(&s.Evidence).Err(), i)
	}
	s = newStory()
	s.run(one, "stranger", 1, 2, End)
	require.ErrorContains(t, Judge(&s.Evidence).Err(), "nobody sent stranger")
	s = newStory()
	s.sent("a")
	s.run(one, "a", 1, 2, End)
	s.run(one, "a", 3, 0, "")
	require.ErrorContains(t, Judge(&s.Evidence).Err(), "the handler of a did not end")
}

func TestManyProblemsAreCut(t *testing.T) {
	s := newStory()
	for range 100 {
		s.sent("k" + strings.Repeat("x", len(s.Lines)))
	}
	require.ErrorContains(t, Judge(&s.Evidence).Err(), "and 80 more")
}

func TestAForcedSwitchHasToSucceed(t *testing.T) {
	for outcome, fine := range map[Outcome]bool{Done: true, Nothing: true, Aborted: false, Unanswered: false} {
		s := newStory()
		s.sent("a")
		s.run(one, "a", 1, 2, End)
		s.site(6)
		s.Switches = append(s.Switches, Switch{Query: "from=unit-1&forced=true", Forced: true, Outcome: outcome, Begun: at(6), Ended: at(7)})
		v := Judge(&s.Evidence)
		if fine {
			require.NoError(t, v.Err(), outcome)
			continue
		}
		require.ErrorContains(t, v.Err(), "not moved by force", outcome)
	}
}
