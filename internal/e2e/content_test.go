package e2e

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/agent"
	"github.com/go-msha/msha/tagging"
)

// content: a handler gets what was sent, in both units: under the home topic's name, with body, keys, tags and user properties; each
// message of a batch carries its routing value; empty and large bodies arrive.
func content(t *testing.T, clusters backend) {
	w := start(t, clusters, ownership, "unit-1", "unit-2")
	var mu sync.Mutex
	got := map[string]*primitive.MessageExt{}
	in := map[string]string{}
	values := map[string]string{}
	for _, unit := range w.names {
		u, err := agent.Join(w.ctx, unit, w.store, &agent.Options{Logger: w.log})
		require.NoError(t, err)
		c, err := u.NewPushConsumer(consumer.WithGroupName(w.group), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
		require.NoError(t, err)
		require.NoError(t, c.Subscribe(w.topic, consumer.MessageSelector{}, func(ctx context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			mu.Lock()
			defer mu.Unlock()
			for _, m := range msgs {
				got[m.GetKeys()], in[m.GetKeys()], values[m.GetKeys()] = m, unit, tagging.Value(ctx)
			}
			return consumer.ConsumeSuccess, nil
		}))
		require.NoError(t, c.Start())
		t.Cleanup(func() { require.NoError(t, u.Close(context.WithoutCancel(w.ctx))) })
	}
	u, err := agent.Join(w.ctx, "unit-1", w.store, &agent.Options{Logger: w.log, Value: tagging.FromProperty("city")})
	require.NoError(t, err)
	p, err := u.NewProducer(producer.WithGroupName("mtr"), producer.WithSendMsgTimeout(time.Minute))
	require.NoError(t, err)
	require.NoError(t, p.Start())
	t.Cleanup(func() { require.NoError(t, u.Close(context.WithoutCancel(w.ctx))) })

	big := bytes.Repeat([]byte{0, 1, 2, 255}, (4<<20-4096)/4)
	message := func(key, city string, body []byte) *primitive.Message {
		m := primitive.NewMessage(w.topic, body).WithKeys([]string{key}).WithTag("t-" + key)
		m.Flag = 7
		for i := range 20 {
			m.WithProperty(fmt.Sprintf("p%d", i), strings.Repeat("x", i)+"ü")
		}
		m.WithProperty("city", city)
		return m
	}
	var sent []*primitive.Message
	send := func(ms ...*primitive.Message) {
		t.Helper()
		_, err := p.SendSync(w.ctx, ms...)
		require.NoError(t, err)
		sent = append(sent, ms...)
	}
	for _, city := range []string{"beijing", "guangzhou"} {
		send(message("small-"+city, city, []byte("hello")))
		send(message("big-"+city, city, big))
		send(message("b0-"+city, city, []byte("0")), message("b1-"+city, city, nil), message("b2-"+city, "shenzhen", []byte("2")))
	}
	send(message("untagged", "", []byte("whose?")))
	w.eventually("all messages handled", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(got) == len(sent)
	})
	mu.Lock()
	defer mu.Unlock()
	for _, m := range sent {
		g, key, city := got[m.GetKeys()], m.GetKeys(), m.GetProperty("city")
		require.NotNil(t, g, key)
		require.Equal(t, w.topic, g.Topic, key)
		require.True(t, bytes.Equal(m.Body, g.Body), key)
		require.Equal(t, m.GetTags(), g.GetTags(), key)
		require.EqualValues(t, 7, g.Flag, key)
		for i := range 20 {
			name := fmt.Sprintf("p%d", i)
			require.Equal(t, m.GetProperty(name), g.GetProperty(name), key)
		}
		require.Equal(t, city, g.GetProperty(msha.PropertyRoute), key)
		require.Equal(t, city, values[key], key)
		require.Equal(t, "unit-1", g.GetProperty(msha.PropertyUnit), key)
		owner := "unit-1"
		if city == "guangzhou" || city == "shenzhen" {
			owner = "unit-2"
		}
		require.Equal(t, owner, in[key], key)
	}
	w.audited("unit-1")
}
