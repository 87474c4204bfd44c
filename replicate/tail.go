package replicate

import (
	"context"
	"errors"
	"sort"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
)

// errForeign ends a session in which somebody else was found to write into the replica queue.
var errForeign = errors.New("another process copies into the same replica queue")

// mayWrite blocks while this process may have been replaced, and looks, before each send without a trusted lease, whether somebody else
// has written.
func (s *session) mayWrite(ctx context.Context) (mode, error) {
	right, err := s.turn.wait(ctx)
	if err != nil || right == trusted {
		return right, err
	}
	end, err := s.remote.MaxOffset(ctx, s.target)
	if err == nil && end > s.end {
		err = errForeign
	}
	return right, err
}

// wrote notes where a batch of n was stored. The offset tells if somebody has written in between: without a trusted lease that is the
// rightful owner, perhaps; with one it was a batch that the owner before had on its way.
func (s *session) wrote(at int64, n int, right mode) error {
	if at < s.end {
		return errAnew
	}
	foreign := at > s.end
	if foreign {
		s.log.Warn("somebody else has written into the replica queue, copies may be there twice", "expected", s.end, "offset", at)
	}
	s.end = at + int64(n)
	if foreign && right != trusted {
		return errForeign
	}
	return nil
}

// errAnew ends a session whose replica queue begins anew.
var errAnew = errors.New("the replica queue lost what it held")

// whole looks whether a replica queue that has never dropped a message begins where its origin began when it was first copied. If its topic
// was deleted and created again while messages were copied, what came before is missing, and nothing can be put in front of the rest.
func (s *session) whole(ctx context.Context, low int64) error {
	first, err := s.remote.MinOffset(ctx, s.target)
	if err != nil || first > 0 {
		return err
	}
	c, err := messageAt(ctx, s.remote, s.target, 0)
	if errors.Is(err, msha.ErrNotFound) {
		return nil // it has just expired
	}
	if err != nil {
		return err
	}
	o, err := msha.ParseOrigin(c.Properties[msha.PropertyOrigin])
	if err != nil || o.Offset <= low || s.in.At(o.OriginQueue, o.Offset) != o.OriginQueue {
		return nil
	}
	return msha.Errorf("replicate.resume", s.from.String(), "stop the replicators of this origin and delete the replica topic: it is then copied from the beginning",
		"%w: the replica queue %s begins with offset %d, the origin with %d: was its topic deleted and created again?", msha.ErrGap, s.target, o.Offset, low)
}

// tailLag is how long a broker may show an older end of a queue than it has acknowledged.
const tailLag = time.Second

// settledTail reads the last copy and the end of the replica queue. A tail older than what is known to be copied is believed only
// after a while.
func (s *session) settledTail(ctx context.Context) (tail *remoting.Message, end int64, err error) {
	least, _ := s.stored()
	for deadline := time.Now().Add(tailLag); ; sleep(ctx, tailLag/50) {
		tail, end, err = lastCopy(ctx, s.remote, s.target, s.opts.BatchMessages)
		expired := tail == nil && end > 0
		if err != nil || expired || nextOf(tail, s.in) >= least.Next || time.Now().After(deadline) || ctx.Err() != nil {
			return tail, end, err
		}
	}
}

// nextOf is the origin offset behind a copy; 0 if there is none.
func nextOf(m *remoting.Message, in *msha.Incarnations) int64 {
	if m == nil {
		return 0
	}
	o, err := msha.ParseOrigin(m.Properties[msha.PropertyOrigin])
	if err != nil {
		return 0
	}
	next, _ := in.After(o)
	return next
}

// lastCopy reads the end of a replica queue: nil if it holds nothing. The last message usually is what was copied last. But the last
// batch may be one that a replaced process had on its way, behind copies that are further: then it is the furthest of those.
func lastCopy(ctx context.Context, c *remoting.Cluster, q remoting.Queue, batch int) (m *remoting.Message, end int64, err error) {
	low, err := c.MinOffset(ctx, q)
	if err != nil {
		return nil, 0, err
	}
	end, err = c.MaxOffset(ctx, q)
	if err != nil || end <= low {
		return nil, end, err
	}
	for m, err = originTail(ctx, c, q, low, end-1); err == nil; {
		before, err := beforeRun(ctx, c, q, max(low, m.QueueOffset-int64(batch)), m)
		if err != nil || before == nil || !further(before, m) {
			return m, end, err
		}
		m = before
	}
	return nil, end, err
}

// tornTail is how many messages without any origin are passed over at the end of a replica queue: a broker that is killed while it stores a
// message may keep it without its properties. Consumers ignore such a message, and an audit lists it; what it was is copied again.
const tornTail = 16

// originTail is the last message up to a place that has an origin; the one at the place if none nearby has.
func originTail(ctx context.Context, c *remoting.Cluster, q remoting.Queue, low, at int64) (*remoting.Message, error) {
	last, err := messageAt(ctx, c, q, at)
	if err != nil {
		return nil, err
	}
	m := last
	for at--; m.Properties[msha.PropertyOrigin] == "" && at >= max(low, last.QueueOffset-tornTail); at-- {
		if m, err = messageAt(ctx, c, q, at); err != nil {
			return nil, err
		}
	}
	if m.Properties[msha.PropertyOrigin] == "" {
		return last, nil
	}
	return m, nil
}

// beforeRun is the copy right before those that lead up to one, each the next of its origin: where a replicator began again, or another one
// went on. It is nil if they begin at low or below, or are expiring.
func beforeRun(ctx context.Context, c *remoting.Cluster, q remoting.Queue, low int64, m *remoting.Message) (*remoting.Message, error) {
	var failed error
	leads := func(place int64) bool {
		x, err := messageAt(ctx, c, q, place)
		if err != nil {
			failed = err
			return true
		}
		return apart(x, m) == m.QueueOffset-place
	}
	if leads(low) && failed == nil { // as a rule
		return nil, nil
	}
	n := sort.Search(int(m.QueueOffset-low), func(i int) bool { return failed != nil || leads(low+int64(i)) })
	if failed == nil && n > 0 {
		var before *remoting.Message
		if before, failed = messageAt(ctx, c, q, low+int64(n)-1); failed == nil {
			return before, nil
		}
	}
	if errors.Is(failed, msha.ErrNotFound) {
		failed = nil
	}
	return nil, failed
}

// apart is how many offsets of the same incarnation lie between two copies; -1 if that says nothing.
func apart(a, b *remoting.Message) int64 {
	x, xErr := msha.ParseOrigin(a.Properties[msha.PropertyOrigin])
	y, yErr := msha.ParseOrigin(b.Properties[msha.PropertyOrigin])
	if xErr != nil || yErr != nil || x.OriginQueue != y.OriginQueue {
		return -1
	}
	return y.Offset - x.Offset
}

// further reports whether copy a is of a later message of the same origin queue than b.
func further(a, b *remoting.Message) bool {
	x, xErr := msha.ParseOrigin(a.Properties[msha.PropertyOrigin])
	y, yErr := msha.ParseOrigin(b.Properties[msha.PropertyOrigin])
	return xErr == nil && yErr == nil && x.First() == y.First() && x.Compare(y) > 0
}
