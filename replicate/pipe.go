package replicate

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/history"
	"github.com/go-msha/msha/internal/remoting"
)

const (
	producerGroup = "MSHA_REPLICATOR"
	readerGroup   = "MSHA_REPLICATOR"
	longPoll      = 15 * time.Second
	callTimeout   = 10 * time.Second
	firstBackoff  = 50 * time.Millisecond
	lastBackoff   = 2 * time.Second
	maxPulls      = 128 // read ahead; before that their bytes are limited
	defaultPull   = 32  // messages in one pull, what brokers give unless they are set to give more
	maxPull       = 1024
)

// pipe copies one origin queue into one replica queue. One batch is in flight at a time: two could change places.
type pipe struct {
	from           msha.OriginQueue
	source, target remoting.Queue
	unit           string                   // target unit
	origin, remote func() *remoting.Cluster // the clusters of the two units as they are known now
	checkpoint     func(ctx context.Context) (m mark, ok bool, err error)
	history        *history.History // of the origin
	opts           *Options
	provision      func(ctx context.Context) error // creates the replica queue if its topic is not there
	log            *slog.Logger
	turn           *turn // the right to send
	memory         *budget
	limits         limits
	count          *counters
	sizes          meanSize

	mu      sync.Mutex
	located bool
	copied  mark // before it is located, what the owner before has copied at least
	err     error
	paused  chan struct{} // closed on resume; nil: not paused
}

// run copies until ctx ends; a gap that the policy does not allow to skip stops it earlier.
func (p *pipe) run(ctx context.Context) {
	p.memory.pipes.Add(1)
	defer p.memory.pipes.Add(-1)
	backoff, lost, met := firstBackoff, false, 0
	for ctx.Err() == nil {
		progressed, err := p.session(ctx)
		if ctx.Err() != nil {
			return
		}
		p.setErr(err)
		if isFinal(err) {
			p.log.Error("copying stopped", "error", err)
			return
		}
		p.count.interruptions.Add(1)
		switch {
		case lost:
		case errors.Is(err, errReconnect): // brokers close connections that were idle for two minutes
			p.log.Debug("copying begins again", "error", err)
		default:
			p.log.Warn("copying interrupted", "error", err)
			lost = true
		}
		if progressed {
			backoff, lost, met = firstBackoff, false, 0
		}
		if errors.Is(err, errForeign) {
			p.listen(ctx, met)
			met++
			continue
		}
		if topicMissing(err) { // a promoted slave may not have known the replica topic yet
			if err := p.provision(ctx); err != nil && ctx.Err() == nil {
				p.setErr(err)
			}
		}
		sleep(ctx, backoff)
		backoff = min(2*backoff, lastBackoff)
		p.origin().Forget()
		p.remote().Forget()
	}
}

// maxListen bounds how often the time to listen doubles.
const maxListen = 5

// listen keeps silent until the replica queue has not grown for a while, or the lease is trusted. Two processes that cannot reach the
// metastore both come here when they have met: who wakes first copies, the other one
// hears it. Each time they meet without having copied anything in between they wait longer.
func (p *pipe) listen(ctx context.Context, met int) {
	for ctx.Err() == nil && p.turn.look() != trusted {
		before, err := p.remote().MaxOffset(ctx, p.target)
		d := p.opts.Lease << min(met, maxListen)
		p.turn.pause(ctx, d+rand.N(d))
		after, afterErr := p.remote().MaxOffset(ctx, p.target)
		if err == nil && afterErr == nil && before == after {
			return
		}
	}
}

// finalError is one that no retry heals: somebody has to look at the queue (P5).
type finalError struct{ error }

func (e finalError) Unwrap() error { return e.error }

func isFinal(err error) bool { return errors.As(err, new(finalError)) }

func (p *pipe) share() share { return share{p.unit, p.source.Topic, p.source.Broker} }

func (p *pipe) setCopied(m mark) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.copied, p.located = m, true
}

func (p *pipe) setErr(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
}

func (p *pipe) state() (next int64, located bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.copied.Next, p.located, p.err
}

// stored is the position to keep in the checkpoint; ok is false while it is not certain.
func (p *pipe) stored() (m mark, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.copied, p.located && p.turn.look() != doubt // not after a freeze: another process may be further
}

func (p *pipe) pause(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case on && p.paused == nil:
		p.paused = make(chan struct{})
	case !on && p.paused != nil:
		close(p.paused)
		p.paused = nil
	}
}

func (p *pipe) waitWhilePaused(ctx context.Context) error {
	p.mu.Lock()
	paused := p.paused
	p.mu.Unlock()
	if paused == nil {
		return nil
	}
	select {
	case <-paused:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
