//go:build real

package copychaos

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/internal/netproxy"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/replicate"
)

// cutOff: the far unit is out of reach while messages flow, with sends on their way. Afterwards everything is there, in order and once,
// and nobody spent the time knocking.
func cutOff(w *world, f *far) {
	origin := w.units[0]
	for _, topic := range topics {
		w.createTopic(origin, topic, 4)
	}
	f.slow()
	_, stop := w.replicate(origin, replicate.Options{})
	sent, produced := w.trickle(origin)
	w.eventually("the pipes are at work", func() bool { return w.copies(origin, f.unit, topics...) > 500 })
	attempts, lines := f.attempts(), w.lines()
	f.each((*netproxy.Proxy).Blackhole)
	wait(w.ctx, *partition)
	f.each((*netproxy.Proxy).Cut) // what was on its way is lost
	wait(w.ctx, *partition/4)
	attempts, lines = f.attempts()-attempts, w.lines()-lines
	f.each((*netproxy.Proxy).Heal)
	f.fast()
	produced()
	report := w.audited(origin, f.unit, replicate.AuditOptions{}, topics...)
	stop()
	require.EqualValues(w, sent(), compared(report))
	require.Zero(w, report.Count(replicate.Repeated), "a send that was not answered was repeated: %s", report.Verdict())
	pipes := len(w.queues(origin, topics...))
	w.Logf("partition of %v: %d copied, %d connections and %d log lines of %d pipes", *partition, compared(report), attempts, lines, pipes)
	// Each pipe may try a few times quickly and then every two seconds, and looks for its broker each time; discovery goes on.
	perPipe := 10 + int(*partition/time.Second)
	require.LessOrEqual(w, attempts, pipes*perPipe)
	require.LessOrEqual(w, lines, 8*(pipes+2))
}

// trickle sends a few messages all the time, until the second function is called; the first one counts.
func (w *world) trickle(u *unit) (sent func() int, stop func()) {
	queues, n := w.queues(u, topics...), 0
	ctx, cancel := context.WithCancel(w.ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			for _, q := range queues {
				var ms []*remoting.Message
				for range 5 {
					n++
					ms = append(ms, &remoting.Message{Body: []byte("trickle")})
				}
				if _, err := u.mq.SendBatch(w.ctx, q, "mtr", ms); err != nil {
					w.Errorf("send: %v", err)
					return
				}
			}
			wait(ctx, 20*time.Millisecond)
		}
	})
	stop = func() {
		cancel()
		wg.Wait()
	}
	w.Cleanup(stop)
	return func() int { return n }, stop
}

func (w *world) lines() int { return strings.Count(w.log.String(), "\n") }

// wait lets time pass.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
