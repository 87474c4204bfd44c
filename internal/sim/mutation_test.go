package sim

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

// Each step of the protocol that a mutation leaves out is missed by some schedule.
func TestMutationsAreNoticed(t *testing.T) {
	for mutation, within := range map[Mutation]int{
		NoRescanOnAcquire:   20,
		NoCloseBeforeAck:    50,
		NoVoid:              1000,
		DropOneAck:          50,
		DoneAfterAck:        1000,
		NoLogRead:           100,
		VoidIsClose:         1000,
		TrustSend:           100,
		HalfHandOver:        20,
		NoLock:              20,
		ReleaseBeforeFacts:  1000,
		HandOverIgnoresDone: 20,
		AckBeforeFacts:      50,
		AckBeforeDrain:      50,
		StaleJoin:           1000,
		HeartbeatOpensGate:  1000,
		LateRenewal:         1000,
		NoTrustWait:         1000,
		PassesOverListed:    1000,
		AlwaysFresh:         1000,
		LiveBeforeRescan:    50,
		NoUnsettle:          1000,
		NothingHeldBack:     100,
		RejoinUnasked:       3000,
		RejoinIgnoresDone:   100,
		ForgetsForced:       1000,
		NoStrictWait:        1000,
		NoFingerprint:       100,
		NoTail:              100,
		NoLogCheck:          100,
		AbsentBeyondEnd:     1000,
		CommitInDoubt:       1000,
		ForeignUnread:       1000,
		SentAnyhow:          1000,
		UnsentStays:         1000,
		RetriesStay:         3000,
		NoRetryPosition:     3000,
		NoManagerFence:      1000,
		SkipsPhase:          1000,
		OrphanStays:         1000,
	} {
		if within > mutationSeeds {
			continue // too slow under the race detector
		}
		t.Run(string(mutation), func(t *testing.T) {
			failed, _ := sweep(within, mutation)
			require.NotNil(t, failed, "%d schedules did not notice it", within)
			t.Logf("seed %d: %v", failed.Seed, failed.Err)
		})
	}
}

// A hand-over that is not complete in the log stops its routes: nothing is replayed from the baseline.
func TestHalfHandOverIsNeverReplayed(t *testing.T) {
	for s := range uint64(10) {
		if err := Run(s+1, HalfHandOver).Err; err != nil {
			require.True(t, errors.Is(err, errNoRest) || errors.Is(err, msha.ErrMissingFacts), "seed %d: %v", s+1, err)
		}
	}
}
