package agent_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/agent"
	"github.com/go-msha/msha/consume"
	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/manager"
	"github.com/go-msha/msha/metastore/memory"
	"github.com/go-msha/msha/replicate"
	"github.com/go-msha/msha/route"
	"github.com/go-msha/msha/switchplan"
	"github.com/go-msha/msha/tagging"
)

// database stands for one that all units write to.
type database struct {
	mu    sync.Mutex
	terms map[string]uint64 // table fence: routing value, term
	rows  []string          // table sms
}

var errOld = errors.New("a later owner has written")

// write is one transaction. The term of a value grows with each owner, so who writes under a lower one is not the owner any more:
//
//	UPDATE fence SET term = :term WHERE value = :value AND term <= :term   -- no row: roll back
//	INSERT INTO sms VALUES (:row)
func (d *database) write(value string, term uint64, row string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.terms[value] > term {
		return errOld
	}
	d.terms[value] = term
	d.rows = append(d.rows, row)
	return nil
}

// A handler fences itself: it stands still in the middle of its work, for so long that its unit is given up and the value moves by force. What it
// writes afterwards is refused.
func Example_fencing() {
	ctx := context.Background()
	rlog.SetLogLevel("fatal")
	quiet := slog.New(slog.DiscardHandler)
	names, units := []string{"unit-1", "unit-2"}, &msha.Units{}
	for _, name := range names {
		cluster, err := embedmq.Start(&embedmq.Options{Brokers: []string{"broker-" + name}})
		check(err)
		defer cluster.Close()
		units.Units = append(units.Units, msha.UnitInfo{Name: name, NameServers: []string{cluster.NameServer()}, State: "live"})
	}
	store := memory.New()
	table, err := route.New(names, map[string][]string{"unit-1": {"beijing"}, "unit-2": {"guangzhou"}})
	check(err)
	check(route.Init(ctx, store, table, units))

	db := &database{terms: map[string]uint64{"beijing": 0, "guangzhou": 0}}
	begun, thaw, wrote := make(chan struct{}), make(chan struct{}), make(chan string)
	for _, name := range names {
		unit, err := agent.Join(ctx, name, store, &agent.Options{Logger: quiet})
		check(err)
		defer unit.Close(ctx) //nolint:errcheck // the example ends
		p, err := unit.NewProducer(producer.WithGroupName("mtr"))
		check(err)
		check(p.Start())
		if name == "unit-1" {
			_, err = p.SendSync(tagging.With(ctx, "beijing"), primitive.NewMessage("SMS", []byte("hello")))
			check(err)
		}
		c, err := unit.NewPushConsumer(consumer.WithGroupName("channel"), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
		check(err)
		check(c.Subscribe("SMS", consumer.MessageSelector{}, func(ctx context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			_, term, _ := consume.Term(ctx)
			if name == "unit-1" { // it freezes, between the check that the engine made and what it is going to write
				close(begun)
				<-thaw
			}
			err := db.write(tagging.Value(ctx), term, string(msgs[0].Body)+" by "+name)
			wrote <- fmt.Sprintf("%s writes under term %d: %v", name, term, err)
			return consumer.ConsumeSuccess, nil // also if it was refused: the message is another one's
		}))
		check(c.Start())
	}
	<-begun

	copying, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	r, err := replicate.New("unit-1", store, &replicate.Options{Topics: []string{"SMS"}, Discover: 100 * time.Millisecond, Logger: quiet})
	check(err)
	go func() { ended <- r.Run(copying) }()
	for !copied(ctx, r) {
		time.Sleep(20 * time.Millisecond)
	}
	m, err := manager.New(ctx, store, &manager.Options{Logger: quiet, TakeOverTimeout: time.Second})
	check(err)
	moved := make(chan error, 1)
	go func() { // a planned switch would wait for the handler, and name it
		_, err := m.Switch(ctx, msha.SwitchRequest{Values: []string{"beijing"}, To: "unit-2", Forced: true, Override: []string{switchplan.GuardNeedless}})
		moved <- err
	}()
	fmt.Println(<-wrote)
	close(thaw)
	fmt.Println(<-wrote)
	fmt.Println(db.rows)

	check(<-moved)
	check(m.Close())
	stop()
	check(<-ended)
	// Output:
	// unit-2 writes under term 2: <nil>
	// unit-1 writes under term 1: a later owner has written
	// [hello by unit-2]
}

// copied says whether the message has a copy.
func copied(ctx context.Context, r *replicate.Replicator) bool {
	lag, err := r.Lag(ctx)
	return err == nil && slices.ContainsFunc(lag, func(q msha.QueueLag) bool { return q.Queue.Topic == "SMS" && q.Copied == 1 })
}
