package remoting

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

// routeOfABroker is how a broker's JSON library writes a route: integer keys without quotes.
const routeOfABroker = `{"brokerDatas":[{"brokerAddrs":{0:"10.0.0.2:10911",1:"10.0.0.3:10911"},"brokerName":"broker-b","cluster":"c","enableActingMaster":false},` +
	`{"brokerAddrs":{0:"10.0.0.1:10911"},"brokerName":"broker-a","cluster":"c \"{1:,2:"}],"filterServerTable":{},` +
	`"queueDatas":[{"brokerName":"broker-b","perm":4,"readQueueNums":2,"topicSysFlag":0,"writeQueueNums":1},{"brokerName":"broker-a","perm":6,"readQueueNums":1,"writeQueueNums":3}]}`

// fakeCluster is one server that is name server and broker at once; answers holds what it says by request code.
type fakeCluster struct {
	addr    string
	stop    func()
	mu      sync.Mutex
	answers map[int]func(req *Command) *Command
	calls   map[int]int
}

func startFake(t *testing.T, addr string) *fakeCluster {
	t.Helper()
	f := &fakeCluster{answers: map[int]func(*Command) *Command{}, calls: map[int]int{}}
	f.addr, f.stop = serve(t, addr, func(_ context.Context, conn *Conn, req *Command) *Command {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.calls[req.Code]++
		if h := f.answers[req.Code]; h != nil {
			return h(req)
		}
		return req.Reply(RespRequestCodeNotSupported, "not known here")
	})
	f.on(ReqGetBrokerClusterInfo, func(req *Command) *Command {
		resp := req.Reply(RespSuccess, "")
		resp.Body = fmt.Appendf(nil, `{"brokerAddrTable":{"broker-a":{"brokerAddrs":{0:%q},"brokerName":"broker-a","cluster":"c"}},"clusterAddrTable":{"c":["broker-a"]}}`, f.addr)
		return resp
	})
	return f
}

func (f *fakeCluster) on(code int, h func(*Command) *Command) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers[code] = h
}

func (f *fakeCluster) count(code int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[code]
}

func say(code int, remark string, ext map[string]string, body string) func(*Command) *Command {
	return func(req *Command) *Command {
		resp := req.Reply(code, remark)
		resp.Ext, resp.Body = ext, []byte(body)
		return resp
	}
}

var queueA = Queue{Topic: "SMS", Broker: "broker-a", ID: 1}

func TestBrokerErrorsAreTyped(t *testing.T) {
	f := startFake(t, "127.0.0.1:0")
	cl, ctx := NewCluster([]string{f.addr}, newClient(t, nil)), testContext(t)
	all := []error{msha.ErrNotFound, msha.ErrTooLarge, msha.ErrUnsupported, msha.ErrDenied, ErrStored}
	for code, want := range map[int]error{
		RespTopicNotExist: msha.ErrNotFound, RespQueryNotFound: msha.ErrNotFound, RespSubscriptionGroupAbsent: msha.ErrNotFound,
		RespConsumerNotOnline: msha.ErrNotFound, RespMessageIllegal: msha.ErrTooLarge, RespRequestCodeNotSupported: msha.ErrUnsupported,
		RespVersionNotSupported: msha.ErrUnsupported, RespSystemError: nil, RespSystemBusy: nil, RespNoPermission: msha.ErrDenied,
	} {
		f.on(ReqGetMaxOffset, say(code, "because", nil, ""))
		_, err := cl.MaxOffset(ctx, queueA)
		var be *BrokerError
		require.ErrorAs(t, err, &be)
		be.Hint = ""
		require.Equal(t, BrokerError{Op: "max offset of SMS/broker-a/1", Addr: f.addr, Code: code, Remark: "because"}, *be)
		for _, sentinel := range all {
			require.Equal(t, sentinel == want, errors.Is(err, sentinel), "code %d, %v", code, sentinel)
		}
		require.ErrorContains(t, err, "because")
	}
	for _, code := range []int{RespFlushDiskTimeout, RespFlushSlaveTimeout, RespSlaveNotAvailable} {
		f.on(ReqSendMessageV2, say(code, "late", map[string]string{"queueOffset": "41", "queueId": "1", "msgId": "ID"}, ""))
		res, err := cl.Send(ctx, queueA, "g", &Message{Body: []byte("x")})
		require.ErrorIs(t, err, ErrStored)
		require.Equal(t, &SendResult{OffsetMsgID: "ID", QueueOffset: 41, Queue: queueA}, res, "stored all the same")
	}
	f.on(ReqSendMessageV2, say(RespSystemBusy, "", nil, ""))
	res, err := cl.Send(ctx, queueA, "g", &Message{Body: []byte("x")})
	require.Error(t, err)
	require.Nil(t, res)
}

func TestFiltersRefused(t *testing.T) {
	f := startFake(t, "127.0.0.1:0")
	cl, ctx := NewCluster([]string{f.addr}, newClient(t, nil)), testContext(t)
	asked := ""
	answer := func(code int, remark string) {
		f.on(ReqCheckClientConfig, func(req *Command) *Command {
			asked = string(req.Body)
			return req.Reply(code, remark)
		})
		f.on(ReqPullMessage, say(code, remark, nil, ""))
	}
	for _, c := range []struct {
		code         int
		remark, hint string
		is           error
	}{
		{RespSystemError, "The broker does not support consumer to filter message by SQL92", "enablePropertyFilter=true", msha.ErrUnsupported},
		{RespSubscriptionParseFailed, "ParseException: Encountered", "this version of RocketMQ can read", msha.ErrInvalid},
	} {
		answer(c.code, c.remark)
		_, pulled := cl.Pull(ctx, PullRequest{Queue: queueA, SubExpression: "a >", ExpressionType: SQL92})
		checked := cl.CheckSubscription(ctx, f.addr, "client", "group", SubscriptionData{Topic: "SMS", SubString: "a >", ExpressionType: SQL92})
		for _, err := range []error{pulled, checked} {
			require.ErrorIs(t, err, ErrFilter)
			require.ErrorIs(t, err, c.is)
			require.ErrorContains(t, err, c.hint)
			require.ErrorContains(t, err, c.remark)
			require.ErrorContains(t, err, f.addr)
		}
	}
	require.Contains(t, asked, `"clientId":"client","group":"group","subscriptionData":{"classFilterMode":false,"topic":"SMS","subString":"a \u003e"`)
	answer(RespSystemError, "something else")
	require.NotErrorIs(t, cl.CheckSubscription(ctx, f.addr, "client", "group", SubscriptionData{}), ErrFilter)
	answer(RespSuccess, "")
	require.NoError(t, cl.CheckSubscription(ctx, f.addr, "client", "group", SubscriptionData{}))
}

func TestAnswersWithoutTheirFieldsAreErrors(t *testing.T) {
	f := startFake(t, "127.0.0.1:0")
	cl, ctx := NewCluster([]string{f.addr}, newClient(t, nil)), testContext(t)
	for _, code := range []int{ReqGetMaxOffset, ReqSendMessageV2, ReqGetConsumerListByGroup, ReqLockBatchMQ, ReqGetAllTopicConfig, ReqGetAllGroups, ReqGetConsumerConnections, ReqGetRouteInfoByTopic} {
		f.on(code, say(RespSuccess, "", map[string]string{"offset": "x"}, "{"))
	}
	f.on(ReqPullMessage, say(RespSuccess, "", nil, "garbage"))
	f.on(ReqViewMessageByID, say(RespSuccess, "", nil, ""))
	for name, call := range map[string]func() error{
		"offset":      func() error { _, err := cl.MaxOffset(ctx, queueA); return err },
		"send":        func() error { _, err := cl.Send(ctx, queueA, "g", &Message{Body: []byte("x")}); return err },
		"pull":        func() error { _, err := cl.Pull(ctx, PullRequest{Queue: queueA}); return err },
		"view":        func() error { _, err := cl.ViewMessage(ctx, f.addr, 1); return err },
		"consumers":   func() error { _, err := cl.ConsumerIDs(ctx, f.addr, "g"); return err },
		"connections": func() error { _, err := cl.ConsumerConnections(ctx, f.addr, "g"); return err },
		"lock":        func() error { _, err := cl.Lock(ctx, f.addr, "g", "c", nil); return err },
		"topics":      func() error { _, err := cl.TopicConfigs(ctx, f.addr); return err },
		"groups":      func() error { _, err := cl.Groups(ctx, f.addr); return err },
		"route":       func() error { _, err := cl.Route(ctx, "SMS"); return err },
	} {
		require.ErrorIs(t, call(), msha.ErrInvalid, name)
	}
}

func TestPullOutcomes(t *testing.T) {
	f := startFake(t, "127.0.0.1:0")
	cl, ctx := NewCluster([]string{f.addr}, newClient(t, nil)), testContext(t)
	positions := map[string]string{"nextBeginOffset": "7", "minOffset": "2", "maxOffset": "9"}
	for code, want := range map[int]PullStatus{RespPullNotFound: PullNoNew, RespPullRetryImmediately: PullNoMatched, RespPullOffsetMoved: PullOffsetIllegal} {
		f.on(ReqPullMessage, say(code, "", positions, ""))
		res, err := cl.Pull(ctx, PullRequest{Queue: queueA, Offset: 7})
		require.NoError(t, err)
		require.Equal(t, &PullResult{Status: want, NextOffset: 7, MinOffset: 2, MaxOffset: 9}, res)
	}
	f.on(ReqPullMessage, say(RespSubscriptionNotExist, "", nil, ""))
	_, err := cl.Pull(ctx, PullRequest{Queue: queueA})
	var be *BrokerError
	require.ErrorAs(t, err, &be)
	require.Equal(t, RespSubscriptionNotExist, be.Code)
}

func TestStaticTopicIsRefused(t *testing.T) {
	const mapped = `{"brokerDatas":[{"brokerName":"b","cluster":"c","brokerAddrs":{0:"10.0.0.1:10911"}}],"queueDatas":[{"brokerName":"b","readQueueNums":1,"writeQueueNums":1,"perm":6}],` +
		`"topicQueueMappingByBroker":{"b":{"bname":"b","currIdMap":{0:0},"epoch":1,"scope":"__global__","topic":"T","totalQueues":1}}}`
	f := startFake(t, "127.0.0.1:0")
	f.on(ReqGetRouteInfoByTopic, say(RespSuccess, "", nil, mapped))
	_, err := NewCluster([]string{f.addr}, newClient(t, nil)).Queues(testContext(t), "T", false)
	require.ErrorIs(t, err, msha.ErrUnsupported)
	require.ErrorContains(t, err, "static topic")
	require.ErrorContains(t, err, "topic T")
	r, err := decodeRoute([]byte(`{"topicQueueMappingByBroker":{}}`))
	require.NoError(t, err)
	require.False(t, r.Static)
}

func TestRouteOfARealBroker(t *testing.T) {
	r, err := decodeRoute([]byte(routeOfABroker))
	require.NoError(t, err)
	require.Equal(t, &Route{
		Brokers: []Broker{{Name: "broker-a", Cluster: `c "{1:,2:`, Addrs: map[int64]string{0: "10.0.0.1:10911"}},
			{Name: "broker-b", Cluster: "c", Addrs: map[int64]string{0: "10.0.0.2:10911", 1: "10.0.0.3:10911"}}},
		Queues: []QueueData{{"broker-a", 1, 3, 6, 0}, {"broker-b", 2, 1, 4, 0}},
	}, r)
	for _, n := range []string{"-1", "65537", "1e99", "99999999999999999999"} {
		_, err := decodeRoute([]byte(`{"queueDatas":[{"brokerName":"b","readQueueNums":` + n + `}]}`))
		require.ErrorIs(t, err, msha.ErrInvalid, n)
	}

	f := startFake(t, "127.0.0.1:0")
	f.on(ReqGetRouteInfoByTopic, say(RespSuccess, "", nil, routeOfABroker))
	cl, ctx := NewCluster([]string{f.addr}, newClient(t, nil)), testContext(t)
	read, err := cl.Queues(ctx, "SMS", false)
	require.NoError(t, err)
	require.Equal(t, []Queue{{"SMS", "broker-a", 0}, {"SMS", "broker-b", 0}, {"SMS", "broker-b", 1}}, read)
	write, err := cl.Queues(ctx, "SMS", true)
	require.NoError(t, err)
	require.Equal(t, []Queue{{"SMS", "broker-a", 0}, {"SMS", "broker-a", 1}, {"SMS", "broker-a", 2}}, write, "broker-b may not be written")
}

func TestNameServersTakeOver(t *testing.T) {
	f := startFake(t, "127.0.0.1:0")
	const dead = "127.0.0.1:1"
	ctx := testContext(t)
	cl := NewCluster([]string{dead + "; " + f.addr, ""}, newClient(t, nil))
	require.Equal(t, []string{dead, f.addr}, cl.NameServers())
	for range 2 {
		all, err := cl.Brokers(ctx)
		require.NoError(t, err)
		require.Equal(t, map[string]string{"broker-a": f.addr}, all)
	}
	_, err := NewCluster([]string{dead}, newClient(t, nil)).Brokers(ctx)
	var op *msha.OpError
	require.ErrorAs(t, err, &op)
	require.Contains(t, op.Resource, dead)
	require.NotEmpty(t, op.Hint)
	_, err = NewCluster(nil, newClient(t, nil)).Brokers(ctx)
	require.ErrorIs(t, err, msha.ErrInvalid)
}

// A name server that hangs lets a call with little time fail; the next call asks another one.
func TestASilentNameServerIsAskedOnce(t *testing.T) {
	hang := make(chan struct{})
	silent, stop := serve(t, "127.0.0.1:0", func(ctx context.Context, _ *Conn, _ *Command) *Command {
		<-hang
		return nil
	})
	t.Cleanup(stop)
	t.Cleanup(func() { close(hang) })
	f := startFake(t, "127.0.0.1:0")
	cl := NewCluster([]string{silent, f.addr}, newClient(t, nil))
	hurried, cancel := context.WithTimeout(testContext(t), 50*time.Millisecond)
	defer cancel()
	_, err := cl.Brokers(hurried)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	hurried, cancel = context.WithTimeout(testContext(t), nameServerTimeout-time.Second)
	defer cancel()
	_, err = cl.Brokers(hurried)
	require.NoError(t, err)
}

func TestMasterAddressesAreCachedUntilAnError(t *testing.T) {
	f := startFake(t, "127.0.0.1:0")
	f.on(ReqGetMaxOffset, say(RespSuccess, "", map[string]string{"offset": "3"}, ""))
	cl, ctx := NewCluster([]string{f.addr}, newClient(t, nil)), testContext(t)
	for range 3 {
		n, err := cl.MaxOffset(ctx, queueA)
		require.NoError(t, err)
		require.EqualValues(t, 3, n)
	}
	require.Equal(t, 1, f.count(ReqGetBrokerClusterInfo))
	_, err := cl.MaxOffset(ctx, Queue{"SMS", "nobody", 0})
	require.ErrorIs(t, err, msha.ErrNotFound)

	cl.mu.Lock()
	cl.masters["broker-a"] = "127.0.0.1:1" // it moved
	cl.mu.Unlock()
	_, err = cl.MaxOffset(ctx, queueA)
	require.ErrorContains(t, err, "broker-a")
	_, err = cl.MaxOffset(ctx, queueA)
	require.NoError(t, err, "the wrong address is forgotten")
}

// What was forgotten is better than nothing while no name server knows a broker: one that was just restarted knows none.
func TestAForgottenAddressServesWhileNoNameServerKnowsBetter(t *testing.T) {
	f := startFake(t, "")
	c := NewClient(nil)
	t.Cleanup(c.Close)
	cl := NewCluster([]string{f.addr}, c)
	addr, err := cl.MasterAddr(t.Context(), "", "broker-a")
	require.NoError(t, err)
	empty := func(req *Command) *Command {
		resp := req.Reply(RespSuccess, "")
		resp.Body = []byte(`{"brokerAddrTable":{},"clusterAddrTable":{}}`)
		return resp
	}
	f.on(ReqGetBrokerClusterInfo, empty)
	cl.Forget()
	again, err := cl.MasterAddr(t.Context(), "", "broker-a")
	require.NoError(t, err)
	require.Equal(t, addr, again)
	brokers, err := cl.Brokers(t.Context())
	require.NoError(t, err)
	require.Empty(t, brokers, "who asks for what is registered gets no memory")
	_, err = cl.MasterAddr(t.Context(), "", "broker-b")
	require.ErrorIs(t, err, msha.ErrNotFound)
	f.on(ReqGetBrokerClusterInfo, func(req *Command) *Command {
		resp := req.Reply(RespSuccess, "")
		resp.Body = []byte(`{"brokerAddrTable":{"broker-a":{"brokerAddrs":{0:"10.0.0.9:1"},"brokerName":"broker-a","cluster":"c"}},"clusterAddrTable":{"c":["broker-a"]}}`)
		return resp
	})
	cl.Forget()
	moved, err := cl.MasterAddr(t.Context(), "", "broker-a")
	require.NoError(t, err)
	require.Equal(t, "10.0.0.9:1", moved)
}

func TestAPinnedViewDoesNotReconnect(t *testing.T) {
	f := startFake(t, "127.0.0.1:0")
	f.on(ReqGetMaxOffset, say(RespSuccess, "", map[string]string{"offset": "3"}, ""))
	var drops atomic.Int64
	cl, ctx := NewCluster([]string{f.addr}, newClient(t, &Options{OnDrop: func(string) { drops.Add(1) }})), testContext(t)
	pinned := cl.Pin()
	ended, err := pinned.Dropped(ctx, "broker-a")
	require.NoError(t, err)
	_, err = pinned.MaxOffset(ctx, queueA)
	require.NoError(t, err)
	select {
	case <-ended:
		t.Fatal("the connection lives")
	default:
	}
	f.stop()
	<-ended
	again := startFake(t, f.addr)
	again.on(ReqGetMaxOffset, say(RespSuccess, "", map[string]string{"offset": "2"}, "")) // without its tail
	n, err := cl.MaxOffset(ctx, queueA)
	require.NoError(t, err, "the cluster connects again")
	require.EqualValues(t, 2, n)
	_, err = pinned.MaxOffset(ctx, queueA)
	require.ErrorIs(t, err, ErrDropped)
	n, err = cl.Pin().MaxOffset(ctx, queueA)
	require.NoError(t, err)
	require.EqualValues(t, 2, n)
	_, err = cl.Dropped(ctx, "broker-a")
	require.ErrorIs(t, err, msha.ErrInvalid)
	_, err = cl.Pin().Dropped(ctx, "nobody")
	require.ErrorIs(t, err, msha.ErrNotFound)
}

func TestPropertiesBeyondTheLimitAreRefused(t *testing.T) {
	f := startFake(t, "127.0.0.1:0")
	cl, ctx := NewCluster([]string{f.addr}, newClient(t, nil)), testContext(t)
	_, err := cl.SendBatch(ctx, queueA, "g", []*Message{{}, {Properties: map[string]string{"k": strings.Repeat("v", MaxProperties)}}})
	require.ErrorIs(t, err, msha.ErrTooLarge)
	require.ErrorContains(t, err, "message 1")
	require.Zero(t, f.count(ReqSendBatchMessage))
}
