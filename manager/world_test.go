package manager_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/rlog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/agent"
	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/internal/logtest"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/manager"
	"github.com/go-msha/msha/metastore/memory"
	"github.com/go-msha/msha/replicate"
	"github.com/go-msha/msha/route"
)

func init() { rlog.SetLogLevel("fatal") } // client-go's log is a process global

func TestMain(m *testing.M) {
	// client-go starts it when it is imported
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/patrickmn/go-cache.(*janitor).Run"))
}

const (
	topic = "SMS"
	group = "channel"
)

// world is two units on embedded clusters: unit-1 owns beijing, unit-2 owns guangzhou.
type world struct {
	*testing.T
	store       *memory.Store
	clusters    map[string]*remoting.Cluster
	brokers     map[string]*embedmq.Cluster // by unit, too
	stopCopying map[string]func()           // by origin
	log         *logtest.Log
	handled     atomic.Int64
	release     chan struct{} // handlers wait for it
	manager     *manager.Manager
	server      *httptest.Server
}

func newWorld(t *testing.T, o *manager.Options) *world {
	w := &world{
		T: t, store: memory.New(), clusters: map[string]*remoting.Cluster{}, brokers: map[string]*embedmq.Cluster{}, stopCopying: map[string]func(){},
		log: &logtest.Log{}, release: make(chan struct{}),
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(w.log)
		}
	})
	units := &msha.Units{}
	for _, name := range []string{"unit-1", "unit-2"} {
		c, err := embedmq.Start(&embedmq.Options{Brokers: []string{"broker-" + name}})
		require.NoError(t, err)
		t.Cleanup(c.Close)
		client := remoting.NewClient(nil)
		t.Cleanup(client.Close)
		w.brokers[name] = c
		w.clusters[name] = remoting.NewCluster([]string{c.NameServer()}, client)
		require.NoError(t, w.clusters[name].CreateTopic(t.Context(), w.broker(name), remoting.TopicConfig{Name: topic, Read: 1, Write: 1}))
		units.Units = append(units.Units, msha.UnitInfo{Name: name, NameServers: []string{c.NameServer()}, State: "live"})
	}
	table, err := route.New([]string{"unit-1", "unit-2"}, map[string][]string{"unit-1": {"beijing"}, "unit-2": {"guangzhou"}})
	require.NoError(t, err)
	require.NoError(t, route.Init(t.Context(), w.store, table, units))
	for _, name := range []string{"unit-1", "unit-2"} {
		w.replicate(name)
	}
	if o == nil {
		o = &manager.Options{}
	}
	o.Logger = w.log.Logger()
	w.manager, err = manager.New(t.Context(), w.store, o)
	require.NoError(t, err)
	w.server = httptest.NewServer(w.manager)
	t.Cleanup(func() { // in the order in which nothing waits for another
		w.manager.CloseEvents()
		w.server.Close()
		require.NoError(t, w.manager.Close())
		http.DefaultClient.CloseIdleConnections()
	})
	return w
}

func (w *world) broker(unit string) string {
	brokers, err := w.clusters[unit].Brokers(w.Context())
	require.NoError(w, err)
	return brokers["broker-"+unit]
}

func (w *world) replicate(origin string) {
	r, err := replicate.New(origin, w.store, &replicate.Options{Topics: []string{topic}, Discover: 100 * time.Millisecond, Logger: w.log.Logger()})
	require.NoError(w, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	w.stopCopying[origin] = sync.OnceFunc(func() {
		stop()
		require.NoError(w, <-done)
	})
	w.Cleanup(w.stopCopying[origin])
}

// outcome is how a request ended.
type outcome struct {
	status  int // 0: no answer
	answer  manager.Answer
	failure manager.Failure
}

// asks sends a switch request that waits for somebody.
func (w *world) asks(query string) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		resp, err := http.Get(w.server.URL + "/switch?" + query)
		if err != nil {
			done <- outcome{}
			return
		}
		defer resp.Body.Close() //nolint:errcheck // read only
		o := outcome{status: resp.StatusCode}
		var into any = &o.answer
		if o.status != http.StatusOK {
			into = &o.failure
		}
		json.NewDecoder(resp.Body).Decode(into) //nolint:errcheck // seen by what is missing
		done <- o
	}()
	return done
}

// join starts a consumer; its handler waits until the world's release is closed.
func (w *world) join(unit string) {
	u, err := agent.Join(w.Context(), unit, w.store, &agent.Options{Logger: w.log.Logger()})
	require.NoError(w, err)
	c, err := u.NewPushConsumer(consumer.WithGroupName(group), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	require.NoError(w, err)
	require.NoError(w, c.Subscribe(topic, consumer.MessageSelector{}, func(_ context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		<-w.release
		w.handled.Add(int64(len(msgs)))
		return consumer.ConsumeSuccess, nil
	}))
	require.NoError(w, c.Start())
	w.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(w, u.Close(ctx))
	})
}

func (w *world) send(unit, value string, n int) {
	for i := range n {
		m := &remoting.Message{Body: fmt.Appendf(nil, "%s %d", value, i), Properties: map[string]string{msha.PropertyRoute: value, msha.PropertyUnit: unit}}
		_, err := w.clusters[unit].Send(w.Context(), remoting.Queue{Topic: topic, Broker: "broker-" + unit}, "mtr", m)
		require.NoError(w, err)
	}
}

// call makes a request and decodes its answer.
func (w *world) call(method, path string, into any) (status int) {
	w.Helper()
	req, err := http.NewRequestWithContext(w.Context(), method, w.server.URL+path, nil)
	require.NoError(w, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(w, err)
	defer resp.Body.Close() //nolint:errcheck // read only
	body, err := io.ReadAll(resp.Body)
	require.NoError(w, err)
	require.NoError(w, json.Unmarshal(body, into), string(body))
	return resp.StatusCode
}

func (w *world) eventually(what string, ok func() bool) {
	w.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			w.Fatalf("%s: not in time", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
