package redis

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

// silent accepts connections and says nothing.
func silent(t *testing.T) (addr string, accepted <-chan net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	all := make(chan net.Conn, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			all <- c
		}
	}()
	t.Cleanup(func() {
		require.NoError(t, listener.Close())
		<-done
		for close(all); len(all) > 0; {
			_ = (<-all).Close()
		}
	})
	return listener.Addr().String(), all
}

// A connection that is being made belongs to nobody yet: without an answer to the handshake it would take all of DialTimeout.
func TestCloseDoesNotWaitForAConnectionBeingMade(t *testing.T) {
	addr, accepted := silent(t)
	opts := (&Options{DialTimeout: time.Minute, Timeout: time.Minute}).withDefaults()
	conns := newConns(opts.DialTimeout, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // nobody answers
	s := start(opts.client([]string{addr}, conns), conns, addr, opts)
	_, err := s.Watch(t.Context(), "k")
	require.NoError(t, err)
	got := make(chan error, 1)
	go func() {
		_, err := s.Get(context.Background(), "k")
		got <- err
	}()
	for range 3 { // of the request, of the watch's read, of the notices
		c := <-accepted
		defer c.Close() //nolint:errcheck // a test
	}
	began := time.Now()
	require.NoError(t, s.Close())
	require.Less(t, time.Since(began), 10*time.Second)
	require.ErrorIs(t, <-got, msha.ErrClosed)
}

// The last member leaves while the server is down: that no refresh is needed any more is no sign of the server.
func TestWithoutMembersTheServerIsNotBack(t *testing.T) {
	addr, _ := silent(t)
	var out bytes.Buffer
	opts := (&Options{MemberTTL: time.Second, Logger: slog.New(slog.NewTextHandler(&out, nil))}).withDefaults()
	s := start(opts.client([]string{addr}, newConns(time.Second, nil)), nil, addr, opts)
	s.health.Lost("members", io.EOF)
	h := &held{set: "set", id: "a"}
	require.True(t, s.holder.add(h))
	require.True(t, s.holder.remove(h))
	s.holder.wg.Wait()
	require.NoError(t, s.Close())
	require.NoError(t, s.client.Close())
	require.Contains(t, out.String(), "metastore lost")
	require.NotContains(t, out.String(), "metastore is back")
}

func TestNewNeedsAClient(t *testing.T) {
	_, err := New(nil, nil)
	require.ErrorIs(t, err, msha.ErrInvalid)
}
