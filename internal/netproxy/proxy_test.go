package netproxy_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/go-msha/msha/internal/netproxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds waits for what must happen; reaching it is a failure. silence is how long nothing must happen.
const (
	patience = time.Minute
	silence  = 100 * time.Millisecond
)

// serve runs a server whose connections are handled one goroutine each, and a proxy before it.
func serve(t *testing.T, handle func(*net.TCPConn)) *netproxy.Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p, err := netproxy.Start(l.Addr().String())
	require.NoError(t, err)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				handle(conn.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.Close()
		running.Wait()
	})
	return p
}

func echo(c *net.TCPConn) { io.Copy(c, c) }

func dial(t *testing.T, p *netproxy.Proxy) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", p.Addr())
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	return conn.(*net.TCPConn)
}

func exchange(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	_, err := conn.Write([]byte(text))
	require.NoError(t, err)
	expect(t, conn, text)
}

func expect(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	got := make([]byte, len(text))
	_, err := io.ReadFull(conn, got)
	require.NoError(t, err)
	require.Equal(t, text, string(got))
}

// expectSilence waits a short while in which nothing may arrive, not even the end.
func expectSilence(t *testing.T, conn net.Conn) {
	t.Helper()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(silence)))
	n, err := conn.Read(make([]byte, 1))
	require.Zero(t, n)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
}

func expectReset(t *testing.T, conn net.Conn) {
	t.Helper()
	_, err := conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNRESET)
}

// expectRefusal allows for a connection that exists for a moment.
func expectRefusal(t *testing.T, p *netproxy.Proxy) {
	t.Helper()
	conn, err := net.Dial("tcp", p.Addr())
	if err == nil {
		defer conn.Close()
		require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
		_, err = conn.Read(make([]byte, 1))
	}
	require.ErrorIs(t, err, syscall.ECONNRESET)
}

func TestForwardsBothWaysWithHalfClose(t *testing.T) {
	p := serve(t, func(c *net.TCPConn) { // answers only what was sent whole
		sum := sha256.New()
		io.Copy(sum, c)
		c.Write(sum.Sum(nil))
	})
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<19) // 8 MiB
	conn := dial(t, p)
	_, err := conn.Write(big)
	require.NoError(t, err)
	require.NoError(t, conn.CloseWrite())
	got, err := io.ReadAll(conn)
	require.NoError(t, err)
	want := sha256.Sum256(big)
	require.Equal(t, want[:], got)
	require.Eventually(t, func() bool { return p.Open() == 0 }, patience, time.Millisecond)
	require.Equal(t, 1, p.Accepted())
}

func TestASlowReaderGetsEverything(t *testing.T) {
	const size = 1 << 20
	p := serve(t, func(c *net.TCPConn) { c.Write(make([]byte, size)) })
	conn := dial(t, p)
	require.NoError(t, conn.CloseWrite())
	require.Eventually(t, func() bool { return p.Accepted() == 1 && p.Open() == 0 }, patience, time.Millisecond,
		"all of it is in buffers and both sides have ended")
	got, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.Len(t, got, size)
}

func TestAnAbortArrivesAsOne(t *testing.T) {
	p := serve(t, func(c *net.TCPConn) {
		io.ReadFull(c, make([]byte, 1))
		c.SetLinger(0)
	})
	conn := dial(t, p)
	_, err := conn.Write([]byte("x"))
	require.NoError(t, err)
	expectReset(t, conn)
}

func TestCutResetsAndRefuses(t *testing.T) {
	p := serve(t, echo)
	conn := dial(t, p)
	exchange(t, conn, "before")
	p.Cut()
	expectReset(t, conn)
	require.Eventually(t, func() bool { return p.Open() == 0 }, patience, time.Millisecond)
	for range 3 {
		expectRefusal(t, p)
	}
	require.Equal(t, 4, p.Accepted())
	p.Heal()
	exchange(t, dial(t, p), "after")
}

func TestBlackholeIsSilentAndHealBringsEverything(t *testing.T) {
	var arrived atomic.Int32
	p := serve(t, func(c *net.TCPConn) { arrived.Add(1); echo(c) })
	old := dial(t, p)
	exchange(t, old, "before")
	p.Blackhole()
	_, err := old.Write([]byte("during"))
	require.NoError(t, err, "the sender notices nothing")
	expectSilence(t, old)
	fresh := dial(t, p)
	_, err = fresh.Write([]byte("fresh"))
	require.NoError(t, err)
	expectSilence(t, fresh)
	require.Equal(t, 2, p.Open())
	require.EqualValues(t, 1, arrived.Load(), "the target knows nothing of the new connection")
	p.Heal()
	expect(t, old, "during")
	expect(t, fresh, "fresh")
}

func TestBlackholeHidesTheEnd(t *testing.T) {
	hangUp := make(chan struct{})
	p := serve(t, func(c *net.TCPConn) {
		echoOne(c)
		<-hangUp
	})
	conn := dial(t, p)
	exchange(t, conn, "x")
	p.Blackhole()
	close(hangUp)
	expectSilence(t, conn)
	p.Heal()
	_, err := conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
}

func echoOne(c net.Conn) {
	var b [1]byte
	if _, err := io.ReadFull(c, b[:]); err == nil {
		c.Write(b[:])
	}
}

func TestCutEndsABlackhole(t *testing.T) {
	p := serve(t, echo)
	for range 50 { // what slips out between the two comes back before the reset only now and then
		conn := dial(t, p)
		exchange(t, conn, "x")
		p.Blackhole()
		_, err := conn.Write([]byte("lost"))
		require.NoError(t, err)
		p.Cut()
		expectReset(t, conn)
		p.Heal()
	}
	exchange(t, dial(t, p), "y")
}

func TestDelayKeepsOrder(t *testing.T) {
	const delay, jitter = 30 * time.Millisecond, 20 * time.Millisecond
	p := serve(t, echo)
	conn := dial(t, p)
	exchange(t, conn, "x")
	p.Delay(delay, jitter)
	start := time.Now()
	exchange(t, conn, "y")
	require.GreaterOrEqual(t, time.Since(start), 2*delay, "each way")

	var sent bytes.Buffer
	start = time.Now()
	const sends = 2000
	for i := range sends {
		b := []byte{byte(i)}
		sent.Write(b)
		_, err := conn.Write(b)
		require.NoError(t, err)
	}
	got := make([]byte, sent.Len())
	_, err := io.ReadFull(conn, got)
	require.NoError(t, err)
	require.Equal(t, sent.Bytes(), got)
	require.Less(t, time.Since(start), sends/2*delay, "delays of what is under way together do not add up")
	p.Delay(0, 0)
	exchange(t, conn, "z")
}

func TestAnAbsentTargetRefuses(t *testing.T) {
	p, err := netproxy.Start("127.0.0.1:1")
	require.NoError(t, err)
	defer p.Close()
	expectRefusal(t, p)
}

func TestCloseFreesEverything(t *testing.T) {
	for _, trouble := range []func(*netproxy.Proxy){
		func(*netproxy.Proxy) {}, (*netproxy.Proxy).Cut, (*netproxy.Proxy).Blackhole, func(p *netproxy.Proxy) { p.Delay(time.Hour, 0) },
	} {
		p := serve(t, echo)
		conn := dial(t, p)
		exchange(t, conn, "x")
		trouble(p)
		conn.Write([]byte("under way"))
		p.Close()
		p.Close()
		_, err := io.Copy(io.Discard, conn) // an echo may have been faster
		require.False(t, errors.Is(err, os.ErrDeadlineExceeded))
		require.Zero(t, p.Open())
		l, err := net.Listen("tcp", p.Addr())
		require.NoError(t, err, "the port is free")
		l.Close()
	}
}

func TestManyAtOnceUnderTrouble(t *testing.T) {
	p := serve(t, echo)
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for range 50 {
				conn, err := net.Dial("tcp", p.Addr())
				if err != nil {
					continue
				}
				conn.SetDeadline(time.Now().Add(patience))
				conn.Write([]byte("x"))
				conn.Read(make([]byte, 1))
				conn.Close()
			}
		})
	}
	done := make(chan struct{})
	go func() { clients.Wait(); close(done) }()
	for {
		select {
		case <-done:
			p.Heal()
			exchange(t, dial(t, p), "x")
			return
		default:
			p.Cut()
			p.Blackhole()
			p.Heal()
		}
	}
}
