//go:build real

package chaos

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/internal/netproxy"
	"github.com/go-msha/msha/internal/realmq"
	"github.com/go-msha/msha/internal/remoting"
)

var quiet = slog.New(slog.DiscardHandler)

// way is how the processes of one unit reach the cluster of another one: a name server that gives out proxies' addresses for the brokers',
// behind a proxy itself.
type way struct {
	server  string // where the other unit's name server is found
	proxies []*netproxy.Proxy
}

func newWay(t *testing.T, c *realmq.Cluster, brokers ...string) *way {
	t.Helper()
	w := &way{}
	proxy := func(target string) *netproxy.Proxy {
		p, err := netproxy.Start(target)
		require.NoError(t, err)
		t.Cleanup(p.Close)
		w.proxies = append(w.proxies, p)
		return p
	}
	var renamed []string
	for _, b := range brokers {
		renamed = append(renamed, `"`+c.Addr(b)+`"`, `"`+proxy(c.Addr(b)).Addr()+`"`)
	}
	rename := strings.NewReplacer(renamed...)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w.server = proxy(l.Addr().String()).Addr()
	client := remoting.NewClient(&remoting.Options{Logger: quiet})
	t.Cleanup(client.Close)
	s := remoting.NewServer(func(ctx context.Context, conn *remoting.Conn, req *remoting.Command) *remoting.Command {
		resp, err := client.Call(ctx, c.NameServer(), remoting.NewRequest(req.Code, req.Ext, req.Body))
		if err != nil { // as if it was itself the one that died
			conn.Close()
			return nil
		}
		resp.Opaque, resp.Body = req.Opaque, []byte(rename.Replace(string(resp.Body)))
		return resp
	}, &remoting.ServerOptions{Logger: quiet})
	t.Cleanup(s.Close)
	go s.Serve(l) //nolint:errcheck // ends with Close
	return w
}

func (w *way) each(do func(*netproxy.Proxy)) {
	for _, p := range w.proxies {
		do(p)
	}
}

// slow is a round trip of 100 ms ± 20 ms.
func slow(p *netproxy.Proxy) { p.Delay(40*time.Millisecond, 20*time.Millisecond) }

func fast(p *netproxy.Proxy) { p.Delay(0, 0) }
