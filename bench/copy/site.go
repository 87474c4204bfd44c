//go:build unix

package main

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/realmq"
	"github.com/go-msha/msha/internal/remoting"
)

const (
	topic        = "SMS"
	originBroker = "broker-a"
	targetBroker = "broker-b"
)

// bench is two clusters and what is kept for a setting.
type bench struct {
	origin, target *realmq.Cluster
	client         *remoting.Client
	from, to       *remoting.Cluster
	far            *distant
	batches        [][]byte // encoded copies for rawSend, together the messages of one queue
}

func start(ctx context.Context, pullCount int) (*bench, error) {
	b := &bench{client: remoting.NewClient(&remoting.Options{Logger: slog.New(slog.DiscardHandler)})}
	begin := func(broker string) (*realmq.Cluster, error) {
		// Disks are not what is measured: few, large files are created.
		return realmq.Start(ctx, &realmq.Options{Brokers: []string{broker}, HeapMB: 512, PullCount: pullCount, Config: map[string]string{
			"mappedFileSizeCommitLog": fmt.Sprint(256 << 20), "mappedFileSizeConsumeQueue": fmt.Sprint(6_000_000), "maxIndexNum": "4000000", "maxHashSlotNum": "1000000",
		}})
	}
	var err, otherErr error
	var wg sync.WaitGroup
	wg.Go(func() { b.origin, err = begin(originBroker) })
	wg.Go(func() { b.target, otherErr = begin(targetBroker) })
	wg.Wait()
	if err == nil {
		err = otherErr
	}
	if err == nil {
		b.from = remoting.NewCluster([]string{b.origin.NameServer()}, b.client)
		b.to = remoting.NewCluster([]string{b.target.NameServer()}, b.client)
		b.far, err = startFar(b.target)
	}
	if err != nil {
		b.stop()
		return nil, err
	}
	return b, nil
}

func (b *bench) stop() {
	b.client.Close()
	if b.far != nil {
		b.far.Close()
	}
	for _, c := range []*realmq.Cluster{b.origin, b.target} {
		if c != nil {
			c.Stop()
		}
	}
}

// settle lets the brokers finish what they do behind the answers.
func (b *bench) settle() { time.Sleep(300 * time.Millisecond) }

// createTopic waits until the name server knows the topic: client-go gives up at once.
func createTopic(ctx context.Context, c *remoting.Cluster, name string, queues int) error {
	return c.EnsureTopic(ctx, remoting.TopicConfig{Name: name, Read: queues, Write: queues})
}

// message is what a producer with a routing value sends.
func message(size, i int) *remoting.Message {
	body := make([]byte, size)
	for at := range body {
		body[at] = byte(rand.Uint32())
	}
	return &remoting.Message{Body: body, Properties: map[string]string{
		"UNIQ_KEY": fmt.Sprintf("7F0000010B7818B4AAC2%012X", i), "TAGS": "sms", "WAIT": "true", msha.PropertyRoute: "beijing", msha.PropertyUnit: "unit-1",
	}}
}

// sendBytes is about the size of the replicator's batches.
const sendBytes = 2 << 20

// preload fills the origin's queues, and encodes one queue's copies.
func (b *bench) preload(ctx context.Context, s setting) error {
	if err := createTopic(ctx, b.from, topic, s.queues); err != nil {
		return err
	}
	b.batches = nil
	each := s.messages / s.queues
	var encoded []byte
	for first := 0; first < each; {
		var ms []*remoting.Message
		for size := 0; size < sendBytes/4 && first+len(ms) < each; size += s.size + 200 {
			ms = append(ms, message(s.size, first+len(ms)))
		}
		for id := range s.queues {
			if _, err := b.from.SendBatch(ctx, remoting.Queue{Topic: topic, Broker: originBroker, ID: id}, "bench", ms); err != nil {
				return err
			}
		}
		for i, m := range ms {
			m.Properties[msha.PropertyOrigin] = msha.Origin{OriginQueue: msha.OriginQueue{Unit: "unit-1", Broker: originBroker, Topic: topic, Queue: 1}, Offset: int64(first + i)}.Encode()
			if len(encoded) > sendBytes-s.size-300 {
				b.batches, encoded = append(b.batches, encoded), nil
			}
			encoded = remoting.AppendBatchItem(encoded, m)
		}
		first += len(ms)
	}
	b.batches = append(b.batches, encoded)
	return b.visible(ctx, s.queues, each)
}

// visible waits until the broker shows what it has acknowledged.
func (b *bench) visible(ctx context.Context, queues, each int) error {
	for id := range queues {
		for {
			end, err := b.from.MaxOffset(ctx, remoting.Queue{Topic: topic, Broker: originBroker, ID: id})
			if err != nil {
				return err
			}
			if end >= int64(each) {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	return nil
}

// perQueue runs f for each queue at once.
func perQueue(queues int, f func(id int) error) error {
	errs := make(chan error, queues)
	for id := range queues {
		go func() { errs <- f(id) }()
	}
	var first error
	for range queues {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

// rename gives a name server's answer with other addresses.
func rename(answer []byte, from, to string) []byte {
	return []byte(strings.ReplaceAll(string(answer), `"`+from+`"`, `"`+to+`"`))
}
