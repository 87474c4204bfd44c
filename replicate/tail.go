package replicate

import (
	"context"
	"errors"
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

// tailLag is how long a broker may show an older end of a queue than it has acknowledged.
const tailLag = time.Second

// settledTail reads the last copy and the end of the replica queue. A tail older than what is known to be copied is believed only
// after a while.
func (s *session) settledTail(ctx context.Context) (tail *remoting.Message, end int64, err error) {
	least, _, _ := s.state()
	for deadline := time.Now().Add(tailLag); ; sleep(ctx, tailLag/50) {
		tail, end, err = lastCopy(ctx, s.remote, s.target, s.opts.BatchMessages)
		expired := tail == nil && end > 0
		if err != nil || expired || nextOf(tail) >= least || time.Now().After(deadline) || ctx.Err() != nil {
			return tail, end, err
		}
	}
}

// nextOf is the origin offset behind a copy; 0 if there is none.
func nextOf(m *remoting.Message) int64 {
	if m == nil {
		return 0
	}
	o, err := msha.ParseOrigin(m.Properties[msha.PropertyOrigin])
	if err != nil {
		return 0
	}
	return o.Offset + 1
}

// lastCopy reads the end of a replica queue: nil if it holds nothing. The last message usually is what was copied last. But the last
// batch may be one that a replaced process had on its way, behind copies that are further; then it is the furthest of those around it.
func lastCopy(ctx context.Context, c *remoting.Cluster, q remoting.Queue, batch int) (m *remoting.Message, end int64, err error) {
	low, err := c.MinOffset(ctx, q)
	if err != nil {
		return nil, 0, err
	}
	end, err = c.MaxOffset(ctx, q)
	if err != nil || end <= low {
		return nil, end, err
	}
	if m, err = messageAt(ctx, c, q, end-1); err != nil {
		return nil, end, err
	}
	at := max(low, end-1-int64(batch))
	before, err := messageAt(ctx, c, q, at)
	if errors.Is(err, msha.ErrNotFound) || err == nil && !further(before, m) {
		return m, end, nil // or it is expiring just now
	}
	for err == nil && at < end-1 {
		if further(before, m) {
			m = before
		}
		at++
		before, err = messageAt(ctx, c, q, at)
	}
	return m, end, err
}

// further reports whether copy a is of a later message of the same origin queue than b.
func further(a, b *remoting.Message) bool {
	x, xErr := msha.ParseOrigin(a.Properties[msha.PropertyOrigin])
	y, yErr := msha.ParseOrigin(b.Properties[msha.PropertyOrigin])
	return xErr == nil && yErr == nil && x.OriginQueue == y.OriginQueue && x.Offset > y.Offset
}
