package agent

import (
	"context"
	"sync"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/tagging"
)

// NewProducer takes client-go's options and returns client-go's producer for the unit's cluster; every message it sends carries its
// routing value and unit. The name servers come from the unit document and the instance name is unique; both replace the ones
// in opts. ErrClosed after Close. It blocks for Options.Access only; Start of the result connects. Of Options.Access it takes the credentials
// and whether to speak TLS: client-go verifies no certificate, and its TLS setting is that of the whole process.
func (u *Unit) NewProducer(opts ...producer.Option) (rocketmq.Producer, error) {
	access, err := u.access()
	if err != nil {
		return nil, err
	}
	opts = append(opts[:len(opts):len(opts)],
		producer.WithNsResolver(primitive.NewPassthroughResolver(u.info.NameServers)),
		producer.WithInstanceName(u.instance("p", "producer")))
	if c := access.Credentials; c != (msha.Credentials{}) {
		opts = append(opts, producer.WithCredentials(primitive.Credentials{AccessKey: c.AccessKey, SecretKey: c.SecretKey, SecurityToken: c.SecurityToken}))
	}
	if access.TLS != nil {
		opts = append(opts, producer.WithTls(true))
	}
	plain, err := rocketmq.NewProducer(opts...)
	if err != nil {
		return nil, err
	}
	p := &ownedProducer{unit: u, Producer: tagging.Wrap(plain, tagging.Config{
		Unit: u.info.Name, Value: u.opts.Value, Default: u.opts.DefaultValue,
	})}
	p.owned = &owned{func(context.Context) error { return p.Shutdown() }}
	if err := u.register(p.owned, nil); err != nil {
		return nil, err
	}
	return p, nil
}

// ownedProducer makes Shutdown safe to repeat, because both the application and Unit.Close call it, and harmless before Start.
type ownedProducer struct {
	rocketmq.Producer
	unit    *Unit
	owned   *owned
	mu      sync.Mutex
	started bool
}

func (p *ownedProducer) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.unit.register(p.owned, nil); err != nil { // it may have been shut down before
		return err
	}
	if err := p.Producer.Start(); err != nil {
		return err
	}
	p.started = true
	return nil
}

func (p *ownedProducer) Shutdown() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unit.forget(p.owned)
	if !p.started {
		return nil
	}
	p.started = false
	return p.Producer.Shutdown()
}
