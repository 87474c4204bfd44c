package replicate

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
)

// delayedAt counts what waits for its time at a broker: behind the broker's own position in the queue of each delay level, and in its timer.
func delayedAt(ctx context.Context, c *remoting.Cluster, broker, addr string) (int64, error) {
	info, err := c.RuntimeInfo(ctx, addr)
	if err != nil {
		return msha.Unknown, err
	}
	n, err := timerMessages(info, broker)
	if err != nil {
		return msha.Unknown, err
	}
	levels := defaultDelayLevels
	if config, err := c.BrokerConfig(ctx, addr); err == nil && config["messageDelayLevel"] != "" {
		levels = config["messageDelayLevel"]
	}
	for i, name := range strings.Fields(levels) {
		delay, err := parseDelay(name)
		if err != nil {
			return msha.Unknown, msha.Errorf("replicate.pending", broker, "", "%w: messageDelayLevel %q", msha.ErrInvalid, levels)
		}
		waiting, err := delayedIn(ctx, c, remoting.Queue{Topic: scheduleTopic, Broker: broker, ID: i}, delay, info)
		if err != nil {
			return msha.Unknown, err
		}
		n += waiting
	}
	return n, nil
}

const defaultDelayLevels = "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h"

// parseDelay reads the delay of a level as brokers write it; they know days too.
func parseDelay(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.Atoi(days)
		return time.Duration(n) * 24 * time.Hour, err
	}
	return time.ParseDuration(s)
}

// timerMessages is what the timer of RocketMQ 5 holds: messages in its wheel, and those on their way into it. RocketMQ 4 has none.
func timerMessages(info map[string]string, broker string) (sum int64, err error) {
	if info["timerCongestNum"] == "" && strings.HasPrefix(info["brokerVersionDesc"], "V4") {
		return 0, nil
	}
	for _, name := range []string{"timerCongestNum", "timerOffsetBehind"} {
		n, err := strconv.ParseInt(info[name], 10, 64)
		if err != nil {
			return 0, msha.Errorf("replicate.pending", broker, "its version may not tell", "%s of the broker's timer %w", name, msha.ErrNotFound)
		}
		sum += max(n, 0)
	}
	return sum, nil
}

// delayedIn counts what waits in the queue of a delay level. The position that a broker tells is of the message it delivered last, or,
// in RocketMQ 5 while one waits, of that: the message's due time, by the broker's clock, tells which. Without a position nothing
// was ever delivered.
func delayedIn(ctx context.Context, c *remoting.Cluster, q remoting.Queue, delay time.Duration, info map[string]string) (int64, error) {
	told := info[fmt.Sprintf("scheduleMessageOffset_%d", q.ID+1)]
	if told == "" {
		return held(ctx, c, q)
	}
	position, end, _ := strings.Cut(told, ",")
	at, err := strconv.ParseInt(position, 10, 64)
	if err != nil {
		return 0, msha.Errorf("replicate.pending", q.String(), "", "%w: position %q", msha.ErrInvalid, told)
	}
	high, err := strconv.ParseInt(end, 10, 64)
	if err != nil {
		return 0, msha.Errorf("replicate.pending", q.String(), "", "%w: position %q", msha.ErrInvalid, told)
	}
	if at >= high {
		return 0, nil
	}
	now, ok := brokerTime(info)
	m, err := messageAt(ctx, c, q, at)
	if err != nil && !errors.Is(err, msha.ErrNotFound) {
		return 0, err
	}
	if ok && err == nil && m.StoreTimestamp+delay.Milliseconds() <= now {
		at++ // it was delivered
	}
	return high - at, nil
}

// held is how many messages a queue holds.
func held(ctx context.Context, c *remoting.Cluster, q remoting.Queue) (int64, error) {
	high, err := c.MaxOffset(ctx, q)
	if err != nil || high == 0 {
		return 0, err
	}
	low, err := c.MinOffset(ctx, q)
	return high - low, err
}
