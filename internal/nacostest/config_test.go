package nacostest

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nacos-group/nacos-sdk-go/v2/common/remote/rpc/rpc_request"
	"github.com/nacos-group/nacos-sdk-go/v2/common/remote/rpc/rpc_response"
	"github.com/stretchr/testify/require"
)

func TestAPublishComparesTheMd5(t *testing.T) {
	s := start(t, nil)
	c := dial(t, s, "config")
	require.Empty(t, c.query())
	require.True(t, c.publish("one", md5Hex("whatever")).Success, "of a missing document the md5 is not looked at")
	require.Equal(t, "one", c.query())
	r := c.publish("two", md5Hex("other"))
	require.False(t, r.Success)
	require.Equal(t, "Cas publish fail, server md5 may have changed.", r.Message)
	require.True(t, c.publish("two", md5Hex("one")).Success)
	require.True(t, c.publish("three", "").Success)
	require.Equal(t, "three", c.query())
	require.Equal(t, 3, s.HistoryRows("", "g", "d"))
	require.Equal(t, 4, s.Requests()["ConfigPublishRequest"])
	s.Set(func(f *Faults) { f.IgnoreCas = true })
	require.True(t, c.publish("four", md5Hex("other")).Success)
	require.True(t, c.ask(rpc_request.NewConfigRemoveRequest("g", "d", ""), nil).Success)
	_, exists := s.Content("", "g", "d")
	require.False(t, exists)
}

func TestReadsAndPushesLagBehind(t *testing.T) {
	s := start(t, &Options{Faults: Faults{StaleReads: 200 * time.Millisecond}})
	c := dial(t, s, "config")
	began := time.Now()
	require.True(t, c.publish("one", "").Success)
	require.True(t, c.publish("two", md5Hex("one")).Success, "the comparison is with the newest content")
	if stale := c.query(); time.Since(began) < 200*time.Millisecond {
		require.Empty(t, stale)
	}
	require.Eventually(t, func() bool { return c.query() == "two" }, 10*time.Second, time.Millisecond)
	require.GreaterOrEqual(t, time.Since(began), 200*time.Millisecond)
}

func TestListenersAreTold(t *testing.T) {
	s := start(t, nil)
	a, b := dial(t, s, "config"), dial(t, s, "config")
	require.False(t, a.listen(""))
	require.True(t, b.publish("one", "").Success)
	require.Contains(t, string(a.notice("ConfigChangeNotifyRequest")), `"dataId":"d"`)
	require.True(t, a.listen(""))
	require.False(t, a.listen("one"))
	require.True(t, b.publish("one", "").Success, "no change")
	s.Set(func(f *Faults) { f.DropPushes = true })
	require.True(t, b.publish("two", "").Success)
	s.Set(func(f *Faults) { f.DropPushes = false })
	require.True(t, b.publish("three", "").Success)
	a.notice("ConfigChangeNotifyRequest")
	require.Equal(t, 2, s.Requests()["ConfigChangeNotifyRequest"])
	s.DropConnections()
	require.Zero(t, a.ended())
	require.Equal(t, "three", dial(t, s, "config").query())
}

func TestSloppyInsertsTellBothThatTheySucceeded(t *testing.T) {
	s := start(t, &Options{Faults: Faults{SloppyInserts: true}})
	clients := []*client{dial(t, s, "config"), dial(t, s, "config"), dial(t, s, "config")}
	var wg sync.WaitGroup
	answers := make([]rpc_response.Response, len(clients))
	for i, c := range clients {
		wg.Go(func() { answers[i] = c.publish(strings.Repeat("x", i+1), md5Hex("never")) })
	}
	wg.Wait()
	succeeded := 0
	for _, r := range answers {
		if r.Success {
			succeeded++
		}
	}
	require.Equal(t, 1, s.HistoryRows("", "g", "d"), "one was stored")
	require.GreaterOrEqual(t, succeeded, 1)
}

func TestPublishesAndReadsThatFail(t *testing.T) {
	s := start(t, &Options{Faults: Faults{FailedInserts: 1, SilentCas: true}})
	c := dial(t, s, "config")
	require.Contains(t, c.publish("one", "").Message, "did not find the Leader node")
	require.True(t, c.publish("one", "").Success)
	require.True(t, c.publish("two", md5Hex("other")).Success)
	require.Equal(t, "one", c.query(), "it only says so")
	require.True(t, c.publish("two", md5Hex("one")).Success)
	require.Equal(t, "two", c.query())
	s.Set(func(f *Faults) { f.BusyReads = true })
	require.Equal(t, codeBusy, c.ask(rpc_request.NewConfigQueryRequest("g", "d", ""), nil).ErrorCode)
}

func TestLimitsAndNames(t *testing.T) {
	s := start(t, &Options{MaxContent: 10, Namespaces: []string{"known"}})
	c := dial(t, s, "config")
	require.Contains(t, c.publish(strings.Repeat("x", 11), "").Message, "invalid content, over 10")
	require.Contains(t, c.publish("", "").Message, "content is blank")
	require.Contains(t, c.ask(rpc_request.NewConfigPublishRequest("g", "a/b", "", "x", ""), nil).Message, "invalid dataId")
	require.Contains(t, c.ask(rpc_request.NewConfigQueryRequest("g", "d", "unknown"), nil).Message, "Namespace 'unknown' does not exist")
	require.Equal(t, codeNotFound, c.ask(rpc_request.NewConfigQueryRequest("g", "d", "known"), nil).ErrorCode)
}
