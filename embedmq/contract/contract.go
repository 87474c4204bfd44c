// Package contract holds scripted scenarios that a RocketMQ cluster must play the same way whether it is the embedded one or a real
// server. They speak the protocol through internal/remoting and through an unmodified rocketmq-client-go.
package contract

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
)

// Versions a Target may have.
const (
	Embedded = "embedded"
	V5       = "5.4.0"
	V4       = "4.9.7"
)

// DelayLevels is what the cluster under test must be started with: the scenarios wait for retries.
var DelayLevels = []time.Duration{time.Second, time.Second, time.Second, 2 * time.Second}

// Target is a cluster under test: at least one broker, Broker being the one that scenarios talk to directly. Protocol and ClientGo want
// SQL filters switched on at it, Access switched off.
type Target struct {
	NameServer string
	Broker     string
	Addr       func() string
	Version    string
	LockTime   time.Duration // how long queue locks last
	// ClientResets: offsets are reset through the group's consumers, as RocketMQ 4 always does.
	ClientResets bool
	Kill         func() error // the broker; stored data stays
	Restart      func() error

	Credentials msha.Credentials // of an administrator, where there is access control
	TLS         *tls.Config
}

// Scenario is a script with its assertions.
type Scenario struct {
	name  string
	run   func(*env)
	alone bool // disturbs others
}

// Protocol lists the scenarios that speak the protocol themselves; together they send every request of the embedded cluster.
func Protocol() []Scenario {
	return []Scenario{
		{name: "routes", run: routes},
		{name: "topics", run: topics},
		{name: "send", run: send},
		{name: "send errors", run: sendErrors},
		{name: "empty bodies", run: emptyBodies},
		{name: "batch", run: batch},
		{name: "queue positions", run: positions},
		{name: "pull", run: pull},
		{name: "pull errors", run: pullErrors},
		{name: "long polling", run: longPolling},
		{name: "SQL expressions", run: sqlExpressions},
		{name: "SQL subscriptions", run: sqlSubscriptions},
		{name: "offsets", run: offsets},
		{name: "offset reset", run: offsetReset},
		{name: "maximum after a send", run: maxAfterSend},
		{name: "group", run: group},
		{name: "departures", run: departures},
		{name: "subscription", run: subscriptions},
		{name: "locks", run: locks},
		{name: "lock expiry", run: lockExpiry},
		{name: "send back", run: sendBack},
		{name: "dead letters", run: deadLetters},
		{name: "retry by a stranger", run: strangersRetry},
		{name: "delay", run: delay},
		{name: "transaction", run: transaction},
		{name: "statistics", run: statistics},
		{name: "ends of transactions", run: endsOfTransactions},
		{name: "kill and restart", run: restart, alone: true},
	}
}

// Resets is the scenario that depends on Target.ClientResets.
func Resets() Scenario { return Scenario{name: "offset reset", run: offsetReset} }

// Run plays scenarios, those that allow it at the same time: they wait more than they compute. They use names of their own.
func Run(t *testing.T, target Target, scenarios ...Scenario) {
	t.Run("together", func(t *testing.T) {
		for _, s := range scenarios {
			if !s.alone {
				t.Run(s.name, func(t *testing.T) {
					t.Parallel()
					s.run(newEnv(t, target))
				})
			}
		}
	})
	for _, s := range scenarios {
		if s.alone {
			t.Run(s.name, func(t *testing.T) { s.run(newEnv(t, target)) })
		}
	}
}

var silent = slog.New(slog.DiscardHandler)

// env is what a scenario works with.
type env struct {
	*testing.T
	Target
	ctx    context.Context
	client *remoting.Client
	cl     *remoting.Cluster
	asked  chan *remoting.Command // requests of the broker to client
}

func newEnv(t *testing.T, target Target) *env {
	e := &env{T: t, Target: target, asked: make(chan *remoting.Command, 100)}
	var cancel context.CancelFunc
	e.ctx, cancel = context.WithTimeout(t.Context(), 4*time.Minute)
	t.Cleanup(cancel)
	e.client = e.newClient(e.asked)
	e.cl = remoting.NewCluster([]string{target.NameServer}, e.client)
	return e
}

// newClient is one more client process in the eyes of the broker; it is closed with the test.
func (e *env) newClient(asked chan *remoting.Command) *remoting.Client {
	c := remoting.NewClient(&remoting.Options{Logger: silent, Credentials: e.Credentials, TLS: e.TLS, OnRequest: func(_ string, cmd *remoting.Command) *remoting.Command {
		if asked != nil {
			select {
			case asked <- cmd:
			default:
			}
		}
		return nil
	}})
	e.Cleanup(c.Close)
	return c
}

func (e *env) v4() bool { return e.Version == V4 }

// clientResets tells whether consumers are told of an offset reset, instead of the broker.
func (e *env) clientResets() bool { return e.v4() || e.ClientResets }

// name makes a topic or group name nobody else uses.
func (e *env) name(prefix string) string {
	return fmt.Sprintf("%s_%08x", prefix, rand.Uint32())
}

// topic creates a topic on the broker and returns its queues.
func (e *env) topic(queues int) (string, []remoting.Queue) {
	e.Helper()
	topic := e.name("topic")
	e.must(e.cl.CreateTopic(e.ctx, e.Addr(), remoting.TopicConfig{Name: topic, Read: queues, Write: queues}))
	return topic, e.queues(topic, queues)
}

// queues waits until the name server knows as many queues.
func (e *env) queues(topic string, n int) (qs []remoting.Queue) {
	e.Helper()
	e.eventually("the route of "+topic, func() bool {
		qs, _ = e.cl.Queues(e.ctx, topic, true)
		return len(qs) == n
	})
	return qs
}

func (e *env) must(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

// eventually polls: what is waited for happens in another process and announces itself to nobody.
func (e *env) eventually(what string, ok func() bool) {
	e.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !ok(); {
		if time.Now().After(deadline) {
			e.Fatalf("%s: not within 3 min", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// ext builds a header.
func ext(kv ...any) map[string]string {
	m := map[string]string{}
	for i := 0; i < len(kv); i += 2 {
		m[kv[i].(string)] = fmt.Sprint(kv[i+1])
	}
	return m
}

// call sends a raw request to the broker.
func (e *env) call(code int, ext map[string]string, body []byte) *remoting.Command {
	e.Helper()
	return e.callAs(e.client, code, ext, body)
}

func (e *env) callAs(c *remoting.Client, code int, ext map[string]string, body []byte) *remoting.Command {
	e.Helper()
	resp, err := c.Call(e.ctx, e.Addr(), remoting.NewRequest(code, ext, body))
	e.must(err)
	return resp
}

// want fails unless the answer has the code.
func (e *env) want(what string, resp *remoting.Command, code int) {
	e.Helper()
	if resp.Code != code {
		e.Fatalf("%s: code %d (%s), want %d", what, resp.Code, resp.Remark, code)
	}
}

func (e *env) number(resp *remoting.Command, key string) int64 {
	e.Helper()
	e.want("answer with "+key, resp, remoting.RespSuccess)
	n, ok := resp.Int64(key)
	if !ok {
		e.Fatalf("no number %q in %v", key, resp.Ext)
	}
	return n
}

func equal[T comparable](e *env, what string, got, want T) {
	e.Helper()
	if got != want {
		e.Fatalf("%s: %v, want %v", what, got, want)
	}
}

// properties checks all properties of a message that was sent singly: the given ones and what the server adds.
func (e *env) properties(what string, m *remoting.Message, kv ...any) {
	e.Helper()
	want := ext(kv...)
	want["CLUSTER"] = "DefaultCluster"
	if !e.v4() {
		want["MSG_REGION"], want["TRACE_ON"] = "DefaultRegion", "true"
		if want["UNIQ_KEY"] == "" {
			want["UNIQ_KEY"] = m.Properties["UNIQ_KEY"]
			equal(e, what+": unique key made by the server", m.Properties["UNIQ_KEY"] != "", true)
		}
	}
	equal(e, what, fmt.Sprint(m.Properties), fmt.Sprint(want))
}

// put sends plain messages m0, m1, … and returns their offsets.
func (e *env) put(q remoting.Queue, n int, tag string) (offs []int64) {
	e.Helper()
	for i := range n {
		props := map[string]string{}
		if tag != "" {
			props["TAGS"] = tag
		}
		res, err := e.cl.Send(e.ctx, q, "producers", &remoting.Message{Topic: q.Topic, Body: []byte("m" + strconv.Itoa(i)), Properties: props})
		e.must(err)
		offs = append(offs, res.QueueOffset)
	}
	return offs
}

// all reads a queue from an offset until n messages are there. A real server dispatches to its queues a little later: an offset it
// has already acknowledged can still lie beyond the queue's end, which a pull reports as illegal.
func (e *env) all(q remoting.Queue, from int64, n int) (ms []*remoting.Message) {
	e.Helper()
	for len(ms) < n {
		res, err := e.cl.Pull(e.ctx, remoting.PullRequest{Queue: q, Group: "readers", Offset: from, Suspend: 5 * time.Second})
		e.must(err)
		if res.Status == remoting.PullOffsetIllegal && from > res.MaxOffset {
			time.Sleep(5 * time.Millisecond) // acknowledged, not dispatched
			continue
		}
		ms, from = append(ms, res.Messages...), res.NextOffset
	}
	equal(e, "messages in "+q.String(), len(ms), n)
	return ms
}
