package replicate

import (
	"context"
	"errors"
	"time"

	"github.com/go-msha/msha/internal/remoting"
)

type pulled struct {
	ms   []remoting.Record
	more bool // the origin holds more
	err  error
}

// readAhead is the most that the session holds of messages: enough for the batch in flight and the next ones.
func (s *session) readAhead() int { return min(s.memory.share(), 4*s.opts.BatchBytes) }

// gather fills the next batch with what was read. It waits while there is nothing, and for a moment while the origin is known to hold
// more: large batches cost a broker much less.
func (s *session) gather(ctx context.Context, b *backlog, ahead <-chan pulled, dropped <-chan struct{}) error {
	maxMessages, maxBytes := s.limits.batch(s.opts.BatchMessages, min(s.opts.BatchBytes, s.readAhead()/2)) // while the batch is in flight, another one is read
	var late <-chan time.Time
	in, known := s.history.Known()
	for !b.extend(s.copier, maxMessages, maxBytes) {
		select {
		case got := <-ahead:
			b.add(got)
			continue
		default:
		}
		switch {
		case in.Newest(s.from) != s.in.Newest(s.from):
			return errRaised
		case len(b.ms) == 0 && b.err != nil:
			return b.err
		case len(b.ms) > 0 && !b.more:
			return nil
		case len(b.ms) > 0 && late == nil:
			timer := time.NewTimer(fillTime)
			defer timer.Stop()
			late = timer.C
		}
		select {
		case got := <-ahead:
			b.add(got)
		case <-late:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-dropped:
			return errReconnect
		case <-known: // what is there may have to be copied under new numbers, whether more comes or not
			in, known = s.history.Known()
		}
	}
	return nil
}

// fillTime bounds the wait for what should come at once.
const fillTime = 300 * time.Millisecond

// read pulls ahead of the sends.
func (s *session) read(ctx context.Context, next int64, out chan<- pulled) {
	expected := 0                                   // bytes of the next answer; that of a long poll is small
	count := min(defaultPull, s.opts.BatchMessages) // asked for
	for {
		if s.waitWhilePaused(ctx) != nil || s.held.take(ctx, expected) != nil {
			return
		}
		got := pulled{}
		res, err := s.origin.PullRecords(ctx, remoting.PullRequest{
			Queue: s.source, Group: readerGroup, Offset: next, Max: count, Suspend: longPoll,
		})
		switch {
		case err != nil:
			got.err = err
		case res.Status == remoting.PullNoNew:
		case !follows(next, res):
			got.err = errMoved // the session locates again and says what happened
		default:
			next = res.NextOffset
			got.ms = res.Records
		}
		size := memoryOf(got.ms)
		s.held.add(size - expected)
		if expected = 0; err == nil && res.MaxOffset > next {
			got.more, expected = true, size
		}
		if n := len(got.ms); n > 0 {
			count = min(max(s.pullBytes()*n/size, 1), s.opts.BatchMessages, maxPull)
		}
		if got.err == nil && got.ms == nil {
			continue
		}
		select {
		case out <- got:
		case <-ctx.Done():
			return
		}
		if got.err != nil {
			return
		}
	}
}

// pullBytes is about what one pull should give. Brokers have no such field: they are asked for as many messages of the size of the last
// ones, and give 256 KiB at most unless they are set to give more.
func (s *session) pullBytes() int { return max(min(s.readAhead()/4, 1<<20), 64<<10) }

var errMoved = errors.New("the origin's offsets moved")

// follows reports whether a pull gave messages without a hole from next on. A broker that is removing old files skips over them
// with the answer that a filter would get.
func follows(next int64, res *remoting.PullResult) bool {
	if res.Status != remoting.PullFound || len(res.Records) == 0 {
		return false
	}
	for i := range res.Records {
		if res.Records[i].QueueOffset != next+int64(i) {
			return false
		}
	}
	return res.NextOffset == next+int64(len(res.Records))
}
