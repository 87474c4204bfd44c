package embedmq

import (
	"strconv"
	"time"

	"github.com/go-msha/msha/internal/remoting"
)

// delayed is a message that waits for its time; the record of it is in the schedule topic.
type delayed struct {
	due time.Time
	seq int
	rec *record
}

func delayLevel(m *remoting.Message) int {
	n, err := strconv.Atoi(m.Properties[propDelay])
	if err != nil {
		return 0
	}
	return n
}

// delay sets a message aside for the time of a level; a level beyond the last counts as the last.
func (b *broker) delay(m *remoting.Message, level int) *record {
	levels := b.c.opts.DelayLevels
	level = min(level, len(levels))
	m.Properties[propRealTop], m.Properties[propRealQID] = m.Topic, strconv.Itoa(m.QueueID)
	m.Topic, m.QueueID = scheduleTopic, level-1
	rec := b.append(m)
	b.await(rec, b.c.opts.Clock.Now().Add(levels[level-1]))
	b.arm()
	return rec
}

// arm sets the alarm for the next delayed message, and delivers what is due; the lock is held.
func (b *broker) arm() {
	if b.alarm != nil {
		b.alarm()
		b.alarm = nil
	}
	if b.srv == nil || b.c.closed {
		return
	}
	now := b.c.opts.Clock.Now()
	for len(b.pending) > 0 && !b.pending[0].due.After(now) {
		d := b.pending[0]
		b.pending = b.pending[1:]
		b.deliver(d.rec) // a process that dies here delivers it again
		b.journal.keep(entryDone, nil, "offset", itoa(d.rec.phys))
	}
	if len(b.pending) == 0 {
		return
	}
	life := b.life
	b.alarm = b.c.opts.Clock.AfterFunc(b.pending[0].due.Sub(now), func() {
		b.c.locked(func() {
			if b.life == life {
				b.arm()
			}
		})
	})
}

// deliver puts a delayed message where it was meant to go. Like a real server it leaves the delay level among its properties.
func (b *broker) deliver(rec *record) {
	ms, err := remoting.DecodeMessages(rec.enc)
	if err != nil {
		b.c.opts.Logger.Error("delayed message does not decode", "offset", rec.phys, "error", err)
		return
	}
	m := ms[0]
	m.Topic = m.Properties[propRealTop]
	m.QueueID, _ = strconv.Atoi(m.Properties[propRealQID])
	if b.topics[m.Topic] == nil {
		return // deleted meanwhile
	}
	b.append(m)
}
