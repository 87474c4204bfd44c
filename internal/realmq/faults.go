package realmq

import (
	"context"
	"fmt"
	"path/filepath"
)

// Slave is the name by which Kill, Restart and the others know the slave of a broker.
func Slave(broker string) string { return broker + "-slave" }

// Promote kills a broker and its slave and starts the slave's store as the broker's master: what the slave had not copied is lost. The
// broker's name then means the promoted one, and there is no slave any more.
func (c *Cluster) Promote(ctx context.Context, broker string) error {
	slave, err := c.broker(Slave(broker))
	if err != nil {
		return err
	}
	for _, name := range []string{broker, Slave(broker)} {
		if err := c.Kill(name); err != nil {
			return err
		}
	}
	slave.mu.Lock()
	slave.slave = false
	slave.mu.Unlock()
	c.mu.Lock()
	c.brokers[broker] = slave
	delete(c.brokers, Slave(broker))
	c.mu.Unlock()
	return c.Restart(ctx, broker)
}

// StoreDir is the folder of a broker's data, which may be changed while the broker is dead; empty if there is none of that name.
func (c *Cluster) StoreDir(name string) string {
	b, err := c.broker(name)
	if err != nil {
		return ""
	}
	return b.store()
}

func (b *broker) store() string { return filepath.Join(b.home, "store") }

// Freeze makes a broker stand still (SIGSTOP) until it is killed: connections stay open and nothing is answered.
func (c *Cluster) Freeze(name string) error {
	b, err := c.broker(name)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.proc == nil {
		return fmt.Errorf("realmq: broker %s was never started", name)
	}
	return b.proc.Freeze()
}
