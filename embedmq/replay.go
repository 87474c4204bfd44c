package embedmq

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"time"

	msha "github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
)

// replay applies one journal entry to a broker that is being started.
func (b *broker) replay(e *remoting.Command) error {
	r := &request{cmd: e}
	topic, id, offset := r.str("topic"), r.int("queueId"), r.int64("offset")
	switch e.Code {
	case entryMessage:
		return b.replayMessage(e.Body)
	case entryTopic:
		t := &topicConfig{}
		if err := json.Unmarshal(e.Body, t); err != nil {
			return errEntry("topic: %v", err)
		}
		b.topics[t.Name] = t
	case entryNoTopic:
		b.dropTopic(topic)
	case entryGroup:
		g := &groupConfig{}
		if err := json.Unmarshal(e.Body, g); err != nil {
			return errEntry("group: %v", err)
		}
		b.groups[g.Name] = g
	case entryNoGroup:
		b.dropGroup(r.str("group"), r.bool("cleanOffset"))
	case entryOffset:
		b.offsets[offsetKey{r.str("group"), topic, id}] = offset
	case entryMin:
		b.queue(topic, id).raiseMin(offset)
		b.compact()
	case entryMax:
		q := b.queue(topic, id)
		if offset < q.min || offset > q.max() {
			return errEntry("maximum %d of a queue from %d to %d", offset, q.min, q.max())
		}
		q.recs = slices.Clip(q.recs[:offset-q.min])
		b.compact()
	case entryDone:
		delete(b.halves, offset)
		b.pending = slices.DeleteFunc(b.pending, func(d *delayed) bool { return d.rec.phys == offset })
	default:
		return errEntry("kind %d", e.Code)
	}
	return nil
}

func errEntry(format string, args ...any) error {
	return fmt.Errorf("journal entry %w: %s", msha.ErrInvalid, fmt.Sprintf(format, args...))
}

func (b *broker) replayMessage(enc []byte) error {
	ms, err := remoting.DecodeMessages(enc)
	if err != nil || len(ms) != 1 {
		return errEntry("%d messages: %v", len(ms), err)
	}
	m := ms[0]
	q := b.queue(m.Topic, m.QueueID)
	if m.QueueOffset != q.max() || m.CommitLogOffset < b.nextPhys {
		return errEntry("message at %d of %s/%d, which ends at %d", m.QueueOffset, m.Topic, m.QueueID, q.max())
	}
	rec := &record{topic: m.Topic, queue: m.QueueID, offset: m.QueueOffset, phys: m.CommitLogOffset, stored: m.StoreTimestamp,
		tags: tagCode(m.Properties[propTags]), enc: enc}
	b.nextPhys = rec.phys + int64(len(enc))
	q.recs = append(q.recs, rec)
	b.log = append(b.log, rec)
	switch m.Topic {
	case halfTopic:
		b.halves[rec.phys] = rec
	case scheduleTopic:
		levels := b.c.opts.DelayLevels
		if len(levels) > 0 {
			b.await(rec, time.UnixMilli(rec.stored).Add(levels[min(rec.queue, len(levels)-1)]))
		}
	}
	return nil
}

// await puts a delayed message in its place among those that wait.
func (b *broker) await(rec *record, due time.Time) {
	b.seq++
	i := sort.Search(len(b.pending), func(i int) bool { return b.pending[i].due.After(due) })
	b.pending = slices.Insert(b.pending, i, &delayed{due, b.seq, rec})
}
