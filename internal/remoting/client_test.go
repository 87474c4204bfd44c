package remoting

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

const (
	codeEcho = iota
	codeHang // answered when the connection ends
	codeDrop // the server closes the connection
)

// testHandler serves the codes above and counts connections.
func testHandler(conns *atomic.Int64, hanging chan<- struct{}) Handler {
	type seen struct{}
	var mu sync.Mutex
	return func(ctx context.Context, conn *Conn, req *Command) *Command {
		mu.Lock()
		if conn.Value(seen{}) == nil {
			conn.SetValue(seen{}, true)
			conns.Add(1)
		}
		mu.Unlock()
		switch req.Code {
		case codeHang:
			if hanging != nil {
				hanging <- struct{}{}
			}
			<-ctx.Done()
			return nil
		case codeDrop:
			conn.Close()
			return nil
		}
		return echo(ctx, conn, req)
	}
}

func TestAnswersFindTheirCalls(t *testing.T) {
	var conns atomic.Int64
	addr, _ := serve(t, "127.0.0.1:0", testHandler(&conns, nil))
	for _, s := range []Serialization{JSON, RocketMQ} {
		conns.Store(0)
		c, ctx := newClient(t, &Options{Serialization: s}), testContext(t)
		var wg sync.WaitGroup
		errs := make(chan error, 32)
		for g := range 32 {
			wg.Go(func() {
				for i := range 100 {
					want := fmt.Sprintf("%d/%d", g, i)
					resp, err := c.Call(ctx, addr, NewRequest(codeEcho, map[string]string{"id": want}, []byte(want)))
					if err == nil && (resp.Ext["id"] != want || string(resp.Body) != want) {
						err = fmt.Errorf("%s got the answer of %s", want, resp.Ext["id"])
					}
					if err != nil {
						errs <- err
						return
					}
				}
			})
		}
		wg.Wait()
		close(errs)
		require.NoError(t, <-errs)
		require.EqualValues(t, 1, conns.Load(), "one connection per address")
	}
}

func TestAContextEndsItsOwnCallOnly(t *testing.T) {
	var conns atomic.Int64
	hanging := make(chan struct{}, 1000)
	addr, _ := serve(t, "127.0.0.1:0", testHandler(&conns, hanging))
	c, ctx := newClient(t, nil), testContext(t)
	other := make(chan error, 1)
	otherCtx, endOther := context.WithCancel(ctx)
	go func() {
		_, err := c.Call(otherCtx, addr, NewRequest(codeHang, nil, nil))
		other <- err
	}()
	<-hanging

	one, cancel := context.WithCancel(ctx)
	go func() {
		<-hanging
		cancel()
	}()
	_, err := c.Call(one, addr, NewRequest(codeHang, nil, nil))
	require.Equal(t, context.Canceled, err, "not wrapped")

	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	_, err = c.Call(short, addr, NewRequest(codeHang, nil, nil))
	require.Equal(t, context.DeadlineExceeded, err)

	for range 300 { // ended before, and ended during the write
		_, err = c.Call(one, addr, NewRequest(codeEcho, nil, nil))
		require.Equal(t, context.Canceled, err)
		racing, cancel := context.WithCancel(ctx)
		go cancel()
		if _, err = c.Call(racing, addr, NewRequest(codeEcho, nil, nil)); err != nil {
			require.Equal(t, context.Canceled, err)
		}
		_, err = c.Call(ctx, addr, NewRequest(codeEcho, nil, nil))
		require.NoError(t, err)
	}
	require.EqualValues(t, 1, conns.Load())
	select {
	case err := <-other:
		t.Fatalf("a call was ended by another one's context: %v", err)
	default:
	}
	endOther()
	require.Equal(t, context.Canceled, <-other)
}

func TestADroppedConnectionFailsItsCallsAtOnce(t *testing.T) {
	var conns atomic.Int64
	hanging := make(chan struct{}, 100)
	addr, _ := serve(t, "127.0.0.1:0", testHandler(&conns, hanging))
	dropped := make(chan string, 10)
	c, ctx := newClient(t, &Options{OnDrop: func(addr string) { dropped <- addr }}), testContext(t)
	results := make(chan error, 50)
	for range 50 {
		go func() {
			_, err := c.Call(ctx, addr, NewRequest(codeHang, nil, nil))
			results <- err
		}()
	}
	for range 50 {
		<-hanging
	}
	_, err := c.Call(ctx, addr, NewRequest(codeDrop, nil, nil))
	require.ErrorIs(t, err, ErrDropped)
	for range 50 {
		require.ErrorIs(t, <-results, ErrDropped)
	}
	require.Equal(t, addr, <-dropped)
	require.NoError(t, ctx.Err(), "no call waited for its deadline")
	_, err = c.Call(ctx, addr, NewRequest(codeEcho, nil, nil))
	require.NoError(t, err, "the next call connects again")
	require.EqualValues(t, 2, conns.Load())
}

func TestReconnectAfterARestart(t *testing.T) {
	var conns atomic.Int64
	addr, stop := serve(t, "127.0.0.1:0", testHandler(&conns, nil))
	dropped := make(chan string, 1)
	c, ctx := newClient(t, &Options{OnDrop: func(addr string) { dropped <- addr }}), testContext(t)
	_, err := c.Call(ctx, addr, NewRequest(codeEcho, nil, nil))
	require.NoError(t, err)
	stop()
	<-dropped
	_, err = c.Call(ctx, addr, NewRequest(codeEcho, nil, nil))
	require.Error(t, err)
	require.ErrorContains(t, err, addr)
	var refused *net.OpError
	require.ErrorAs(t, err, &refused, "the cause stays reachable")
	_, _ = serve(t, addr, testHandler(&conns, nil))
	_, err = c.Call(ctx, addr, NewRequest(codeEcho, nil, nil))
	require.NoError(t, err)
}

func TestOnewayLeavesNothingBehind(t *testing.T) {
	got := make(chan *Command, 10)
	addr, _ := serve(t, "127.0.0.1:0", func(ctx context.Context, conn *Conn, req *Command) *Command {
		got <- req
		return req.Reply(RespSystemError, "must not be sent")
	})
	c, ctx := newClient(t, nil), testContext(t)
	req := NewRequest(codeEcho, nil, []byte("b"))
	require.NoError(t, c.Oneway(ctx, addr, req))
	seen := <-got
	require.True(t, seen.IsOneway())
	require.Equal(t, req.Opaque, seen.Opaque)
	conn, err := c.connect(ctx, addr)
	require.NoError(t, err)
	conn.mu.Lock()
	require.Empty(t, conn.pending)
	conn.mu.Unlock()
}

func TestTheServerAsksTheClient(t *testing.T) {
	addr, accepted := rawServer(t)
	notified := make(chan string, 2)
	c := newClient(t, &Options{OnRequest: func(from string, req *Command) *Command {
		notified <- from + " " + strconv.Itoa(req.Code)
		return req.Reply(RespSuccess, "seen")
	}})
	ctx := testContext(t)
	answered := make(chan error, 1)
	go func() {
		_, err := c.Call(ctx, addr, NewRequest(codeEcho, nil, nil))
		answered <- err
	}()
	conn := <-accepted
	defer conn.Close()
	ask := func(req *Command) {
		frame, err := AppendFrame(nil, req, JSON)
		require.NoError(t, err)
		_, err = conn.Write(frame)
		require.NoError(t, err)
		require.Equal(t, addr+" "+strconv.Itoa(req.Code), <-notified)
	}
	read := func() *Command {
		frame, err := ReadFrame(conn, nil)
		require.NoError(t, err)
		cmd, _, err := DecodeFrame(frame)
		require.NoError(t, err)
		return cmd
	}
	call := read()
	ask(NewRequest(ReqNotifyConsumerIDsChanged, nil, nil))
	reply := read()
	require.True(t, reply.IsResponse())
	require.Equal(t, "seen", reply.Remark)
	oneway := NewRequest(ReqNotifyConsumerIDsChanged, nil, nil)
	oneway.Flag |= flagOneway
	ask(oneway) // not answered: the next thing read is the next call

	frame, err := AppendFrame(nil, call.Reply(RespSuccess, ""), RocketMQ)
	require.NoError(t, err)
	unknown := *call.Reply(RespSuccess, "")
	unknown.Opaque = -77
	stray, err := AppendFrame(nil, &unknown, JSON)
	require.NoError(t, err)
	_, err = conn.Write(append(stray, frame...))
	require.NoError(t, err)
	require.NoError(t, <-answered)
	go func() { answered <- c.Oneway(ctx, addr, NewRequest(77, nil, nil)) }()
	require.Equal(t, 77, read().Code)
	require.NoError(t, <-answered)
}

func TestGarbageDropsTheConnection(t *testing.T) {
	for name, garbage := range map[string][]byte{
		"length": {0xff, 0xff, 0xff, 0xff}, "header": {0, 0, 0, 8, 1, 0, 0, 4, 0, 0, 0, 0}, "text": []byte("HTTP/1.1 400 Bad Request\r\n"),
	} {
		addr, accepted := rawServer(t)
		c, ctx := newClient(t, nil), testContext(t)
		result := make(chan error, 1)
		go func() {
			_, err := c.Call(ctx, addr, NewRequest(codeEcho, nil, nil))
			result <- err
		}()
		conn := <-accepted
		_, err := ReadFrame(conn, nil) // now the call is in flight
		require.NoError(t, err)
		_, err = conn.Write(garbage)
		require.NoError(t, err)
		err = <-result
		require.ErrorIs(t, err, ErrDropped, name)
		require.ErrorIs(t, err, msha.ErrInvalid, name)
		conn.Close()
	}
}

func TestAFrozenPeerHoldsNobodyBeyondItsContext(t *testing.T) {
	addr, accepted := rawServer(t)
	c, ctx := newClient(t, nil), testContext(t)
	big := make([]byte, MaxFrame-1024)
	results := make(chan error, 3)
	mine, cancel := context.WithCancel(ctx)
	defer cancel()
	for range 3 { // one writes, the others wait for their turn
		go func() {
			_, err := c.Call(mine, addr, NewRequest(codeEcho, nil, big))
			results <- err
		}()
	}
	frozen := <-accepted
	defer frozen.Close()
	_, err := io.ReadFull(frozen, make([]byte, 100)) // and no more
	require.NoError(t, err)
	cancel()
	for range 3 {
		err := <-results
		require.True(t, errors.Is(err, context.Canceled) || errors.Is(err, ErrDropped), "%v", err)
	}
	for c.Oneway(ctx, addr, NewRequest(codeEcho, nil, nil)) != nil { // the old connection, left with half a frame, is about to go
		require.NoError(t, ctx.Err())
	}
	fresh := <-accepted
	defer fresh.Close()
	_, err = ReadFrame(fresh, nil)
	require.NoError(t, err)
}

func TestCloseWithCallsInFlight(t *testing.T) {
	var conns atomic.Int64
	hanging := make(chan struct{}, 20)
	addr, _ := serve(t, "127.0.0.1:0", testHandler(&conns, hanging))
	c, ctx := newClient(t, nil), testContext(t)
	results := make(chan error, 20)
	for range 20 {
		go func() {
			_, err := c.Call(ctx, addr, NewRequest(codeHang, nil, nil))
			results <- err
		}()
	}
	for range 20 {
		<-hanging
	}
	c.Close()
	for range 20 {
		err := <-results
		require.ErrorIs(t, err, ErrDropped, "whether it was executed is open")
		require.ErrorIs(t, err, msha.ErrClosed)
	}
	_, err := c.Call(ctx, addr, NewRequest(codeEcho, nil, nil))
	require.ErrorIs(t, err, msha.ErrClosed)
	c.Close()
}

func TestStartAndCloseRace(t *testing.T) {
	var conns atomic.Int64
	addr, _ := serve(t, "127.0.0.1:0", testHandler(&conns, nil))
	ctx := testContext(t)
	for range 50 {
		c := newClient(t, nil)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				_, err := c.Call(ctx, addr, NewRequest(codeEcho, nil, nil))
				if err != nil && !errors.Is(err, msha.ErrClosed) {
					t.Errorf("unexpected: %v", err)
				}
			})
		}
		wg.Go(c.Close)
		wg.Wait()
	}
}
