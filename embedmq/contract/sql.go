package contract

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-msha/msha/internal/remoting"
)

// bySQL is a heartbeat that subscribes a topic with an expression.
func bySQL(client, g, topic, expression string, version int64) *remoting.HeartbeatData {
	h := consumerOf(client, g, topic, "*", version)
	h.Consumers[0].Subscriptions[0].SubString, h.Consumers[0].Subscriptions[0].ExpressionType = expression, remoting.SQL92
	return h
}

// checked is what the broker says about an expression.
func (e *env) checked(topic, expression string) error {
	return e.cl.CheckSubscription(e.ctx, e.Addr(), "client", e.name("group"),
		remoting.SubscriptionData{Topic: topic, SubString: expression, ExpressionType: remoting.SQL92, Tags: []string{}, Codes: []int32{}})
}

// filtered lists the numbers of the messages that a pull with an expression gets out of a queue of n.
func (e *env) filtered(q remoting.Queue, n int64, expression string) string {
	e.Helper()
	var got []string
	for at := int64(0); at < n; {
		res := e.pull(remoting.PullRequest{Queue: q, Offset: at, SubExpression: expression, ExpressionType: remoting.SQL92})
		if res.NextOffset <= at {
			e.Fatalf("pull by %s at %d goes on at %d", expression, at, res.NextOffset)
		}
		for _, m := range res.Messages {
			got = append(got, strconv.FormatInt(m.QueueOffset, 10))
		}
		at = res.NextOffset
	}
	return strings.Join(got, " ")
}

// sqlExpressions: which messages match, and what is no expression.
func sqlExpressions(e *env) {
	topic, qs := e.topic(1)
	for i, props := range []map[string]string{
		0: {},
		1: {"n": "5", "s": "it's"},
		2: {"n": "5.5", "s": "x"},
		3: {"n": "3000000000", "m": "7", "s": "xyz"},
		4: {"n": "many", "TAGS": "red"},
		5: {"n": "-7", "b": "TRUE", "KEYS": "key"},
	} {
		_, err := e.cl.Send(e.ctx, qs[0], "producers", &remoting.Message{Body: []byte("m" + strconv.Itoa(i)), Properties: props})
		e.must(err)
	}
	e.all(qs[0], 0, 6)
	for expression, want := range map[string]string{
		"TRUE":                         "0 1 2 3 4 5",
		"NULL":                         "",
		"n = 5":                        "1",
		"n = '5'":                      "1",
		"n <> 5":                       "5", // what is no whole number of 32 bits ends the evaluation
		"n > 4":                        "1",
		"n > 4.5":                      "1 2 3",
		"n >= 3000000000":              "3", // and here of 64 bits
		"n < -6.5":                     "5",
		"n <= + 5":                     "1 5",
		"n BETWEEN -7 AND 5":           "1 5",
		"n NOT BETWEEN -7.5 AND 5.0":   "2 3",
		"n > m":                        "3",
		"n = m":                        "0", // both missing: as good as equal
		"n <> m":                       "1 2 3 4 5",
		"s IN ('x', 'it''s')":          "1 2",
		"s NOT IN ('x')":               "1 3", // not those without it
		"n IS NULL":                    "0",
		"s IS NOT NULL and n <> '5'":   "2 3",
		"NOT (s = 'x')":                "1 3",
		"NOT s = 'x'":                  "",
		"s":                            "",
		"NOT s":                        "1 2 3",
		"b = TRUE":                     "5",
		"TRUE = b":                     "",
		"TAGS = 'red' OR KEYS = 'key'": "4 5",
		"n > 4 OR TRUE":                "0 1 5", // an unknown side loses, one that cannot be evaluated ends it
		"TRUE OR n > 4":                "0 1 2 3 4 5",
		"s = 'x' LIKE 'y'":             "2", // the rest is not read
		"s = 'x')":                     "2",
		"s = 'x' /* c */ -- c\n":       "2",
	} {
		equal(e, expression, e.filtered(qs[0], 6, expression), want)
		e.must(e.checked(topic, expression))
	}
	late := map[string]string{"s CONTAINS 'y'": "3", "s STARTSWITH 'x'": "2 3", "s ENDSWITH 's'": "1", "s NOT CONTAINS 'y'": "1 2", "NOT (s CONTAINS 'y')": "0 1 2 4 5"}
	for expression, want := range late {
		if e.v4() { // takes the property and leaves the rest; in parentheses it notices
			equal(e, expression, e.filtered(qs[0], 6, "s"), "")
			e.unreadable(topic, "("+expression+")")
			continue
		}
		equal(e, expression, e.filtered(qs[0], 6, expression), want)
		e.must(e.checked(topic, "("+expression+")"))
	}
	for _, bad := range []string{"n >", "5", "'x'", "n > 'x'", "n > 0.0", "n = NULL", "n BETWEEN 9 AND 1", "5 IN ('5')", "n IN (5)", "n NOT 5", "(n = 5", "n = 5 & s = 'x'", "(s LIKE 'x')",
		"n = 99999999999999999999", "n IS 5", "s = 'x", "n > 4 > 3"} {
		e.unreadable(topic, bad)
	}
}

func (e *env) unreadable(topic, expression string) {
	e.Helper()
	err := e.checked(topic, expression)
	var be *remoting.BrokerError
	if !errors.As(err, &be) || be.Code != remoting.RespSubscriptionParseFailed || !errors.Is(err, remoting.ErrFilter) {
		e.Fatalf("%s: %v", expression, err)
	}
}

// sqlSubscriptions: who says how a pull is filtered.
func sqlSubscriptions(e *env) {
	topic, qs := e.topic(1)
	g := e.newGroup()
	for i := range 4 {
		_, err := e.cl.Send(e.ctx, qs[0], "producers", &remoting.Message{Body: []byte("m"), Properties: map[string]string{"n": strconv.Itoa(i)}})
		e.must(err)
	}
	e.all(qs[0], 0, 4)
	offsets := func(p remoting.PullRequest) (got []int64) {
		e.Helper()
		p.Queue = qs[0]
		for _, m := range e.pull(p).Messages {
			got = append(got, m.QueueOffset)
		}
		return got
	}
	say := func(what string, got []int64, want ...int64) {
		e.Helper()
		equal(e, what, fmt.Sprint(got), fmt.Sprint(want))
	}
	e.must(e.cl.Heartbeat(e.ctx, e.Addr(), bySQL("one", g, topic, "n > 1", 10)))
	say("of the heartbeat", offsets(remoting.PullRequest{Group: g, FromHeartbeat: true, SubVersion: 10}), 2, 3)
	own := remoting.PullRequest{Group: g, SubExpression: "n < 1", ExpressionType: remoting.SQL92, SubVersion: 5}
	say("a pull's own, in a group with another and newer one", offsets(own), 0)
	own.Group = "readers"
	say("a pull's own, in a group that is not there", offsets(own), 0)
	own.SubExpression = "n >"
	say("a pull's own that is bad filters nothing", offsets(own), 0, 1, 2, 3)
	h := pullHeader(topic, 0, 0, 4)
	h["expressionType"], h["subscription"] = remoting.SQL92, ""
	e.want("an empty one", e.call(remoting.ReqPullMessage, h, nil), remoting.RespSubscriptionParseFailed)
	say("the group's has not changed", offsets(remoting.PullRequest{Group: g, FromHeartbeat: true}), 2, 3)
	e.must(e.cl.Heartbeat(e.ctx, e.Addr(), bySQL("one", g, topic, "n >", 11)))
	h = pullHeader(topic, 0, 0, 0)
	h["consumerGroup"] = g
	e.want("of a heartbeat with a bad one", e.call(remoting.ReqPullMessage, h, nil), remoting.RespFilterDataNotExist)
	e.must(e.cl.Heartbeat(e.ctx, e.Addr(), bySQL("one", g, topic, "n = 3", 12)))
	say("and a good one again", offsets(remoting.PullRequest{Group: g, FromHeartbeat: true, SubVersion: 12}), 3)
	held := make(chan *remoting.PullResult, 1)
	go func() {
		p := remoting.PullRequest{Queue: qs[0], Group: "readers", Offset: 4, SubExpression: "n > 5", ExpressionType: remoting.SQL92, Suspend: longSuspend}
		res, err := e.cl.Pull(e.ctx, p)
		for err == nil && len(res.Messages) == 0 { // a real server looks at held pulls from time to time
			p.Offset = res.NextOffset
			res, err = e.cl.Pull(e.ctx, p)
		}
		held <- res
	}()
	for _, n := range []string{"5", "6"} {
		_, err := e.cl.Send(e.ctx, qs[0], "producers", &remoting.Message{Body: []byte("m"), Properties: map[string]string{"n": n}})
		e.must(err)
	}
	res := <-held
	if res == nil || res.Messages[0].QueueOffset != 5 {
		e.Fatalf("held pull got %+v", res)
	}
}

// sqlSwitchedOff: a broker that has SQL filters switched off, as they are by default, says so to who asks and to who pulls, whatever
// the expression; a heartbeat is fine.
func sqlSwitchedOff(e *env) {
	topic, qs := e.topic(1)
	g := e.newGroup()
	e.put(qs[0], 1, "")
	e.all(qs[0], 0, 1)
	for _, expression := range []string{"n > 1", "n >"} {
		err := e.checked(topic, expression)
		if !errors.Is(err, remoting.ErrFilter) {
			e.Fatalf("%s: %v", expression, err)
		}
		_, err = e.cl.Pull(e.ctx, remoting.PullRequest{Queue: qs[0], Group: g, SubExpression: expression, ExpressionType: remoting.SQL92})
		var be *remoting.BrokerError
		if !errors.As(err, &be) || be.Code != remoting.RespSystemError || !errors.Is(err, remoting.ErrFilter) {
			e.Fatalf("pull by %s: %v", expression, err)
		}
	}
	e.must(e.cl.Heartbeat(e.ctx, e.Addr(), bySQL("one", g, topic, "n > 1", 10)))
	_, err := e.cl.Pull(e.ctx, remoting.PullRequest{Queue: qs[0], Group: g, FromHeartbeat: true, SubVersion: 10})
	if !errors.Is(err, remoting.ErrFilter) {
		e.Fatalf("pull by the heartbeat's: %v", err)
	}
}
