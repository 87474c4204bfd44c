package embedmq

import (
	"encoding/json"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/go-msha/msha/internal/remoting"
)

// groupMembers is a consumer group with at least one client.
type groupMembers struct {
	kind, model string
	from        json.RawMessage
	clients     map[string]*member // by client id
	subs        map[string]subscription
}

type member struct {
	conn     *remoting.Conn
	language string
	version  int
	seen     time.Time
}

type subscription struct {
	Topic          string `json:"topic"`
	SubString      string `json:"subString"`
	SubVersion     int64  `json:"subVersion"`
	ExpressionType string `json:"expressionType"`
}

type heartbeatData struct {
	ClientID  string `json:"clientID"`
	Producers []struct {
		Group string `json:"groupName"`
	} `json:"producerDataSet"`
	Consumers []struct {
		Group string          `json:"groupName"`
		Kind  string          `json:"consumeType"`
		Model string          `json:"messageModel"`
		From  json.RawMessage `json:"consumeFromWhere"`
		Subs  []subscription  `json:"subscriptionDataSet"`
	} `json:"consumerDataSet"`
}

// heartbeat serves HEART_BEAT.
func (b *broker) heartbeat(r *request) *remoting.Command {
	var h heartbeatData
	if err := json.Unmarshal(r.cmd.Body, &h); err != nil {
		return r.fail(remoting.RespSystemError, "heartbeat does not decode: %v", err)
	}
	for _, p := range h.Producers {
		if b.producers[p.Group] == nil {
			b.producers[p.Group] = map[string]*remoting.Conn{}
		}
		b.producers[p.Group][h.ClientID] = r.conn
	}
	for _, c := range h.Consumers {
		g := b.findGroup(c.Group)
		b.backTopic(retryPrefix+c.Group, g.RetryQueues)
		m := b.members[c.Group]
		if m == nil {
			m = &groupMembers{clients: map[string]*member{}, subs: map[string]subscription{}}
			b.members[c.Group] = m
		}
		m.kind, m.model, m.from = c.Kind, c.Model, c.From
		old := m.clients[h.ClientID]
		changed := old == nil || old.conn != r.conn
		m.clients[h.ClientID] = &member{r.conn, r.cmd.Language, r.cmd.Version, b.c.opts.Clock.Now()}
		if m.subscribe(c.Subs) || changed {
			b.notify(c.Group)
		}
	}
	return r.ok(nil)
}

// subscribe takes over what the newest heartbeat says and tells whether topics came or went.
func (m *groupMembers) subscribe(subs []subscription) (changed bool) {
	now := map[string]bool{}
	for _, s := range subs {
		now[s.Topic] = true
		old, ok := m.subs[s.Topic]
		changed = changed || !ok
		if !ok || s.SubVersion > old.SubVersion {
			m.subs[s.Topic] = s
		}
	}
	for topic := range m.subs {
		if !now[topic] {
			delete(m.subs, topic)
			changed = true
		}
	}
	return changed
}

// flagOneway marks a request that wants no answer.
const flagOneway = 2

// notify tells the members of a group that the membership or the subscription changed.
func (b *broker) notify(group string) {
	m := b.members[group]
	if m == nil || !b.findGroup(group).NotifyIDsChanged {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(m.clients)) {
		cmd := remoting.NewRequest(remoting.ReqNotifyConsumerIDsChanged, map[string]string{"consumerGroup": group}, nil)
		cmd.Flag |= flagOneway
		b.c.post(m.clients[id].conn, cmd)
	}
}

// leave removes clients of a group and tells the others.
func (b *broker) leave(group string, gone func(id string, m *member) bool) {
	m := b.members[group]
	if m == nil {
		return
	}
	n := len(m.clients)
	maps.DeleteFunc(m.clients, gone)
	if len(m.clients) == n {
		return
	}
	if len(m.clients) == 0 {
		delete(b.members, group)
		return
	}
	b.notify(group)
}

// unregister serves UNREGISTER_CLIENT.
func (b *broker) unregister(r *request) *remoting.Command {
	if bad := r.need("clientID"); bad != nil {
		return bad
	}
	id := r.str("clientID")
	if g := r.str("producerGroup"); g != "" {
		delete(b.producers[g], id)
	}
	if g := r.str("consumerGroup"); g != "" {
		b.leave(g, func(x string, _ *member) bool { return x == id })
	}
	return r.ok(nil)
}

// leaveConn removes the clients of a connection that ended.
func (b *broker) leaveConn(conn *remoting.Conn) {
	b.leaveWaiters(conn)
	for _, p := range b.producers {
		maps.DeleteFunc(p, func(_ string, c *remoting.Conn) bool { return c == conn })
	}
	for _, g := range slices.Sorted(maps.Keys(b.members)) {
		b.leave(g, func(_ string, m *member) bool { return m.conn == conn })
	}
}

// expireClients removes consumers that sent no heartbeat for too long, and closes their connections.
func (b *broker) expireClients() {
	now := b.c.opts.Clock.Now()
	for _, g := range slices.Sorted(maps.Keys(b.members)) {
		b.leave(g, func(_ string, m *member) bool {
			late := now.Sub(m.seen) > b.c.opts.ClientExpiry
			if late {
				b.c.out = append(b.c.out, m.conn.Close)
			}
			return late
		})
	}
}

// consumerList serves GET_CONSUMER_LIST_BY_GROUP.
func (b *broker) consumerList(r *request) *remoting.Command {
	if bad := r.need("consumerGroup"); bad != nil {
		return bad
	}
	m := b.members[r.str("consumerGroup")]
	if m == nil {
		return r.fail(remoting.RespSystemError, "no consumer for this group, %s", r.str("consumerGroup"))
	}
	body, _ := json.Marshal(map[string]any{"consumerIdList": slices.Sorted(maps.Keys(m.clients))})
	return r.body(body)
}

// consumerConnections serves GET_CONSUMER_CONNECTION_LIST.
func (b *broker) consumerConnections(r *request) *remoting.Command {
	if bad := r.need("consumerGroup"); bad != nil {
		return bad
	}
	group := r.str("consumerGroup")
	m := b.members[group]
	if m == nil {
		return r.fail(remoting.RespConsumerNotOnline, "the consumer group[%s] not online", group)
	}
	conns := []map[string]any{}
	for _, id := range slices.Sorted(maps.Keys(m.clients)) {
		c := m.clients[id]
		conns = append(conns, map[string]any{"clientId": id, "clientAddr": c.conn.RemoteAddr().String(), "language": c.language, "version": c.version})
	}
	body, _ := json.Marshal(map[string]any{"connectionSet": conns, "consumeFromWhere": m.from, "consumeType": m.kind,
		"messageModel": m.model, "subscriptionTable": m.subs})
	return r.body(body)
}

// peer is the client's address as messages carry it.
func peer(conn *remoting.Conn) netip.AddrPort {
	if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		p := a.AddrPort()
		return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
	}
	p, _ := netip.ParseAddrPort(strings.TrimSpace(conn.RemoteAddr().String()))
	return p
}
