//go:build real

package chaos

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/agent"
	"github.com/go-msha/msha/tagging"
)

// senders is how many sends a unit has on their way at most: one that waits for a dead broker does not stop the others.
const senders = 6

// produce sends messages in every unit until stop is called, which waits for the last answers.
func (w *world) produce() (stop func()) {
	ctx, cancel := context.WithCancel(w.ctx)
	var wg sync.WaitGroup
	for _, unit := range w.names {
		p := w.producer(unit)
		for n := range senders {
			wg.Go(func() { w.sendAll(ctx, p, fmt.Sprintf("%s/%d", unit, n), n) })
		}
	}
	return func() {
		cancel()
		wg.Wait()
	}
}

// The body says which message it is: a broker that dies in the middle of storing one can keep it without its properties.
const bodyOf = "body of "

func keyOf(body []byte) string { return strings.TrimPrefix(string(body), bodyOf) }

// sendAll sends one message after the other.
func (w *world) sendAll(ctx context.Context, p *journaled, name string, n int) {
	tick := time.NewTicker(time.Second * senders / time.Duration(*rate))
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		event, err := p.send(fmt.Sprintf("%s/%06d", name, i), values[(i+n)%len(values)])
		if err != nil {
			w.fail("%v", err)
			return
		}
		if event == Unsure {
			pause(ctx, 100*time.Millisecond) // a dead broker refuses at once
		}
	}
}

// journaled is a unit's producer that writes down what became of each message.
type journaled struct {
	ctx      context.Context
	producer rocketmq.Producer
	journal  *Journal
}

func (w *world) producer(unit string) *journaled {
	u, err := agent.Join(w.ctx, unit, w.store, &agent.Options{Logger: quiet})
	require.NoError(w, err)
	// One attempt: one that client-go repeats may store a message twice, under two identities.
	p, err := u.NewProducer(producer.WithGroupName("mtr"), producer.WithRetry(0))
	require.NoError(w, err)
	require.NoError(w, p.Start())
	w.Cleanup(func() { require.NoError(w, u.Close(context.WithoutCancel(w.ctx))) })
	j, err := Create(w.journals, unit+".producer")
	require.NoError(w, err)
	w.Cleanup(func() { require.NoError(w, j.Close()) })
	return &journaled{w.ctx, p, j}
}

// send sends a message once; the error is the journal's.
func (p *journaled) send(key, value string) (Event, error) {
	m := primitive.NewMessage(topic, []byte(bodyOf+key)).WithKeys([]string{key})
	event := Sent
	if res, err := p.producer.SendSync(tagging.With(p.ctx, value), m); err != nil || res.Status != primitive.SendOK {
		event = Unsure
	}
	return event, p.journal.Write(event, 0, key, value)
}
