//go:build unix

package main

import (
	"context"
	"log/slog"
	"net"
	"time"

	"github.com/go-msha/msha/internal/netproxy"
	"github.com/go-msha/msha/internal/realmq"
	"github.com/go-msha/msha/internal/remoting"
)

// distant is the target as it is seen from far away: a name server that gives out the address of a slow way to the broker.
type distant struct {
	proxy   *netproxy.Proxy
	server  *remoting.Server
	client  *remoting.Client
	address string // of the name server
}

func startFar(c *realmq.Cluster) (*distant, error) {
	broker := c.Addr(targetBroker)
	p, err := netproxy.Start(broker)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		p.Close()
		return nil, err
	}
	quiet := slog.New(slog.DiscardHandler)
	f := &distant{proxy: p, address: l.Addr().String(), client: remoting.NewClient(&remoting.Options{Logger: quiet})}
	f.server = remoting.NewServer(func(ctx context.Context, _ *remoting.Conn, req *remoting.Command) *remoting.Command {
		opaque := req.Opaque
		ask := remoting.NewRequest(req.Code, req.Ext, req.Body)
		resp, err := f.client.Call(ctx, c.NameServer(), ask)
		if err != nil {
			return req.Reply(1, err.Error())
		}
		resp.Opaque, resp.Body = opaque, rename(resp.Body, broker, p.Addr())
		return resp
	}, &remoting.ServerOptions{Logger: quiet})
	go f.server.Serve(l) //nolint:errcheck // ends with Close
	return f, nil
}

// nameServer is that of the target with a delay added to each round trip.
func (b *bench) nameServer(delay time.Duration) string {
	if delay == 0 {
		return b.target.NameServer()
	}
	b.far.proxy.Delay(delay/2, 0)
	return b.far.address
}

func (f *distant) Close() {
	f.server.Close()
	f.client.Close()
	f.proxy.Close()
}
