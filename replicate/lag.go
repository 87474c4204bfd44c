package replicate

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
)

// lagParallel is how many queues are asked at a time.
const lagParallel = 8

// Lag asks the origin how far each copy is behind, of the queues that this process copies: the lag of a unit is that of all its replicator
// processes together. A queue that stopped has Err set. With an error, queues that could not be asked are missing.
func (r *Replicator) Lag(ctx context.Context) ([]msha.QueueLag, error) {
	pipes := r.list("")
	lags, errs := make([]msha.QueueLag, len(pipes)), make([]error, len(pipes))
	clocks := &brokerClocks{told: map[string]*brokerClock{}}
	work := make(chan int)
	var wg sync.WaitGroup
	for range min(lagParallel, len(pipes)) {
		wg.Go(func() {
			for i := range work {
				lags[i], errs[i] = pipes[i].lag(ctx, clocks)
			}
		})
	}
	for i := range pipes {
		work <- i
	}
	close(work)
	wg.Wait()
	var out []msha.QueueLag
	var first error
	for i, err := range errs {
		switch {
		case err == nil:
			out = append(out, lags[i])
		case first == nil:
			first = err
		}
	}
	if ctx.Err() != nil {
		return out, ctx.Err()
	}
	return out, first
}

func (p *pipe) lag(ctx context.Context, clocks *brokerClocks) (msha.QueueLag, error) {
	origin := p.origin()
	if origin == nil { // closed
		return msha.QueueLag{}, msha.Errorf("replicate.lag", p.from.String(), "", "replicator is %w", msha.ErrClosed)
	}
	high, err := origin.MaxOffset(ctx, p.source)
	if err != nil {
		return msha.QueueLag{}, err
	}
	next, _, stopped := p.state()
	l := msha.QueueLag{Queue: p.from, Target: p.unit, Copied: next, Messages: max(high-next, 0), Err: stopped}
	if l.Messages == 0 {
		return l, nil
	}
	l.Bytes, l.Age = msha.Unknown, msha.Unknown
	size := p.sizes.mean()
	if oldest := firstAfter(ctx, origin, p.source, next); oldest != nil {
		if size == 0 {
			size = float64(itemSize(oldest))
		}
		now, ok := clocks.of(ctx, origin, p.source.Broker)
		if !ok {
			now = oldest.StoreTimestamp
		}
		if newest, err := messageAt(ctx, origin, p.source, high-1); !ok && err == nil {
			now = newest.StoreTimestamp
		}
		l.Age = max(time.Duration(now-oldest.StoreTimestamp)*time.Millisecond, 0)
	}
	if size > 0 {
		l.Bytes = int64(size * float64(l.Messages))
	}
	return l, ctx.Err()
}

// firstAfter is the first message at an offset or behind it that the queue still has; nil if it cannot be read.
func firstAfter(ctx context.Context, c *remoting.Cluster, q remoting.Queue, offset int64) *remoting.Message {
	for range 2 { // the second time from the minimum
		res, err := c.Pull(ctx, remoting.PullRequest{Queue: q, Group: readerGroup, Offset: offset, Max: 1})
		if err != nil {
			return nil
		}
		if len(res.Messages) > 0 {
			return res.Messages[0]
		}
		if res.NextOffset <= offset {
			return nil
		}
		offset = res.NextOffset
	}
	return nil
}

// brokerClocks are the times of one cluster's brokers, each asked once.
type brokerClocks struct {
	mu   sync.Mutex
	told map[string]*brokerClock
}

type brokerClock struct {
	once sync.Once
	now  int64 // milliseconds since 1970
	ok   bool
}

func (c *brokerClocks) of(ctx context.Context, cluster *remoting.Cluster, broker string) (now int64, ok bool) {
	c.mu.Lock()
	clock := c.told[broker]
	if clock == nil {
		clock = &brokerClock{}
		c.told[broker] = clock
	}
	c.mu.Unlock()
	clock.once.Do(func() {
		if addr, err := cluster.MasterAddr(ctx, "", broker); err == nil {
			if info, err := cluster.RuntimeInfo(ctx, addr); err == nil {
				clock.now, clock.ok = brokerTime(info)
			}
		}
	})
	return clock.now, clock.ok
}

// brokerTime is a broker's own time, in milliseconds since 1970 and rounded down to a second of its running: when it was started plus for
// how long it has been running.
func brokerTime(info map[string]string) (now int64, ok bool) {
	boot, err := strconv.ParseInt(info["bootTimestamp"], 10, 64)
	if err != nil {
		return 0, false
	}
	ran, ok := parseRuntime(info["runtime"])
	return boot + ran.Milliseconds(), ok
}

// parseRuntime reads "[ 1 days, 2 hours, 3 minutes, 4 seconds ]".
func parseRuntime(s string) (d time.Duration, ok bool) {
	units := map[string]time.Duration{"days": 24 * time.Hour, "hours": time.Hour, "minutes": time.Minute, "seconds": time.Second}
	fields := strings.Fields(strings.NewReplacer("[", "", "]", "").Replace(s))
	for i := 0; i+1 < len(fields); i += 2 {
		name := strings.TrimSuffix(fields[i+1], ",")
		n, err := strconv.ParseInt(strings.ReplaceAll(fields[i], ",", ""), 10, 32) // 1,000 days
		if err != nil || units[name] == 0 {
			return 0, false
		}
		d += time.Duration(n) * units[name]
		delete(units, name)
	}
	return d, len(units) == 0
}
