package replicate

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
)

// Pending asks each broker of the origin what it has accepted and holds back: delayed and half messages. They are not copied before they
// are due or committed; whichever process asks gets the same answer. A number that a broker cannot tell, or the account may not ask for, is
// msha.Unknown and Err says why. It needs Run: ErrNotFound as long as the origin was not reached.
func (r *Replicator) Pending(ctx context.Context) ([]msha.PendingMessages, error) {
	origin := r.sites.Known(r.origin)
	if origin == nil {
		return nil, msha.Errorf("replicate.pending", r.origin, "does Run run, and does the unit's name server answer?", "cluster of the origin %w", msha.ErrNotFound)
	}
	brokers, err := origin.Brokers(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]msha.PendingMessages, len(brokers))
	var wg sync.WaitGroup
	for i, name := range slices.Sorted(maps.Keys(brokers)) {
		wg.Go(func() { out[i] = pendingAt(ctx, r.origin, name, brokers[name], origin) })
	}
	wg.Wait()
	return out, ctx.Err()
}

func pendingAt(ctx context.Context, unit, broker, addr string, c *remoting.Cluster) msha.PendingMessages {
	p := msha.PendingMessages{Unit: unit, Broker: broker}
	var delayedErr, halfErr error
	p.Delayed, delayedErr = delayedAt(ctx, c, broker, addr)
	p.Half, halfErr = halvesAt(ctx, c, broker)
	p.Err = errors.Join(delayedErr, halfErr)
	return p
}

const (
	scheduleTopic = "SCHEDULE_TOPIC_XXXX" // a queue for each delay level, level 1 in queue 0
	halfTopic     = "RMQ_SYS_TRANS_HALF_TOPIC"
	endTopic      = "RMQ_SYS_TRANS_OP_HALF_TOPIC" // ends of transactions: offsets in the half topic's queue of the same number
	halfReader    = "CID_RMQ_SYS_TRANS"           // the broker's own group, whose offsets are where all transactions below have ended
)

// halvesAt counts the half messages at a broker that no end names. They all are in queue 0. The broker looks through both queues from time
// to time, moves its offsets behind what is ended, and writes a transaction that it had to ask about anew: so from its offsets on is all
// that counts.
func halvesAt(ctx context.Context, c *remoting.Cluster, broker string) (int64, error) {
	half, ends := remoting.Queue{Topic: halfTopic, Broker: broker}, remoting.Queue{Topic: endTopic, Broker: broker}
	endsFrom, err := readPosition(ctx, c, ends)
	if err != nil {
		return msha.Unknown, err
	}
	from, err := readPosition(ctx, c, half)
	if err != nil {
		return msha.Unknown, err
	}
	to, err := c.MaxOffset(ctx, half)
	if err != nil {
		return msha.Unknown, err
	}
	if to <= from {
		return 0, nil
	}
	ended, err := endedHalves(ctx, c, ends, endsFrom, from, to)
	if err != nil {
		return msha.Unknown, err
	}
	return max(to-from-ended, 0), nil
}

// readPosition is from where on the broker has to look at one of its own queues.
func readPosition(ctx context.Context, c *remoting.Cluster, q remoting.Queue) (int64, error) {
	low, err := c.MinOffset(ctx, q)
	if err != nil {
		return 0, err
	}
	at, err := c.CommittedOffset(ctx, halfReader, q)
	if errors.Is(err, msha.ErrNotFound) {
		return low, nil
	}
	return max(at, low), err
}

// maxEnds bounds how many records of ends are read for one answer.
const maxEnds = 1 << 16

// endedHalves counts which half messages from offset from to to-1 have ended.
func endedHalves(ctx context.Context, c *remoting.Cluster, q remoting.Queue, at, from, to int64) (int64, error) {
	end, err := c.MaxOffset(ctx, q)
	if err != nil {
		return 0, err
	}
	if end-at > maxEnds {
		return 0, msha.Errorf("replicate.pending", q.String(), "ask again after the broker's next check of transactions",
			"%w: %d records of ended transactions, more than %d are not read", msha.ErrTooLarge, end-at, maxEnds)
	}
	ended := map[int64]bool{}
	for at < end {
		res, err := c.Pull(ctx, remoting.PullRequest{Queue: q, Group: readerGroup, Offset: at, Max: 256})
		if errors.Is(err, msha.ErrNotFound) { // RocketMQ 4 before its first check: it has one end in each record, and did not name the topic yet
			return end - at, nil
		}
		if err != nil {
			return 0, err
		}
		for _, m := range res.Messages {
			for s := range strings.SplitSeq(string(m.Body), ",") { // RocketMQ 4 writes no comma
				if offset, err := strconv.ParseInt(s, 10, 64); err == nil && offset >= from && offset < to {
					ended[offset] = true
				}
			}
		}
		if res.NextOffset <= at {
			break
		}
		at = res.NextOffset
	}
	return int64(len(ended)), nil
}
