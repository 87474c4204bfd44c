package remoting

import (
	"context"
	"fmt"
	"sync"
)

// pins are the connections of a pinned view by broker name.
type pins struct {
	mu    sync.Mutex
	conns map[string]*clientConn
}

// Pin returns a view of the cluster whose calls to a broker by name all use one connection. Once that has ended they fail with
// ErrDropped: the broker may have restarted without what it had acknowledged, so whoever relies on what was seen there looks again
// through a new Pin. It does not block.
func (c *Cluster) Pin() *Cluster {
	return &Cluster{client: c.client, nameServers: c.nameServers, addresses: c.addresses, pins: &pins{conns: map[string]*clientConn{}}}
}

// Dropped returns a channel that is closed once the pinned connection to a broker ended. It makes the connection if there is none yet;
// ErrInvalid outside a pinned view.
func (c *Cluster) Dropped(ctx context.Context, broker string) (<-chan struct{}, error) {
	if c.pins == nil {
		return nil, errFrame("not a pinned view")
	}
	conn, err := c.pinned(ctx, broker)
	if err != nil {
		return nil, err
	}
	return conn.gone, nil
}

func (c *Cluster) pinned(ctx context.Context, broker string) (*clientConn, error) {
	c.pins.mu.Lock()
	conn := c.pins.conns[broker]
	c.pins.mu.Unlock()
	if conn != nil {
		return conn, nil
	}
	addr, err := c.MasterAddr(ctx, "", broker)
	if err != nil {
		return nil, err
	}
	fresh, err := c.client.connect(ctx, addr)
	if err != nil {
		if ctx.Err() == nil {
			c.forgetBroker(broker)
			err = fmt.Errorf("broker %s: %w", broker, err)
		}
		return nil, err
	}
	c.pins.mu.Lock()
	defer c.pins.mu.Unlock()
	if conn = c.pins.conns[broker]; conn == nil { // else another call was faster
		conn = fresh
		c.pins.conns[broker] = conn
	}
	return conn, nil
}
