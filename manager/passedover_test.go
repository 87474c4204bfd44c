package manager_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/manager"
	"github.com/go-msha/msha/route"
	"github.com/go-msha/msha/switchplan"
)

// record writes into a unit's log what a process of the group did.
func (w *world) record(unit string, records ...filter.Record) {
	w.Helper()
	require.NoError(w, w.clusters[unit].EnsureTopic(w.Context(), remoting.TopicConfig{Name: msha.ProgressTopic, Read: 1, Write: 1}))
	for i := range records {
		records[i].Group = group
	}
	_, err := w.clusters[unit].Send(w.Context(), remoting.Queue{Topic: msha.ProgressTopic, Broker: "broker-" + unit}, "tests", &remoting.Message{Body: filter.EncodeRecords(records)})
	require.NoError(w, err)
}

// A process of unit-2 was killed: of 10 messages of its own unit it has published 4, of the 5 copies from unit-1 none. The rest it may have
// processed, and the report says so, however the switch passed over it.
func TestWhoWasPassedOverMayHaveDoneMore(t *testing.T) {
	home := filter.LocalQueue{Topic: topic, Broker: "broker-unit-2"}
	replica := filter.LocalQueue{Topic: msha.ReplicaTopic(topic, "unit-1"), Broker: "broker-unit-2"}
	retry := filter.LocalQueue{Topic: "%RETRY%" + group, Broker: "broker-unit-2"}
	queue := msha.OriginQueue{Unit: "unit-2", Broker: "broker-unit-2", Topic: topic}
	for name, c := range map[string]struct {
		holds, released []filter.LocalQueue
		want            int64
	}{
		"nothing held":            {nil, nil, 0},
		"all given back":          {[]filter.LocalQueue{home, replica, retry}, []filter.LocalQueue{home, replica, retry}, 0},
		"its own queue":           {[]filter.LocalQueue{home}, nil, 6},
		"its own queue and retry": {[]filter.LocalQueue{home, retry}, nil, 6},
		"copies":                  {[]filter.LocalQueue{replica, home}, []filter.LocalQueue{home}, 5},
		"a retry queue":           {[]filter.LocalQueue{retry}, nil, 1},
		"all":                     {[]filter.LocalQueue{home, replica, retry}, nil, 11},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, &manager.Options{GateWindow: 300 * time.Millisecond, TakeOverTimeout: 50 * time.Millisecond})
			close(w.release)
			w.join("unit-1")
			set, _ := w.table().Lookup("guangzhou", "")
			key := filter.KeyOf(set)
			require.NoError(t, route.UpdateUnits(t.Context(), w.store, func(units *msha.Units) (*msha.Units, error) {
				return units.With("unit-2", group, []string{"broker-unit-2"}), nil
			}))
			require.NoError(t, route.UpdateRoster(t.Context(), w.store, func(r msha.Roster) msha.Roster {
				return r.With(msha.RosterMember{ClientID: "killed", Session: "1", Unit: "unit-2", Groups: []string{group}})
			}))
			w.send("unit-2", "guangzhou", 10)
			w.send("unit-1", "guangzhou", 5)
			open := filter.Record{Kind: filter.Open, Set: key.Set, Term: key.Term, Queue: queue, Offset: 5, Number: "w/1", Attempt: 1, Writer: "w", Client: "killed"}
			w.record("unit-2", filter.Record{Kind: filter.Baseline, Queue: queue}, filter.Record{Kind: filter.Done, Set: key.Set, Term: key.Term, Queue: queue, Spans: filter.Range(0, 4), Next: 4}, open, filter.SentOf(open))
			for _, q := range c.holds {
				w.record("unit-2", filter.Record{Kind: filter.Hold, Client: "killed", Writer: "w", Local: q})
			}
			for _, q := range c.released {
				w.record("unit-2", filter.Record{Kind: filter.Release, Client: "killed", Writer: "w", Local: q})
			}
			var f switchplan.Forecast
			w.eventually("copies are there, unit-1's baseline too", func() bool {
				f = switchplan.Forecast{}
				if w.call("GET", "/switch?values=guangzhou&dry-run", &f) != http.StatusOK || len(f.Lag) != 1 || f.Lag[0].Messages != 0 || len(f.Moves[0].Groups) == 0 {
					return false
				}
				g := f.Moves[0].Groups[0]
				return g.Pending+g.Retrying+g.Backlog == 11
			})
			var answer manager.Answer
			require.Equal(t, http.StatusOK, w.call("GET", "/switch?values=guangzhou&deadline=1m", &answer))
			require.Equal(t, c.want, answer.PossiblyRepeated, "%+v", answer)
		})
	}
}
