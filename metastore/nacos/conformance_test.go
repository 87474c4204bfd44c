package nacos

import (
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/internal/nacostest"
	"github.com/go-msha/msha/internal/netproxy"
	"github.com/go-msha/msha/metastore/metastoretest"
)

// behind gives the options that reach a server's gRPC port through a proxy, and the proxy.
func behind(t *testing.T, grpc string, o Options) (Options, *netproxy.Proxy) {
	t.Helper()
	p, err := netproxy.Start(grpc)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	_, port, err := net.SplitHostPort(p.Addr())
	require.NoError(t, err)
	o.GRPCPort, err = strconv.Atoi(port)
	require.NoError(t, err)
	return o, p
}

// partition is a cut that outlives its connections, until heal.
func partition(p *netproxy.Proxy) (heal func()) {
	p.Blackhole()
	return func() {
		p.Cut()
		p.Heal()
	}
}

// conform plays the suite, each case with a server of its own.
func conform(t *testing.T, faults nacostest.Faults, o Options, adapt func(*metastoretest.Harness)) {
	metastoretest.Run(t, func(t *testing.T) metastoretest.Harness {
		s := startServer(t, nacostest.Options{Faults: faults, KeepAlive: keepAlive})
		proxied, p := behind(t, s.GRPCAddr(), o)
		store, second, outside := open(t, s.Addr(), proxied), open(t, s.Addr(), proxied), open(t, s.Addr(), o)
		h := metastoretest.Harness{
			Store: store, Second: second, Outside: outside, Members: store, TooLarge: defaultMaxValue + 1, MemberTTL: ttl, Patience: patience,
			Cut:     func() func() { return partition(p) },
			Restart: func() { require.NoError(t, s.Restart()) },
		}
		if adapt != nil {
			adapt(&h)
		}
		return h
	})
}

func TestConformance(t *testing.T) {
	t.Parallel()
	conform(t, nacostest.Faults{}, quick(), func(h *metastoretest.Harness) {
		require.NoError(t, h.Store.(*Store).Safe())
		h.Writes = eachWriter
	})
}

func TestConformanceOfStaleReads(t *testing.T) {
	t.Parallel()
	conform(t, nacostest.Faults{StaleReads: 20 * time.Millisecond, SloppyInserts: true, LateInstances: 20 * time.Millisecond}, quick(), func(h *metastoretest.Harness) {
		h.StaleReads, h.Writes = true, 20
	})
}

func TestConformanceWithoutPushes(t *testing.T) {
	t.Parallel()
	o := quick()
	o.Poll = 50 * time.Millisecond
	conform(t, nacostest.Faults{DropPushes: true}, o, func(h *metastoretest.Harness) { h.Writes, h.MemberTTL = 50, 0 })
}

func TestConformanceOfAServerThatDoesNotCompare(t *testing.T) {
	t.Parallel()
	conform(t, nacostest.Faults{IgnoreCas: true}, quick(), func(h *metastoretest.Harness) { h.Unsafe, h.MemberTTL = true, 0 })
}
