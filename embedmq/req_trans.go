package embedmq

import (
	"strconv"

	"github.com/go-msha/msha/internal/remoting"
)

// prepare sets a half message aside until its transaction ends. Its producer is not asked about it: there is no check.
func (b *broker) prepare(m *remoting.Message) *record {
	m.Properties[propRealTop], m.Properties[propRealQID] = m.Topic, strconv.Itoa(m.QueueID)
	m.Topic, m.QueueID = halfTopic, 0
	m.SysFlag &^= remoting.SysTransRollback // stored as if it were none
	rec := b.append(m)
	b.halves[rec.phys] = rec
	return rec
}

// endTransaction serves END_TRANSACTION.
func (b *broker) endTransaction(r *request) *remoting.Command {
	if bad := r.need("commitLogOffset", "commitOrRollback"); bad != nil {
		return bad
	}
	phys := r.int64("commitLogOffset")
	rec := b.halves[phys]
	if rec == nil {
		return r.fail(remoting.RespSystemError, "Find prepared transaction message failed")
	}
	switch r.int("commitOrRollback") {
	case remoting.SysTransCommit:
		ms, err := remoting.DecodeMessages(rec.enc)
		if err != nil {
			return r.fail(remoting.RespSystemError, "%v", err)
		}
		m := ms[0]
		m.Topic = m.Properties[propRealTop]
		m.QueueID, _ = strconv.Atoi(m.Properties[propRealQID])
		delete(m.Properties, propRealTop)
		delete(m.Properties, propRealQID)
		m.Properties[propTranID] = m.Properties[propUniqKey]
		m.SysFlag |= remoting.SysTransCommit
		m.PreparedOffset = phys
		b.put(m)
	case remoting.SysTransRollback:
	default:
		return r.ok(nil) // not decided yet
	}
	b.noteEnd(rec)
	delete(b.halves, phys)
	b.journal.keep(entryDone, nil, "offset", itoa(phys))
	return r.ok(nil)
}
