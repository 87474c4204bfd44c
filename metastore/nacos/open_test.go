package nacos

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/logtest"
	"github.com/go-msha/msha/internal/nacostest"
)

// refused opens a store in vain, and checks what every such error says.
func refused(t *testing.T, addr string, o Options, parts ...string) {
	t.Helper()
	log := &logtest.Log{}
	o.Logger = log.Logger()
	began := time.Now()
	_, err := Open(t.Context(), addr, &o)
	require.Error(t, err)
	require.Less(t, time.Since(began), o.DialTimeout+patience)
	var op *msha.OpError
	require.True(t, errors.As(err, &op), "%v", err)
	require.Equal(t, "metastore.open", op.Op)
	require.NotEmpty(t, op.Hint)
	for _, part := range append(parts, "nacos", addr) {
		require.ErrorContains(t, err, part)
	}
	require.NotContains(t, err.Error()+log.String(), "secret")
	require.NotErrorIs(t, err, context.DeadlineExceeded, "the caller's context has not ended")
}

// nobody listens there.
const nobody = "127.0.0.1:1"

func TestOpenSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	refused(t, nobody, quick(), "connection refused", "HTTP interface")

	s := startServer(t, nacostest.Options{User: "u", Password: "secret", Namespaces: []string{"n1"}})
	as := func(user, password, namespace string) Options {
		o := quick()
		o.User, o.Password, o.Namespace = user, password, namespace
		return o
	}
	refused(t, s.Addr(), as("u", "secret-but-wrong", ""), `login of user "u"`, "403", "check user, password")
	refused(t, s.Addr(), as("", "", ""), "403: user not found!", "check user, password")
	refused(t, s.Addr(), as("u", "secret", "n2"), "Namespace 'n2' does not exist", "create the namespace")
	put(t, open(t, s.Addr(), as("u", "secret", "n1")), "k", "v", 0)

	reader := startServer(t, nacostest.Options{User: "u", Password: "secret", ReadOnly: true})
	refused(t, reader.Addr(), as("u", "secret", ""), "403: authorization failed!", "permissions")

	_, err := Open(t.Context(), "nowhere", nil)
	require.ErrorIs(t, err, msha.ErrInvalid)
}

func TestOpenSaysThatTLSDoesNotMatch(t *testing.T) {
	t.Parallel()
	s := startServer(t, nacostest.Options{})
	o := quick()
	o.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	refused(t, s.Addr(), o, "tls: first record does not look like a TLS handshake", "with or without TLS")

	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	go func() { // what a TLS server does with plain text
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte{21, 3, 1, 0, 2, 2, 70}) // alert: protocol version
			_ = c.Close()
		}
	}()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	o = quick()
	o.GRPCPort, err = strconv.Atoi(port)
	require.NoError(t, err)
	refused(t, s.Addr(), o, "with or without TLS")
}

func TestOpenIsBoundByItsContextAndTimeout(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts and never answers
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	o := quick()
	o.GRPCPort, err = strconv.Atoi(port)
	require.NoError(t, err)
	o.DialTimeout = 300 * time.Millisecond
	refused(t, nobody, o, "not connected")
	o.DialTimeout = time.Minute
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = Open(ctx, nobody, &o)
	require.Equal(t, context.DeadlineExceeded, err)
}

func TestOpenTriesEveryNode(t *testing.T) {
	t.Parallel()
	s := startServer(t, nacostest.Options{})
	put(t, open(t, nobody+", "+s.Addr(), quick()), "k", "v", 0)
}

func TestAnExpiredTokenIsReplaced(t *testing.T) {
	t.Parallel()
	s := startServer(t, nacostest.Options{User: "u", Password: "secret"})
	o := quick()
	o.User, o.Password = "u", "secret"
	a := open(t, s.Addr(), o)
	r := put(t, a, "k", "one", 0)
	const path = "HTTP /nacos/v1/auth/users/login"
	before := s.Requests()[path]
	s.ExpireTokens()
	r = put(t, a, "k", "two", r)
	require.Equal(t, before+1, s.Requests()[path])
	put(t, a, "k", "three", r)
	require.Equal(t, before+1, s.Requests()[path])
}

func TestTheProbeWritesOneRowEver(t *testing.T) {
	t.Parallel()
	s := startServer(t, nacostest.Options{})
	for range 3 {
		require.NoError(t, open(t, s.Addr(), quick()).Safe())
	}
	require.Equal(t, 1, s.HistoryRows("", defaultGroup, probeKey))
}

func TestAServerThatDoesNotCompareIsUnsafe(t *testing.T) {
	t.Parallel()
	s := startServer(t, nacostest.Options{Faults: nacostest.Faults{IgnoreCas: true}})
	log := &logtest.Log{}
	o := quick()
	o.Logger = log.Logger()
	a := open(t, s.Addr(), o)
	require.ErrorIs(t, a.Safe(), msha.ErrUnsafe)
	require.ErrorIs(t, msha.Safe(a), msha.ErrUnsafe)
	require.ErrorContains(t, a.Safe(), "ignores the md5 of a compare-and-set")
	require.Equal(t, 1, log.Count("metastore is unsafe"))
	r := put(t, a, "k", "one", 0)
	put(t, open(t, s.Addr(), quick()), "k", "two", r)
	before := s.HistoryRows("", defaultGroup, "k")
	d, err := a.GetFresh(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, "two", string(d.Value))
	require.Equal(t, before, s.HistoryRows("", defaultGroup, "k"), "a fresh read there would write what it remembers over what is there")
}
