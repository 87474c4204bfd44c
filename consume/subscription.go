package consume

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
)

// subscription is a home topic's, and with it its replica topics'.
type subscription struct {
	topic    string // home topic
	selector consumer.MessageSelector
	handler  Handler
	version  int64
}

// checkSelector refuses what no broker filters by.
func checkSelector(topic string, s consumer.MessageSelector) error {
	switch {
	case s.Type != "" && s.Type != consumer.TAG && s.Type != consumer.SQL92: // a broker would send everything
		return msha.Errorf("consume.subscribe", topic, "use consumer.TAG or consumer.SQL92", "%w: selector type %q", msha.ErrUnsupported, s.Type)
	case s.Type == consumer.SQL92 && strings.TrimSpace(s.Expression) == "":
		return msha.Errorf("consume.subscribe", topic, "for all messages subscribe without a type", "%w: empty SQL92 expression", msha.ErrInvalid)
	}
	return nil
}

func (s *subscription) bySQL() bool { return s.selector.Type == consumer.SQL92 }

// expression is what brokers are told. One in SQL is in parentheses: brokers read an expression up to where it makes sense to them and
// ignore the rest, such as what a newer version would know (city CONTAINS 'b' is city for RocketMQ 4), and then filter by something
// else; inside parentheses they refuse it.
func (s *subscription) expression() string {
	x := s.selector.Expression
	switch {
	case !s.bySQL():
		return x
	case strings.Contains(x, "--"): // a comment ends with its line
		return "(" + x + "\n)"
	}
	return "(" + x + ")"
}

// data is the subscription of the home topic or one of its replica topics, as brokers are told of it.
func (s *subscription) data(topic string) remoting.SubscriptionData {
	d := remoting.SubscriptionData{Topic: topic, SubString: "*", ExpressionType: "TAG", Tags: []string{}, Codes: []int32{}, SubVersion: s.version}
	switch x := s.expression(); {
	case s.bySQL():
		d.SubString, d.ExpressionType = x, remoting.SQL92
	case x != "" && x != "*":
		d.SubString, d.Tags = x, splitTags(x)
		for _, tag := range d.Tags {
			d.Codes = append(d.Codes, remoting.TagHash(tag))
		}
	}
	return d
}

// filter lets a pull bring the subscription's filter, whatever the group's members have registered and whoever reads: brokers then
// evaluate just that, without what they may have noted about messages when they were stored.
func (s *subscription) filter(p remoting.PullRequest) remoting.PullRequest {
	p.SubExpression, p.SubVersion = s.expression(), s.version
	if s.bySQL() {
		p.ExpressionType = remoting.SQL92
	}
	return p
}

// wanted filters tags again: brokers filter by their hashes.
func (s *subscription) wanted(tag string) bool {
	x := s.selector.Expression
	return s.bySQL() || x == "" || x == "*" || slices.Contains(splitTags(x), tag)
}

func splitTags(expression string) []string {
	var out []string
	for part := range strings.SplitSeq(expression, "||") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

// checkTimeout bounds how long Subscribe waits for what brokers say about a filter.
const checkTimeout = 10 * time.Second

// checkSubscriptions returns what can be said at once against subscriptions: topics that are not supported, filters that a broker refuses.
// What cannot be found out now is found out before a queue is read.
func (e *Engine) checkSubscriptions(ctx context.Context, subs ...*subscription) error {
	for _, s := range subs {
		if _, err := e.cfg.Cluster.Queues(ctx, s.topic, false); errors.Is(err, msha.ErrUnsupported) {
			return err
		}
	}
	return e.checkFilters(ctx, subs)
}

// checkFilters asks every broker about the SQL filters of subscriptions and returns the refusals. A broker that does not answer is asked
// again before one of its queues is read.
func (e *Engine) checkFilters(ctx context.Context, subs []*subscription) error {
	subs = slices.DeleteFunc(subs, func(s *subscription) bool { return !s.bySQL() })
	if len(subs) == 0 {
		return nil
	}
	brokers, err := e.cfg.Cluster.Brokers(ctx)
	if err != nil {
		return nil //nolint:nilerr // as above
	}
	var mu sync.Mutex
	var refused error
	eachBroker(ctx, brokers, func(ctx context.Context, _, addr string) error { //nolint:errcheck // as above
		for _, s := range subs {
			if err := e.checkFilter(ctx, addr, s); errors.Is(err, remoting.ErrFilter) {
				mu.Lock()
				refused = errors.Join(refused, err)
				mu.Unlock()
			}
		}
		return nil
	})
	return refused
}

// checkFilter asks a broker whether it filters by a subscription's expression. It must be asked: it would answer a pull with one it
// cannot read by everything there is.
func (e *Engine) checkFilter(ctx context.Context, addr string, s *subscription) error {
	err := e.cfg.Cluster.CheckSubscription(ctx, addr, e.cfg.ClientID, e.set.group, s.data(s.topic))
	if errors.Is(err, remoting.ErrFilter) {
		return msha.Errorf("consume.subscribe", s.topic, "", "SQL92 filter %q of group %s: %w", s.selector.Expression, e.set.group, err)
	}
	return err
}

// filtered makes sure that the broker of a queue filters by its subscription.
func (e *Engine) filtered(h *held) error {
	if h.sub == nil || !h.sub.bySQL() {
		return nil
	}
	addr, err := e.cfg.Cluster.MasterAddr(h.ctx, "", h.queue.Broker)
	if err == nil {
		err = e.checkFilter(h.ctx, addr, h.sub)
	}
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if h.unfiltered {
		h.unfiltered = false
		e.cfg.Logger.Info("broker filters as subscribed now", "queue", h.queue.String())
	}
	return nil
}

// interrupted reports what keeps a queue from being read. That its broker refuses the filter is said and counted once, until it does not:
// it does not pass by itself.
func (e *Engine) interrupted(h *held, what string, err error) {
	if !errors.Is(err, remoting.ErrFilter) {
		e.cfg.Logger.Warn(what+", trying again", "queue", h.queue.String(), "error", err)
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !h.unfiltered {
		h.unfiltered = true
		e.stats.Unfiltered++
		e.cfg.Logger.Error("queue is not read: its broker does not filter as subscribed", "queue", h.queue.String(), "error", err)
	}
}
