package manager

import (
	"context"
	"errors"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
)

const (
	logGroup    = "MSHA_MANAGER" // side reads and appends: no subscription, no offsets
	logPullSize = 1024
	barrierPoll = time.Second     // how long a broker may keep a read of what it has acknowledged and does not show yet
	settleTime  = 2 * time.Second // a broker that was just started shows its logs one record after the other: so long a short one is not believed
	settlePoll  = 100 * time.Millisecond
)

var (
	errLostTail    = errors.New("the log lost its tail")
	errInterrupted = errors.New("the connection ended through which the end of the log was written")
)

// fold is what was read of some logs.
type fold struct {
	facts *filter.Facts
	at    map[remoting.Queue]*position
}

func newFold() *fold { return &fold{facts: filter.NewFacts(), at: map[remoting.Queue]*position{}} }

// forget begins anew: what one of the logs said cannot be taken out.
func (f *fold) forget() { *f = *newFold() }

func (f *fold) position(q remoting.Queue) *position {
	p := f.at[q]
	if p == nil {
		p = &position{}
		f.at[q] = p
	}
	return p
}

// position is how far a log is read. A broker may come back without the tail of its log:
//
//	the log was read up to offset 100 → its broker loses what is behind offset 94 → others write more than was lost → who reads on at offset 100
//	never sees the first of that, and keeps facts that nobody else can read
//
// That cannot happen while a connection lasts. So all calls go through one, and the first read through another one begins at the record read last.
type position struct {
	next    int64             // everything below is applied
	last    *imprint          // of the record read last
	view    *remoting.Cluster // pinned; nil: the last call failed
	checked bool              // the record read last was still there when view was new
}

// imprint is what a record is recognized by.
type imprint struct {
	offset, storedAt int64
	crc              int32
}

func imprintOf(m *remoting.Message) imprint {
	return imprint{m.QueueOffset, m.StoreTimestamp, m.BodyCRC}
}

// begin is where the next read begins.
func (p *position) begin() int64 {
	if p.checked {
		return p.next
	}
	return p.last.offset
}

// mark is a record that was written to a log to know where the log ends.
type mark struct {
	end  int64 // behind it
	view *remoting.Cluster
}

// through calls f, which uses the position's view: once more, with a new one, if the view had ended before.
func (l *unitLog) through(p *position, f func() error) error {
	for {
		known := p.view != nil
		if !known {
			p.view, p.checked = l.cluster.Pin(), p.last == nil
			if p.last == nil {
				p.next = 0
			}
		}
		err := f()
		if err != nil && !errors.Is(err, errInterrupted) {
			p.view = nil
		}
		if !known || !errors.Is(err, remoting.ErrDropped) {
			return err
		}
	}
}

// follow applies one log from where the last call ended to its end, which is not below its mark. errLostTail if what was read is not there any
// more, errInterrupted if the mark may not be.
func (l *unitLog) follow(ctx context.Context, to *fold, q remoting.Queue, marks map[remoting.Queue]mark, apply func(filter.Record)) error {
	p := to.position(q)
	return l.through(p, func() error {
		m, marked := marks[q]
		if marked && m.view != p.view {
			return errInterrupted
		}
		return l.readOn(ctx, q, p, m.end, apply)
	})
}

func (l *unitLog) readOn(ctx context.Context, q remoting.Queue, p *position, end int64, apply func(filter.Record)) error {
	for begun := time.Now(); ; {
		req := remoting.PullRequest{Queue: q, Group: logGroup, Offset: p.begin(), Max: logPullSize}
		if p.checked && p.next < end {
			req.Suspend = barrierPoll
		}
		res, err := p.view.Pull(ctx, req)
		if err != nil {
			return err
		}
		switch {
		case p.checked:
		case res.MinOffset > p.last.offset: // expired meanwhile
			p.checked = true
			continue
		case len(res.Messages) > 0 && imprintOf(res.Messages[0]) == *p.last:
			p.checked = true
		case len(res.Messages) == 0 && time.Since(begun) < l.settle:
			if err := sleep(ctx, settlePoll); err != nil {
				return err
			}
			continue
		default:
			return l.lostTail(q, p, res)
		}
		if err := p.take(q, res.Messages, apply); err != nil {
			return err
		}
		switch {
		case res.Status == remoting.PullNoNew && p.next < end:
			continue
		case res.Status == remoting.PullNoNew:
			return nil
		case res.Status == remoting.PullOffsetIllegal && res.NextOffset < p.next: // recreated
			return l.lostTail(q, p, res)
		}
		if p.next = res.NextOffset; p.next >= max(end, res.MaxOffset) {
			return nil
		}
	}
}

func (p *position) take(q remoting.Queue, ms []*remoting.Message, apply func(filter.Record)) error {
	for _, m := range ms {
		records, err := filter.DecodeLog(m.Body, m.QueueOffset)
		if err != nil {
			return msha.Errorf("facts.read", q.String(), "somebody else wrote into the topic", "offset %d: %w", m.QueueOffset, err)
		}
		for _, r := range records {
			apply(r)
		}
	}
	if len(ms) > 0 {
		last := imprintOf(ms[len(ms)-1])
		p.last = &last
	}
	return nil
}

func (l *unitLog) lostTail(q remoting.Queue, p *position, res *remoting.PullResult) error {
	l.log.Error("fact log lost its tail: facts that were acknowledged are gone, the logs are folded anew", "unit", l.unit, "log", q.String(),
		"read", p.next, "end", res.MaxOffset)
	return errLostTail
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
