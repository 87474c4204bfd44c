package replicate

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/metastore/memory"
)

func TestLimitsHoldOnAverage(t *testing.T) {
	for name, c := range map[string]struct {
		o                     Options
		batch, bytes, batches int
		topic                 string
		least, most           time.Duration
	}{
		"none":                             {Options{}, 256, 1 << 20, 100, "SMS", 0, 0},
		"messages":                         {Options{MessagesPerSecond: 1000}, 100, 1, 100, "SMS", 9800 * time.Millisecond, 10 * time.Second},
		"a batch larger than the burst":    {Options{MessagesPerSecond: 10}, 50, 1, 5, "SMS", 19 * time.Second, 20 * time.Second},
		"bytes":                            {Options{BytesPerSecond: 1 << 20}, 1, 1 << 20, 5, "SMS", 3900 * time.Millisecond, 4 * time.Second},
		"the stricter one counts":          {Options{MessagesPerSecond: 1000, BytesPerSecond: 100}, 10, 100, 11, "SMS", 9900 * time.Millisecond, 10 * time.Second},
		"one message per second":           {Options{MessagesPerSecond: 1}, 1, 1, 10, "SMS", 8900 * time.Millisecond, 9 * time.Second},
		"the facts log is not held back":   {Options{MessagesPerSecond: 1, BytesPerSecond: 1}, 1000, 1000, 100, msha.ProgressTopic, 0, 0},
		"an empty batch costs no bytes":    {Options{BytesPerSecond: 1}, 1, 0, 1000, "SMS", 0, 0},
		"the first batch goes immediately": {Options{MessagesPerSecond: 1}, 100, 1, 1, "SMS", 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, start := newLimits(&c.o).of(c.topic), time.Now()
				for range c.batches {
					require.NoError(t, l.wait(t.Context(), c.batch, c.bytes))
				}
				took := time.Since(start)
				require.GreaterOrEqual(t, took, c.least)
				require.LessOrEqual(t, took, c.most)
			})
		})
	}
}

func TestBatchesAreSmallWhereRatesAreLow(t *testing.T) {
	for _, c := range []struct{ o, want Options }{
		{Options{}, Options{BatchMessages: 2048, BatchBytes: 1 << 20}},
		{Options{MessagesPerSecond: 1000}, Options{BatchMessages: 100, BatchBytes: 1 << 20}},
		{Options{MessagesPerSecond: 1, BytesPerSecond: 1 << 30}, Options{BatchMessages: 1, BatchBytes: 1 << 20}},
		{Options{BytesPerSecond: 50_000}, Options{BatchMessages: 2048, BatchBytes: 5000}},
	} {
		messages, bytes := newLimits(&c.o).batch(2048, 1<<20)
		require.Equal(t, c.want, Options{BatchMessages: messages, BatchBytes: bytes})
	}
}

func TestLimitEndsWithTheContextAndGivesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimits(&Options{MessagesPerSecond: 10})
		require.NoError(t, l.wait(t.Context(), 100, 0))
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		start := time.Now()
		require.ErrorIs(t, l.wait(ctx, 1000, 0), context.DeadlineExceeded)
		require.Equal(t, 3*time.Second, time.Since(start), "neither before nor after")
		require.NoError(t, l.wait(t.Context(), 1, 0))
		require.LessOrEqual(t, time.Since(start), 11*time.Second, "what the other did not send costs nobody")
	})
}

func TestRatesAreChecked(t *testing.T) {
	_, err := New("unit-1", memory.New(), &Options{MessagesPerSecond: -1, BytesPerSecond: -2})
	require.ErrorIs(t, err, msha.ErrInvalid)
	require.ErrorContains(t, err, "MessagesPerSecond is -1")
	require.ErrorContains(t, err, "BytesPerSecond is -2")
}

func TestReplicatorKeepsItsRate(t *testing.T) {
	store := memory.New()
	sites := startSites(t, store, "unit-1", "unit-2")
	sites["unit-1"].createTopic(t, "SMS", 2)
	sites["unit-1"].produce(t, "SMS", 120)
	start := time.Now()
	r, _ := run(t, "unit-1", store, &Options{Topics: []string{"SMS"}, MessagesPerSecond: 100, BatchMessages: 10})
	syncTopic(t, r, "SMS")
	took := time.Since(start)
	require.Greater(t, took, 900*time.Millisecond, "120 messages at 100 per second, of which about 25 go at once")
	s := r.Stats()
	require.EqualValues(t, 120, s.Copied)
	require.Greater(t, s.Limited, 500*time.Millisecond)
	require.Less(t, s.Limited, 2*took+time.Second, "of two queues")
	requireExact(t, store, "unit-1", "unit-2", sites, "SMS")
}
