//go:build unix

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/metastore/memory"
	"github.com/go-msha/msha/replicate"
)

// latency sends single messages into an idle origin and waits in long polls at both ends: until it arrives at a consumer of the origin,
// and until its copy arrives at one of the target.
func latency(ctx context.Context, report io.Writer, n int) error {
	b, err := start(ctx, 0)
	if err != nil {
		return err
	}
	defer b.stop()
	if err := createTopic(ctx, b.from, topic, 1); err != nil {
		return err
	}
	store := memory.New()
	defer store.Close() //nolint:errcheck // in memory
	value, err := json.Marshal(msha.Units{Units: []msha.UnitInfo{
		{Name: "unit-1", NameServers: []string{b.origin.NameServer()}, State: "live"},
		{Name: "unit-2", NameServers: []string{b.target.NameServer()}, State: "live"},
	}})
	if err != nil {
		return err
	}
	if _, err := store.Put(ctx, msha.UnitsKey, value, 0); err != nil {
		return err
	}
	r, err := replicate.New("unit-1", store, &replicate.Options{Topics: []string{topic}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.Run(ctx) //nolint:errcheck // what it does not copy is missed
	}()
	defer func() {
		cancel()
		<-ended
	}()
	home := remoting.Queue{Topic: topic, Broker: originBroker}
	replica := remoting.Queue{Topic: topic + "-from-unit-1", Broker: targetBroker}
	const warm = 50
	var hop, copied []time.Duration
	for i := range n + warm {
		arrivals := make(chan error, 2)
		var here, there time.Time
		await := func(c *remoting.Cluster, q remoting.Queue, at *time.Time) {
			for {
				res, err := c.Pull(ctx, remoting.PullRequest{Queue: q, Group: "bench-" + q.Topic, Offset: int64(i), Suspend: 10 * time.Second})
				*at = time.Now()
				if i == 0 && err != nil && ctx.Err() == nil { // the replica topic is created with the first message
					time.Sleep(10 * time.Millisecond)
					continue
				}
				if err == nil && len(res.Messages) == 0 {
					continue
				}
				arrivals <- err
				return
			}
		}
		go await(b.from, home, &here)
		go await(b.to, replica, &there)
		time.Sleep(30 * time.Millisecond) // both polls are waiting
		sent := time.Now()
		if _, err := b.from.Send(ctx, home, "bench", message(500, i)); err != nil {
			return err
		}
		for range 2 {
			if err := <-arrivals; err != nil {
				return err
			}
		}
		if i >= warm {
			hop, copied = append(hop, here.Sub(sent)), append(copied, there.Sub(sent))
		}
	}
	fmt.Fprintf(report, "\n## Latency of one message of 500 B while nothing else happens, %d messages\n\n", n)
	fmt.Fprintf(report, "| from the send's begin | p50 | p99 |\n|---|---|---|\n")
	for _, row := range []struct {
		name string
		of   []time.Duration
	}{{"to a consumer of the origin", hop}, {"to a consumer of the copy", copied}} {
		fmt.Fprintf(report, "| %s | %v | %v |\n", row.name, percentile(row.of, 50), percentile(row.of, 99))
	}
	fmt.Fprintf(report, "\nratio latency p50 %.2f\nratio latency p99 %.2f\n", float64(percentile(copied, 50))/float64(percentile(hop, 50)), float64(percentile(copied, 99))/float64(percentile(hop, 99)))
	return nil
}

func percentile(of []time.Duration, p int) time.Duration {
	sorted := slices.Sorted(slices.Values(of))
	return sorted[min(len(sorted)*p/100, len(sorted)-1)].Round(time.Microsecond)
}
