package embedmq

import (
	"context"
	"fmt"
	"strconv"

	"github.com/go-msha/msha/internal/remoting"
)

// request is a command being served. A handler runs under the cluster's lock and gives the answer; nil means that it will be
// posted later.
type request struct {
	conn *remoting.Conn
	cmd  *remoting.Command
}

func (r *request) str(key string) string { return r.cmd.Ext[key] }

func (r *request) int(key string) int { return int(r.int64(key)) }

// int64 is 0 for a missing or malformed number; required ones are checked with need.
func (r *request) int64(key string) int64 {
	n, err := strconv.ParseInt(r.cmd.Ext[key], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func (r *request) bool(key string) bool { return r.cmd.Ext[key] == "true" }

// need answers SYSTEM_ERROR if a field is missing, as a broker does when it decodes the header; nil if all are there.
func (r *request) need(keys ...string) *remoting.Command {
	for _, k := range keys {
		if _, ok := r.cmd.Ext[k]; !ok {
			return r.fail(remoting.RespSystemError, "the custom field <%s> is null", k)
		}
	}
	return nil
}

func (r *request) ok(ext map[string]string) *remoting.Command {
	c := r.cmd.Reply(remoting.RespSuccess, "")
	c.Ext = ext
	return c
}

func (r *request) body(b []byte) *remoting.Command {
	c := r.ok(nil)
	c.Body = b
	return c
}

func (r *request) fail(code int, format string, args ...any) *remoting.Command {
	return r.cmd.Reply(code, fmt.Sprintf(format, args...))
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// serve is the way of every request: count, fault, handler. who is the broker's name or NameServer, alive says whether the
// server that read it still runs (a killed broker must not touch state any more).
func (c *Cluster) serve(who string, alive func() bool, handler func(*request) *remoting.Command) remoting.Handler {
	return func(_ context.Context, conn *remoting.Conn, cmd *remoting.Command) (answer *remoting.Command) {
		r := &request{conn, cmd}
		c.locked(func() {
			if c.closed || !alive() {
				return
			}
			f := c.fault(who, cmd)
			if f == nil || f.Delay == 0 {
				answer = c.carryOut(r, f, handler)
				return
			}
			c.later(f.Delay, func() {
				if !alive() {
					return
				}
				if a := c.carryOut(r, f, handler); a != nil {
					c.post(conn, a)
				}
			})
		})
		return answer
	}
}

func (c *Cluster) carryOut(r *request, f *Fault, handler func(*request) *remoting.Command) *remoting.Command {
	var answer *remoting.Command
	switch {
	case f != nil && f.Error != 0:
		answer = r.fail(f.Error, "injected fault")
	case f != nil && f.Drop && !f.StoredButTimedOut:
		return nil
	default:
		c.served[r.cmd.Code]++
		answer = handler(r)
	}
	if f != nil && f.StoredButTimedOut {
		if f.Drop {
			return nil
		}
		if answer != nil && answer.Code == remoting.RespSuccess {
			answer.Code, answer.Remark = remoting.RespFlushDiskTimeout, "injected fault"
		}
	}
	if r.cmd.IsOneway() {
		return nil
	}
	return answer
}

// gate holds requests back until the server's state is complete. A request that was read is served even if its connection ended
// meanwhile: clients send their last offsets one way and close.
func gate(ready <-chan struct{}, h remoting.Handler) remoting.Handler {
	return func(ctx context.Context, conn *remoting.Conn, cmd *remoting.Command) *remoting.Command {
		<-ready
		return h(ctx, conn, cmd)
	}
}
