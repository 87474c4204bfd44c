package remoting

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-msha/msha"
)

// Cluster makes typed calls of one RocketMQ cluster. It caches master addresses and write routes until an error or Forget. Its
// methods are safe for concurrent use and block until the server answered or ctx ended.
type Cluster struct {
	client      *Client
	nameServers []string
	*addresses
	pins *pins // nil: connections are replaced when they end
}

// addresses is what a cluster and its pinned views found out.
type addresses struct {
	mu      sync.Mutex
	last    int               // name server to ask first: it answered last, or follows one that did not
	masters map[string]string // broker name -> address
	before  map[string]string // what was forgotten: it may do while no name server knows better
}

// NewCluster returns the cluster behind the name servers; entries may hold several addresses separated by ";". It does not block.
func NewCluster(nameServers []string, c *Client) *Cluster {
	cl := &Cluster{client: c, addresses: &addresses{masters: map[string]string{}, before: map[string]string{}}}
	for _, entry := range nameServers {
		for _, addr := range strings.Split(entry, ";") {
			if addr = strings.TrimSpace(addr); addr != "" {
				cl.nameServers = append(cl.nameServers, addr)
			}
		}
	}
	return cl
}

// NameServers lists the addresses.
func (c *Cluster) NameServers() []string { return c.nameServers }

// Forget drops cached addresses, after an error that a moved or restarted broker explains.
func (c *Cluster) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range c.masters {
		c.forget(name)
	}
}

// askNameServer asks the name server that answered last, then the others.
func (c *Cluster) askNameServer(ctx context.Context, op string, code int, ext map[string]string) (*Command, error) {
	c.mu.Lock()
	first := c.last
	c.mu.Unlock()
	err := error(msha.Errorf(op, "", "set the name servers of the unit", "%w: no name servers", msha.ErrInvalid))
	timeout := callTimeout
	if len(c.nameServers) > 1 {
		timeout = nameServerTimeout
	}
	for i := range c.nameServers {
		n := (first + i) % len(c.nameServers)
		addr := c.nameServers[n]
		one, cancel := context.WithTimeout(ctx, timeout)
		req := NewRequest(code, ext, nil)
		resp, callErr := c.client.Call(one, addr, req)
		cancel()
		next := n
		if callErr != nil {
			next = (n + 1) % len(c.nameServers) // also if ctx ends here: the next call must not wait for the same one again
		}
		c.mu.Lock()
		c.last = next
		c.mu.Unlock()
		if callErr == nil {
			return check(op, addr, resp, refusal(op, addr, req, resp))
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		err = msha.Errorf(op, "name servers "+strings.Join(c.nameServers, ", "), "is the address right, and does it run?", "%w", callErr)
	}
	return nil, err
}

// nameServerTimeout is for one of several name servers: one that is there and does not answer must leave time for the others.
const nameServerTimeout = 3 * time.Second

// callTimeout bounds every call but a pull, which has a limit of its own: a host that lost its power answers nothing for many minutes.
const callTimeout = 10 * time.Second

// call asks the master of a broker by name; errors other than answers drop the cached address.
func (c *Cluster) call(ctx context.Context, op, broker string, req *Command) (*Command, string, error) {
	if req.Code != ReqPullMessage {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callTimeout)
		defer cancel()
	}
	if c.pins != nil {
		conn, err := c.pinned(ctx, broker)
		if err != nil {
			return nil, "", err
		}
		resp, err := c.client.callOn(ctx, conn, req)
		if err != nil && ctx.Err() == nil {
			err = fmt.Errorf("%s: broker %s: %w", op, broker, err)
		}
		if err == nil {
			err = refusal(op, conn.addr, req, resp)
		}
		return resp, conn.addr, err
	}
	addr, err := c.MasterAddr(ctx, "", broker)
	if err != nil {
		return nil, "", err
	}
	resp, err := c.client.Call(ctx, addr, req)
	if err != nil && ctx.Err() == nil {
		c.forgetBroker(broker)
		err = fmt.Errorf("%s: broker %s: %w", op, broker, err)
	}
	if err == nil {
		err = refusal(op, addr, req, resp)
	}
	return resp, addr, err
}

// callAddr asks a broker by address.
func (c *Cluster) callAddr(ctx context.Context, op, addr string, req *Command) (*Command, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := c.client.Call(ctx, addr, req)
	if err == nil {
		err = refusal(op, addr, req, resp)
	}
	return check(op, addr, resp, err)
}

func (c *Cluster) forgetBroker(broker string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget(broker)
}

// forget is called with the lock held.
func (c *Cluster) forget(broker string) {
	if addr := c.masters[broker]; addr != "" {
		c.before[broker] = addr
		delete(c.masters, broker)
	}
}
