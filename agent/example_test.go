package agent_test

import (
	"context"
	"fmt"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/agent"
	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/metastore/memory"
	"github.com/go-msha/msha/route"
	"github.com/go-msha/msha/tagging"
)

// An application in one unit: what it produced for a value of its own unit, it processes.
func Example() {
	ctx := context.Background()
	rlog.SetLogLevel("fatal")
	cluster, err := embedmq.Start(nil)
	check(err)
	defer cluster.Close()

	store := memory.New()
	table, err := route.New([]string{"unit-1"}, map[string][]string{"unit-1": {"beijing"}})
	check(err)
	check(route.Init(ctx, store, table, &msha.Units{Units: []msha.UnitInfo{{Name: "unit-1", NameServers: []string{cluster.NameServer()}, State: "live"}}}))

	unit, err := agent.Join(ctx, "unit-1", store, &agent.Options{Value: tagging.FromProperty("city")})
	check(err)
	defer unit.Close(ctx) //nolint:errcheck // the example ends

	p, err := unit.NewProducer(producer.WithGroupName("mtr"))
	check(err)
	check(p.Start())
	_, err = p.SendSync(ctx, withCity("beijing", "hello"))
	check(err)

	done := make(chan struct{})
	c, err := unit.NewPushConsumer(consumer.WithGroupName("channel"), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	check(err)
	check(c.Subscribe("SMS", consumer.MessageSelector{}, func(ctx context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, m := range msgs {
			fmt.Printf("%s: %s, made in %s\n", tagging.Value(ctx), m.Body, m.GetProperty(msha.PropertyUnit))
			close(done)
		}
		return consumer.ConsumeSuccess, nil
	}))
	check(c.Start())
	<-done
	check(unit.Close(ctx))
	fmt.Println(unit.Stats()[0].Group, "processed", unit.Stats()[0].Succeeded)
	// Output:
	// beijing: hello, made in unit-1
	// channel processed 1
}

func withCity(city, text string) *primitive.Message {
	m := primitive.NewMessage("SMS", []byte(text))
	m.WithProperty("city", city)
	return m
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
