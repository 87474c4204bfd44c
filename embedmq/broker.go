package embedmq

import (
	"net/netip"
	"time"

	msha "github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
)

// broker is one master. Everything in it is guarded by the cluster's lock.
type broker struct {
	c     *Cluster
	name  string
	addr  string // stays after a kill, for the restart
	host  netip.AddrPort
	srv   *listener // nil while killed
	life  int       // counts starts, so that leftovers of a killed server are recognized
	began time.Time // of this life

	topics   map[string]*topicConfig
	groups   map[string]*groupConfig
	queues   map[string]map[int]*queue
	log      []*record // ascending phys
	nextPhys int64
	offsets  map[offsetKey]int64
	resets   map[offsetKey]int64 // by operators, not told to the group yet
	pending  []*delayed          // ascending due
	seq      int
	alarm    func() bool
	halves   map[int64]*record
	journal  *journal
	lost     int64 // bytes of the journal

	members   map[string]*groupMembers
	producers map[string]map[string]*remoting.Conn // by group and client id
	locks     map[string]map[lockKey]*lockEntry
}

func newBroker(c *Cluster, name string) *broker {
	b := &broker{c: c, name: name, topics: map[string]*topicConfig{}, groups: map[string]*groupConfig{},
		queues: map[string]map[int]*queue{}, offsets: map[offsetKey]int64{}, halves: map[int64]*record{}}
	b.systemTopics()
	b.systemGroups()
	return b
}

// handlers is the registry of what a broker answers; the coverage test walks it.
var brokerHandlers = map[int]func(*broker, *request) *remoting.Command{
	remoting.ReqSendMessage:             (*broker).send,
	remoting.ReqSendMessageV2:           (*broker).send,
	remoting.ReqSendBatchMessage:        (*broker).sendBatch,
	remoting.ReqPullMessage:             (*broker).pull,
	remoting.ReqQueryConsumerOffset:     (*broker).queryOffset,
	remoting.ReqUpdateConsumerOffset:    (*broker).updateOffset,
	remoting.ReqGetAllConsumerOffset:    (*broker).allOffsets,
	remoting.ReqInvokeResetOffset:       (*broker).resetOffset,
	remoting.ReqSearchOffsetByTimestamp: (*broker).searchOffset,
	remoting.ReqGetMaxOffset:            (*broker).maxOffset,
	remoting.ReqGetMinOffset:            (*broker).minOffset,
	remoting.ReqViewMessageByID:         (*broker).viewMessage,
	remoting.ReqHeartbeat:               (*broker).heartbeat,
	remoting.ReqUnregisterClient:        (*broker).unregister,
	remoting.ReqCheckClientConfig:       (*broker).checkClient,
	remoting.ReqConsumerSendMsgBack:     (*broker).sendBack,
	remoting.ReqEndTransaction:          (*broker).endTransaction,
	remoting.ReqGetConsumerListByGroup:  (*broker).consumerList,
	remoting.ReqGetConsumerConnections:  (*broker).consumerConnections,
	remoting.ReqLockBatchMQ:             (*broker).lockQueues,
	remoting.ReqUnlockBatchMQ:           (*broker).unlockQueues,
	remoting.ReqUpdateAndCreateTopic:    (*broker).createTopic,
	remoting.ReqDeleteTopicInBroker:     (*broker).deleteTopic,
	remoting.ReqGetTopicConfig:          (*broker).getTopicConfig,
	remoting.ReqGetAllTopicConfig:       (*broker).allTopicConfig,
	remoting.ReqUpdateAndCreateGroup:    (*broker).createGroup,
	remoting.ReqDeleteGroup:             (*broker).deleteGroup,
	remoting.ReqGetAllGroups:            (*broker).allGroups,
	remoting.ReqGetConsumeStats:         (*broker).consumeStats,
	remoting.ReqGetTopicStats:           (*broker).topicStats,
	remoting.ReqGetBrokerRuntimeInfo:    (*broker).runtimeInfo,
	remoting.ReqGetBrokerConfig:         (*broker).brokerConfig,
}

// start opens the port and registers with the name server. It must not be called with the lock held.
func (b *broker) start(addr string) error {
	b.c.mu.Lock()
	b.life++
	life := b.life
	b.c.mu.Unlock()
	alive := func() bool { return b.srv != nil && b.life == life }
	ready := make(chan struct{})
	serve := b.c.serve(b.name, alive, func(r *request) *remoting.Command {
		if no := b.c.opts.refuse(r); no != nil {
			return no
		}
		h := brokerHandlers[r.cmd.Code]
		if h == nil {
			return r.fail(remoting.RespRequestCodeNotSupported, " request type %d not supported", r.cmd.Code)
		}
		answer := h(b, r)
		if err := b.journal.failure(); err != nil {
			return r.fail(remoting.RespServiceNotAvailable, "the broker can no longer keep what it stores: %v", err)
		}
		return answer
	})
	l, err := b.c.listen(addr, gate(ready, serve), &remoting.ServerOptions{Logger: b.c.opts.Logger, OnClose: func(conn *remoting.Conn) {
		b.c.locked(func() {
			if alive() && !b.c.closed {
				b.leaveConn(conn)
			}
		})
	}})
	if err != nil {
		return err
	}
	closed := false
	b.c.locked(func() {
		if closed = b.c.closed; closed {
			return
		}
		b.srv, b.host, b.addr, b.began = l, l.addr, l.addr.String(), b.c.opts.Clock.Now()
		b.members, b.producers, b.locks = map[string]*groupMembers{}, map[string]map[string]*remoting.Conn{}, map[string]map[lockKey]*lockEntry{}
		b.resets = map[offsetKey]int64{}
		b.c.ns.registerAll(b)
		b.arm()
	})
	close(ready)
	if closed { // meanwhile
		l.close()
		return msha.Errorf("embedmq.start", b.name, "", "%w", msha.ErrClosed)
	}
	return nil
}

// halt makes the broker dead at once and hands back what must be closed without the lock; the lock is held.
func (b *broker) halt() *listener {
	l := b.srv
	b.srv = nil
	if b.alarm != nil {
		b.alarm()
		b.alarm = nil
	}
	for _, qs := range b.queues {
		for _, q := range qs {
			for _, w := range q.waiters {
				w.timer.Stop()
			}
			q.waiters = nil
		}
	}
	b.c.ns.forget(b.name)
	return l
}
