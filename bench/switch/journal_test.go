//go:build unix

package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestJournalCounts(t *testing.T) {
	j := newJournal("watched")
	sent, unsure := j.numbers(4), j.numbers(2)
	j.answered(sent, true)
	j.answered(unsure, false)
	two := j.processed(span{0, 2})
	for _, id := range []int{0, 1, 1, 4, 4, 99} {
		j.ran(id, "v", run{start: at(100 * id), end: at(100*id + 100)})
	}
	<-two
	<-j.processed(span{0, 2})
	require.Equal(t, count{sent: 4, lost: 2, repeated: 2, foreign: 1}, j.count())
	require.True(t, j.count().wrong())
	require.False(t, count{sent: 1}.wrong())
	first, last := j.worked(span{0, 4})
	require.Equal(t, at(0), first)
	require.Equal(t, at(200), last)
}

func TestJournalWatches(t *testing.T) {
	j := newJournal("watched")
	j.numbers(3)
	for id, value := range []string{"watched", "other", "watched"} {
		j.ran(id, value, run{start: at(10 - id)})
	}
	require.Equal(t, map[string][]run{"watched": {{start: at(8)}, {start: at(10)}}}, j.starts())
}
