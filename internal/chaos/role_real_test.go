//go:build real

package chaos

import (
	"cmp"
	"context"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/agent"
	"github.com/go-msha/msha/manager"
	"github.com/go-msha/msha/metastore/open"
	"github.com/go-msha/msha/replicate"
	"github.com/go-msha/msha/switchplan"
)

const (
	topic = "SMS"
	group = "channel"
)

// role is what a child process is told.
type role struct {
	Kind    string // agent, replicator, manager
	Name    string // of this start
	Unit    string
	Target  string // of a replicator
	Store   string // URL
	Journal string // folder
	Listen  string // of a manager
	Gate    time.Duration
	Resume  time.Duration
	Ways    map[string]string // name server -> where this process finds it, of the other units
}

// serving is what a child prints once it does its work.
const serving = "serving"

// run serves until SIGTERM. What does not start because a server is dead at the moment is started again, as a supervisor would.
func (r role) run() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stdout, nil))
	serve, err := r.service()
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		err := func() error {
			store, err := open.Open(ctx, r.Store, &open.Options{Logger: log})
			if err != nil {
				return err
			}
			defer store.Close() //nolint:errcheck // the process ends or begins anew
			return serve(ctx, view(store, r.Ways), log)
		}()
		if err == nil {
			return nil
		}
		log.Error("not started, trying again", "error", err)
		pause(ctx, 500*time.Millisecond)
	}
	return nil
}

type service func(ctx context.Context, store msha.MetaStore, log *slog.Logger) error

func (r role) service() (service, error) {
	switch r.Kind {
	case "replicator":
		return r.replicator, nil
	case "manager":
		return r.manager, nil
	}
	j, err := Create(r.Journal, r.Name)
	h := &handler{journal: j}
	return func(ctx context.Context, store msha.MetaStore, log *slog.Logger) error {
		return r.agent(ctx, store, log, h)
	}, err
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func (r role) agent(ctx context.Context, store msha.MetaStore, log *slog.Logger, h *handler) error {
	u, err := agent.Join(ctx, r.Unit, store, &agent.Options{InstanceName: r.Name, GateWindow: r.Gate, Logger: log})
	if err != nil {
		return err
	}
	defer u.Close(context.WithoutCancel(ctx)) //nolint:errcheck // the process ends or begins anew
	c, err := u.NewPushConsumer(consumer.WithGroupName(group), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	if err != nil {
		return err
	}
	if err := c.Subscribe(topic, consumer.MessageSelector{}, h.handle); err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	log.Info(serving)
	<-ctx.Done()
	return nil
}

// handler works for a few milliseconds and fails one time out of twenty.
type handler struct {
	journal *Journal
	runs    atomic.Int64
}

func (h *handler) handle(_ context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
	for _, m := range msgs {
		n, key, value := int(h.runs.Add(1)), keyOf(m.Body), cmp.Or(m.GetProperty(msha.PropertyRoute), NoValue)
		h.note(Start, n, key, value)
		time.Sleep(time.Millisecond + rand.N(4*time.Millisecond)) // the work
		if rand.IntN(20) == 0 {
			h.note(Fail, n, key, value)
			return consumer.ConsumeRetryLater, nil // one message at a time is what the consumer is set to
		}
		h.note(End, n, key, value)
	}
	return consumer.ConsumeSuccess, nil
}

func (h *handler) note(e Event, run int, key, value string) {
	if err := h.journal.Write(e, run, key, value); err != nil {
		panic(err)
	}
}

func (r role) replicator(ctx context.Context, store msha.MetaStore, log *slog.Logger) error {
	p, err := replicate.New(r.Unit, store, &replicate.Options{Targets: []string{r.Target}, Topics: []string{topic}, Discover: 500 * time.Millisecond, Logger: log})
	if err != nil {
		return err
	}
	log.Info(serving)
	return p.Run(ctx)
}

func (r role) manager(ctx context.Context, store msha.MetaStore, log *slog.Logger) error {
	h := newHolds(r.Journal)
	m, err := manager.New(ctx, &watched{store, h}, &manager.Options{
		GateWindow: r.Gate, ResumeAfter: r.Resume, TakeOverTimeout: 10 * time.Second, Logger: log, Planner: h, Observer: switchplan.Observer{Phase: h.phase},
	})
	if err != nil {
		return err
	}
	defer m.Close() //nolint:errcheck // the process ends or begins anew
	l, err := net.Listen("tcp", r.Listen)
	if err != nil {
		return err
	}
	log.Info(serving)
	server := &http.Server{Handler: m}
	defer context.AfterFunc(ctx, func() { server.Close() })() //nolint:errcheck // it ends either way
	if err := server.Serve(l); ctx.Err() == nil {
		return err
	}
	return nil
}
