package redis

import (
	"context"
	"errors"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/go-msha/msha/metastore/internal/follow"
)

// silence is how long the connection for notices may be silent before it is asked for a sign of life, and then again before it is given
// up: a connection that leads nowhere is noticed within twice that.
const silence = 4 * time.Second

var errSilent = errors.New("the connection for notices is dead: no answer to a ping")

// notices holds one connection on which all channels of a store are subscribed. It exists while a channel is followed. A confirmed
// subscription counts as a notice: what was published before it may have been missed.
type notices struct {
	s    *Store
	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup

	command sync.Mutex // held while the set of channels changes, here and at the server, so that both agree

	mu        sync.Mutex
	following map[string]map[*follower]struct{} // by channel
	pubsub    *goredis.PubSub                   // nil while there is no connection
	leave     context.CancelFunc                // ends the connection's goroutine; nil while there is none
}

type follower struct{ changed func() }

func newNotices(s *Store) *notices {
	n := &notices{s: s, following: map[string]map[*follower]struct{}{}}
	n.ctx, n.stop = context.WithCancel(context.Background())
	return n
}

// follow calls changed once the channel is subscribed, then after each notice, until ctx ends.
func (n *notices) follow(ctx context.Context, channel string, changed func()) error {
	f := &follower{changed}
	n.add(channel, f)
	defer n.remove(channel, f)
	<-ctx.Done()
	return ctx.Err()
}

func (n *notices) add(channel string, f *follower) {
	n.command.Lock()
	defer n.command.Unlock()
	n.mu.Lock()
	fresh := len(n.following[channel]) == 0
	if fresh {
		n.following[channel] = map[*follower]struct{}{}
	}
	n.following[channel][f] = struct{}{}
	pubsub := n.pubsub
	if n.leave == nil && n.ctx.Err() == nil {
		ctx, cancel := context.WithCancel(n.ctx)
		n.leave = cancel
		n.wg.Go(func() { n.run(ctx) })
	}
	n.mu.Unlock()
	switch {
	case !fresh:
		f.changed()
	case pubsub != nil:
		_ = pubsub.Subscribe(n.ctx, channel) // an error ends the connection, and all channels are subscribed on the next one
	}
}

func (n *notices) remove(channel string, f *follower) {
	n.command.Lock()
	defer n.command.Unlock()
	n.mu.Lock()
	delete(n.following[channel], f)
	last := len(n.following[channel]) == 0
	if last {
		delete(n.following, channel)
	}
	pubsub := n.pubsub
	if len(n.following) == 0 && n.leave != nil {
		n.leave()
		n.leave = nil
		n.pubsub, pubsub = nil, nil
	}
	n.mu.Unlock()
	if last && pubsub != nil {
		_ = pubsub.Unsubscribe(n.ctx, channel)
	}
}

// run keeps one connection, until ctx ends.
func (n *notices) run(ctx context.Context) {
	const what = "notices"
	defer n.s.health.Forget(what)
	const most = 5 * time.Second
	backoff := follow.Backoff{Min: 100 * time.Millisecond, Max: most}
	for {
		began := time.Now()
		err := n.listen(ctx, func() { n.s.health.Fine(what) })
		if ctx.Err() != nil {
			return
		}
		n.s.relearn()
		n.s.health.Lost(what, n.s.failure(ctx, "subscribe", "", false, err))
		if time.Since(began) > most {
			backoff.Reset()
		}
		if backoff.Wait(ctx) != nil {
			return
		}
	}
}

// listen serves one connection until it ends. The client would connect again by itself, without a word and without noticing a connection
// that leads nowhere; so each gets a PubSub of its own.
func (n *notices) listen(ctx context.Context, alive func()) error {
	pubsub := n.s.client.Subscribe(ctx)
	defer pubsub.Close() //nolint:errcheck // nothing is lost with it
	defer context.AfterFunc(ctx, func() { _ = pubsub.Close() })()
	if err := n.open(ctx, pubsub); err != nil {
		return err
	}
	defer n.forget(pubsub)
	asked := false
	for {
		event, err := pubsub.ReceiveTimeout(ctx, silence)
		switch {
		case isTimeout(err) && !asked:
			asked = true
			if err := pubsub.Ping(ctx); err != nil {
				return err
			}
			continue
		case isTimeout(err):
			return errSilent
		case err != nil:
			return err
		}
		asked = false
		switch event := event.(type) {
		case *goredis.Subscription:
			if event.Kind == "subscribe" {
				alive()
				n.notify(event.Channel)
			}
		case *goredis.Message:
			n.notify(event.Channel)
		}
	}
}

// open subscribes all channels on a new connection.
func (n *notices) open(ctx context.Context, pubsub *goredis.PubSub) error {
	n.command.Lock()
	defer n.command.Unlock()
	n.mu.Lock()
	channels := make([]string, 0, len(n.following))
	for channel := range n.following {
		channels = append(channels, channel)
	}
	n.mu.Unlock()
	if len(channels) == 0 || ctx.Err() != nil {
		return context.Canceled // the last one left meanwhile
	}
	if err := pubsub.Subscribe(ctx, channels...); err != nil {
		return err
	}
	n.mu.Lock()
	n.pubsub = pubsub
	n.mu.Unlock()
	return nil
}

func (n *notices) forget(pubsub *goredis.PubSub) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.pubsub == pubsub {
		n.pubsub = nil
	}
}

func (n *notices) notify(channel string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for f := range n.following[channel] {
		f.changed()
	}
}

// close ends the connection and waits for its goroutine.
func (n *notices) close() {
	n.mu.Lock()
	n.stop() // add starts no goroutine any more
	n.mu.Unlock()
	n.wg.Wait()
}
