package filter

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

func TestBaselines(t *testing.T) {
	at := func(incarnation, offset int64) Record {
		q := queue1
		q.Incarnation = incarnation
		return Record{Kind: Baseline, Group: "g", Queue: q, Offset: offset}
	}
	require.Equal(t, []Record{at(0, 7)}, Baselines("g", queue1, 7, nil))
	in := &msha.Incarnations{Queues: []msha.RaisedQueue{{Queue: queue1, Raised: []msha.Raised{{From: 3}, {From: 20}}}}}
	require.Equal(t, []Record{at(0, 7), at(1, 7), at(2, 20)}, Baselines("g", queue1, 7, in))
	require.Equal(t, []Record{at(0, 0), at(1, 3), at(2, 20)}, Baselines("g", queue1, 0, in))
}
