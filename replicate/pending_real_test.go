//go:build real

package replicate

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/realmq"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/metastore/memory"
)

func TestPendingOnRealServers(t *testing.T) {
	for _, version := range realmq.Versions() {
		t.Run(version, func(t *testing.T) { pendingOnReal(t, version) })
	}
}

func pendingOnReal(t *testing.T, version string) {
	c := realmq.New(t, &realmq.Options{Version: version, Brokers: []string{"one"}})
	store := memory.New()
	value, err := json.Marshal(msha.Units{Units: []msha.UnitInfo{{Name: "unit-1", NameServers: []string{c.NameServer()}, State: "live"}}})
	require.NoError(t, err)
	_, err = store.Put(t.Context(), msha.UnitsKey, value, 0)
	require.NoError(t, err)
	client := remoting.NewClient(nil)
	t.Cleanup(client.Close)
	mq := remoting.NewCluster([]string{c.NameServer()}, client)
	require.NoError(t, mq.CreateTopic(t.Context(), c.Addr("one"), remoting.TopicConfig{Name: "SMS", Read: 1, Write: 1}))
	q := remoting.Queue{Topic: "SMS", Broker: "one"}
	r, _ := run(t, "unit-1", store, nil)
	settled := func(what string, delayed, half int64) {
		t.Helper()
		start := time.Now()
		var last msha.PendingMessages
		eventually(t, what, func() bool {
			all, err := r.Pending(t.Context())
			if err != nil {
				return false
			}
			last = all[0] // 4.9.7 cannot tell in its first second: then it is unknown
			return last.Err == nil && last.Delayed == delayed && last.Half == half
		})
		t.Logf("%s: %d delayed, %d half after %v", what, last.Delayed, last.Half, time.Since(start).Round(10*time.Millisecond))
	}
	settled("nothing", 0, 0)
	sendDelayed(t, mq, q, 10, "18") // 2 h
	settled("10 delayed", 10, 0)
	halves := sendHalf(t, mq, q, 7)
	settled("7 half", 10, 7)
	endTransaction(t, c.Addr("one"), halves[1], remoting.SysTransCommit)
	endTransaction(t, c.Addr("one"), halves[4], remoting.SysTransRollback)
	settled("5 half", 10, 5)
	sendDelayed(t, mq, q, 3, "3") // 10 s
	settled("3 more", 13, 5)
	settled("they are delivered", 10, 5)
	if version == realmq.V5 {
		for range 4 {
			_, err := mq.Send(t.Context(), q, "p", &remoting.Message{Body: []byte("by the timer"), Properties: map[string]string{"TIMER_DELAY_SEC": "3600"}})
			require.NoError(t, err)
		}
		settled("4 in the timer", 14, 5)
	}
	require.NoError(t, c.Kill("one"))
	require.NoError(t, c.Restart(t.Context(), "one"))
	if version == realmq.V5 {
		settled("after a restart", 14, 5)
	} else {
		settled("after a restart", 10, 5)
	}
}
