package agent

import (
	"context"
	"sync"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"

	"github.com/go-msha/msha/tagging"
)

// NewProducer takes client-go's options and returns client-go's producer for the unit's cluster; every message it sends carries its
// routing value and unit. The name servers come from the unit document and the instance name is unique; both replace the ones
// in opts. ErrClosed after Close. It does not block; Start of the result does.
func (u *Unit) NewProducer(opts ...producer.Option) (rocketmq.Producer, error) {
	opts = append(opts[:len(opts):len(opts)],
		producer.WithNsResolver(primitive.NewPassthroughResolver(u.info.NameServers)),
		producer.WithInstanceName(u.instance("p", "producer")))
	plain, err := rocketmq.NewProducer(opts...)
	if err != nil {
		return nil, err
	}
	p := &ownedProducer{Producer: tagging.Wrap(plain, tagging.Config{
		Unit: u.info.Name, Value: u.opts.Value, Default: u.opts.DefaultValue,
	})}
	if err := u.register(func(context.Context) error { return p.Shutdown() }); err != nil {
		return nil, err
	}
	return p, nil
}

// ownedProducer makes Shutdown safe to repeat, because both the application and Unit.Close call it, and harmless before Start.
type ownedProducer struct {
	rocketmq.Producer
	mu      sync.Mutex
	started bool
}

func (p *ownedProducer) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.Producer.Start(); err != nil {
		return err
	}
	p.started = true
	return nil
}

func (p *ownedProducer) Shutdown() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.started {
		return nil
	}
	p.started = false
	return p.Producer.Shutdown()
}
