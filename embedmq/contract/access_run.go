package contract

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
)

// as is the cluster in the eyes of a process with an account.
func (e *env) as(c msha.Credentials) *remoting.Cluster {
	e.Helper()
	client := remoting.NewClient(&remoting.Options{Logger: silent, Credentials: c, TLS: e.TLS})
	e.Cleanup(client.Close)
	return remoting.NewCluster([]string{e.NameServer}, client)
}

// plain is as without TLS, which real servers allow unless told otherwise.
func (e *env) plain(c msha.Credentials) *remoting.Cluster {
	e.Helper()
	client := remoting.NewClient(&remoting.Options{Logger: silent, Credentials: c})
	e.Cleanup(client.Close)
	return remoting.NewCluster([]string{e.NameServer}, client)
}

func (e *env) account(name string) *remoting.Cluster {
	e.Helper()
	return e.as(credentials(name))
}

func credentials(name string) msha.Credentials {
	for _, a := range Accounts() {
		if a.AccessKey == "contract-"+name {
			return a.Credentials
		}
	}
	return msha.Credentials{}
}

// granted creates, as the administrator, what the accounts have rights on.
func (e *env) granted() (home, copies remoting.Queue) {
	e.Helper()
	for _, topic := range []string{orders, replica} {
		e.must(e.cl.CreateTopic(e.ctx, e.Addr(), remoting.TopicConfig{Name: topic, Read: 1, Write: 1}))
		e.queues(topic, 1)
	}
	e.must(e.cl.CreateGroup(e.ctx, e.Addr(), remoting.GroupConfig{Name: channel}))
	return remoting.Queue{Topic: orders, Broker: e.Broker}, remoting.Queue{Topic: replica, Broker: e.Broker}
}

// refused wants access control to have refused, in words that help and without secrets.
func (e *env) refused(what string, err error, words ...string) {
	e.Helper()
	if !errors.Is(err, msha.ErrDenied) {
		e.Fatalf("%s: %v, want a refusal", what, err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			e.Fatalf("%s: %q does not say %q", what, err, w)
		}
	}
	if strings.Contains(err.Error(), "hidden") {
		e.Fatalf("%s: a secret in %q", what, err)
	}
}

func refusedAccounts(e *env) {
	q, _ := e.granted()
	good := credentials("reader")
	for _, c := range []struct {
		what  string
		as    msha.Credentials
		words string
	}{
		{"wrong secret", msha.Credentials{AccessKey: good.AccessKey, SecretKey: "hidden too"}, "the secret key of account contract-reader is not the one the broker knows"},
		{"unknown account", msha.Credentials{AccessKey: "contract-stranger", SecretKey: "hidden"}, "the broker does not know account contract-stranger"},
		{"no account", msha.Credentials{}, "this client has none"},
	} {
		cl := e.as(c.as)
		_, err := cl.Pull(e.ctx, remoting.PullRequest{Queue: q, Group: copier})
		e.refused(c.what+": pull", err, c.words)
		_, err = cl.Send(e.ctx, q, copier, msg("x"))
		e.refused(c.what+": send", err, c.words)
		_, err = cl.SendBatch(e.ctx, q, copier, []*remoting.Message{msg("x")})
		e.refused(c.what+": send a batch", err, c.words)
		_, err = cl.ConsumerIDs(e.ctx, e.Addr(), channel)
		e.refused(c.what+": an empty list of members is no answer", err, c.words)
		_, err = cl.ConsumerConnections(e.ctx, e.Addr(), channel)
		e.refused(c.what+": connections", err, c.words)
		_, err = cl.TopicConfigs(e.ctx, e.Addr())
		e.refused(c.what+": topic configurations", err, c.words)
		_, err = cl.CommittedOffset(e.ctx, channel, q)
		e.refused(c.what+": committed offset", err, c.words)
		_, err = cl.MaxOffset(e.ctx, q)
		e.refused(c.what+": maximum", err, c.words)
		_, err = cl.Brokers(e.ctx)
		e.must(err) // name servers check nobody
	}
	good.SecurityToken = "token" // signed too, and ignored by who does not know tokens
	_, err := e.as(good).Pull(e.ctx, remoting.PullRequest{Queue: q, Group: copier})
	e.must(err)
}

func missingRights(e *env) {
	q, copies := e.granted()
	nobody, reader, writer := e.account("nobody"), e.account("reader"), e.account("writer")
	_, err := nobody.Send(e.ctx, q, "g", msg("x"))
	e.refused("send", err, "account contract-nobody needs PUB on topic "+orders)
	_, err = reader.Send(e.ctx, q, "g", msg("x"))
	e.refused("send with SUB", err, "needs PUB on topic "+orders)
	_, err = writer.Pull(e.ctx, remoting.PullRequest{Queue: q, Group: copier})
	e.refused("pull", err, "needs SUB on topic "+orders+" and on group "+copier)
	_, err = reader.Pull(e.ctx, remoting.PullRequest{Queue: q, Group: channel})
	e.refused("pull in the name of another group", err, "group "+channel)
	e.refused("commit", reader.Commit(e.ctx, channel, q, 1), "group "+channel)
	_, err = reader.ConsumerIDs(e.ctx, e.Addr(), channel)
	e.refused("members", err, "needs SUB on group "+channel)
	e.refused("heartbeat", reader.Heartbeat(e.ctx, e.Addr(), &remoting.HeartbeatData{ClientID: "c", Consumers: []remoting.ConsumerData{{GroupName: channel,
		Type: "CONSUME_PASSIVELY", Model: "CLUSTERING", From: "CONSUME_FROM_FIRST_OFFSET", Subscriptions: []remoting.SubscriptionData{}}}}), "needs SUB")
	e.refused("create a topic", reader.CreateTopic(e.ctx, e.Addr(), remoting.TopicConfig{Name: "acl_new", Read: 1, Write: 1}), "topic acl_new", "admin")
	e.refused("delete a topic", writer.DeleteTopic(e.ctx, e.Addr(), replica), "topic "+replica, "admin")
	operator := e.account("operator")
	for _, any := range []remoting.Queue{q, copies} {
		_, err = operator.Pull(e.ctx, remoting.PullRequest{Queue: any, Group: "acl_any"})
		e.must(err)
		_, err = operator.MaxOffset(e.ctx, any)
		e.must(err)
		_, err = operator.Send(e.ctx, any, "g", msg("x"))
		e.refused("send", err, "needs PUB")
	}
	if !e.v4() { // RocketMQ 4 checks the signature of these and no right
		_, err = reader.SendBatch(e.ctx, copies, copier, []*remoting.Message{msg("x")})
		e.refused("send a batch", err, "needs PUB on topic "+replica)
		_, err = nobody.MaxOffset(e.ctx, q)
		e.refused("maximum", err, "needs GET on topic "+orders)
		_, err = nobody.ConsumerConnections(e.ctx, e.Addr(), channel)
		e.refused("connections", err, "needs GET on group "+channel)
		_, err = nobody.Lock(e.ctx, e.Addr(), channel, "c", []remoting.Queue{q})
		e.refused("lock", err, "needs SUB")
	}
	_, err = e.account("producer").Send(e.ctx, remoting.Queue{Topic: neverCreated, Broker: e.Broker}, "g", msg("x"))
	if !errors.Is(err, msha.ErrNotFound) {
		e.Fatalf("send to a topic that nobody created: %v", err)
	}
}

// replicatorRights plays what a replicator asks of both clusters with no more rights than it needs.
func replicatorRights(e *env) {
	from, to := e.granted()
	reader, writer := e.account("reader"), e.account("writer")
	_, err := e.account("producer").Send(e.ctx, from, "g", msg("original"))
	e.must(err)

	for _, cl := range []*remoting.Cluster{reader, writer} {
		_, err := cl.TopicList(e.ctx)
		e.must(err)
		_, err = cl.Brokers(e.ctx)
		e.must(err)
		_, err = cl.ClusterNames(e.ctx)
		e.must(err)
	}
	_, err = reader.Queues(e.ctx, orders, false)
	e.must(err)
	for _, ask := range []func(context.Context, remoting.Queue) (int64, error){reader.MinOffset, reader.MaxOffset} {
		_, err = ask(e.ctx, from)
		e.must(err)
	}
	_, err = reader.OffsetByTime(e.ctx, from, time.Now())
	e.must(err)
	res, err := reader.Pull(e.ctx, remoting.PullRequest{Queue: from, Group: copier, Suspend: 20 * time.Second})
	e.must(err)
	equal(e, "messages to copy", len(res.Messages) > 0, true)

	have, err := writer.TopicConfig(e.ctx, e.Addr(), replica)
	e.must(err)
	equal(e, "queues of the replica", have.Read, 1)
	groups, err := writer.Groups(e.ctx, e.Addr())
	e.must(err)
	equal(e, "knows the group", strings.Contains(fmt.Sprint(groups), channel), true)
	if _, err = writer.CommittedOffset(e.ctx, channel, to); err != nil && !errors.Is(err, msha.ErrNotFound) {
		e.Fatal(err)
	}
	e.must(writer.Commit(e.ctx, channel, to, 0))
	pinned := writer.Pin()
	_, err = pinned.Dropped(e.ctx, e.Broker)
	e.must(err)
	sent, err := pinned.SendBatch(e.ctx, to, copier, []*remoting.Message{msg("one"), msg("two")})
	e.must(err)
	_, err = pinned.Send(e.ctx, to, copier, msg("three"))
	e.must(err)
	e.eventually("the maximum", func() bool {
		n, err := writer.MaxOffset(e.ctx, to)
		e.must(err)
		return n >= sent.QueueOffset+3
	})
	_, err = writer.MinOffset(e.ctx, to)
	e.must(err)
	res, err = pinned.Pull(e.ctx, remoting.PullRequest{Queue: to, Group: copier, Offset: sent.QueueOffset + 2})
	e.must(err)
	equal(e, "tail", string(res.Messages[0].Body), "three")
	_, err = writer.ConsumerConnections(e.ctx, e.Addr(), channel)
	e.must(err)
	_, err = writer.ConsumerIDs(e.ctx, e.Addr(), channel)
	e.must(err)
	if e.v4() {
		writer = e.plain(credentials("writer")) // it never answers this one over TLS
	}
	_, err = writer.ViewMessage(e.ctx, e.Addr(), res.Messages[0].CommitLogOffset)
	e.must(err)
}

func goCredentials(e *env) {
	e.granted()
	account := func(name string) primitive.Credentials {
		c := credentials(name)
		return primitive.Credentials{AccessKey: c.AccessKey, SecretKey: c.SecretKey}
	}
	newProducer := func(c primitive.Credentials) rocketmq.Producer {
		p, err := rocketmq.NewProducer(producer.WithNameServer([]string{e.NameServer}), producer.WithInstanceName(e.name("p")),
			producer.WithGroupName(e.name("pg")), producer.WithRetry(0), producer.WithCredentials(c))
		e.must(err)
		e.must(p.Start())
		e.Cleanup(func() { _ = p.Shutdown() })
		return p
	}
	p := newProducer(account("producer"))
	body := e.name("body")
	_, err := p.SendSync(e.ctx, primitive.NewMessage(orders, []byte(body)))
	e.must(err)
	for _, name := range []string{"consumer", "nobody"} {
		if _, err := newProducer(account(name)).SendSync(e.ctx, primitive.NewMessage(orders, []byte("x"))); err == nil {
			e.Fatalf("client-go sent as %s", name)
		}
	}
	times, done := newJournal(), newJournal()
	c := e.consumer(channel, consumer.WithCredentials(account("consumer")))
	e.must(c.Subscribe(orders, consumer.MessageSelector{}, func(_ context.Context, ms ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, m := range ms {
			if string(m.Body) != body {
				continue
			}
			if times.add(body) == 1 {
				return consumer.ConsumeRetryLater, nil // sending back needs a right too
			}
			done.add(body)
		}
		return consumer.ConsumeSuccess, nil
	}))
	e.must(c.Start())
	done.wait(e, "consumed after a retry", 1)
	e.must(c.Shutdown())
}
