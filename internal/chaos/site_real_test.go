//go:build real

package chaos

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/realstore"
	"github.com/go-msha/msha/internal/remoting"
)

// loseSite kills everything of a unit, moves its routes by force while it is dead, and starts everything again. The unit rejoins by itself.
func (w *world) loseSite(a Action) (Fault, error) {
	begun, unit := time.Now(), a.Target
	f, err := w.killSite(unit)
	if err != nil {
		return f, err
	}
	next := (slices.Index(w.names, unit) + 1) % len(w.names)
	first := w.uncopied(unit, w.names[next])
	w.noteSwitch(w.ask(Move{From: unit, Forced: true}, w.names[next], next))
	pause(w.ctx, time.Until(begun.Add(a.For)))
	err = w.reviveSite(unit)
	f.Until = time.Now()
	if at := w.firstStored(unit, first); at.Before(f.Gone) {
		f.Uncopied = at
	}
	return f, err
}

// killSite kills what of a unit lives, all at the same time.
func (w *world) killSite(unit string) (Fault, error) {
	f := Fault{Kind: KillSite, Target: unit, From: time.Now()}
	deaths := []func() error{func() error { return w.servers[unit].kill(w.ctx) }}
	for _, p := range w.processesOf(unit) {
		if p.role.Kind == "agent" {
			f.Agents = append(f.Agents, p.latest())
		}
		deaths = append(deaths, func() error { p.kill(); return nil })
	}
	for _, b := range w.brokers(unit) {
		deaths = append(deaths, func() error { return w.sites[unit].Kill(b) })
	}
	if m := w.member(unit); m != nil {
		deaths = append(deaths, func() error { m.Kill(); return nil })
	}
	err := together(deaths)
	f.Gone = time.Now()
	return f, err
}

// reviveSite starts all of a unit again, and returns once it serves.
func (w *world) reviveSite(unit string) error {
	if m := w.member(unit); m != nil {
		if err := m.Restart(w.ctx); err != nil {
			return err
		}
	}
	if err := w.servers[unit].restart(w.ctx); err != nil {
		return err
	}
	var starts []func() error // processes do not wait for brokers
	for _, b := range w.brokers(unit) {
		starts = append(starts, func() error { return w.sites[unit].Restart(w.ctx, b) })
	}
	for _, p := range w.processesOf(unit) {
		starts = append(starts, func() error { return cmp.Or(p.start(), p.serves(w.ctx)) })
	}
	return together(starts)
}

// member is the part of the metastore at a unit's site; nil if all of it is elsewhere.
func (w *world) member(unit string) *realstore.Node {
	if nodes := w.etcd.Nodes(); len(nodes) > 1 {
		return nodes[slices.Index(w.names, unit)]
	}
	return nil
}

func (w *world) processesOf(unit string) (all []*process) {
	for _, name := range sorted(w.processes) {
		if p := w.processes[name]; p.role.Unit == unit {
			all = append(all, p)
		}
	}
	return all
}

func together(all []func() error) error {
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, do := range all {
		wg.Go(func() { errs[i] = do() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// uncopied looks how far the log that a unit's processes publish to is copied to another unit: by its queues, the first offset that is not.
func (w *world) uncopied(unit, target string) map[remoting.Queue]int64 {
	first := map[remoting.Queue]int64{}
	for _, b := range w.brokers(unit) {
		first[remoting.Queue{Topic: msha.ProgressTopic, Broker: b}] = 0
	}
	w.at(target, func(c *remoting.Cluster) error {
		copies, err := c.Queues(w.ctx, msha.ReplicaTopic(msha.ProgressTopic, unit), false)
		for _, q := range copies {
			end, endErr := c.MaxOffset(w.ctx, q)
			err = errors.Join(err, endErr, w.records(c, q, max(end-1, 0), func(m *remoting.Message) bool {
				o, wrong := msha.ParseOrigin(m.Properties[msha.PropertyOrigin])
				if wrong != nil {
					w.fail("%s at %d: %v", q, m.QueueOffset, wrong)
				}
				first[remoting.Queue{Topic: o.Topic, Broker: o.Broker, ID: o.Queue}] = o.Offset + 1
				return true
			}))
		}
		return err
	})
	return first
}

// ends is where the log ends that a unit's processes publish to, by its queues.
func (w *world) ends(unit string) map[remoting.Queue]int64 {
	ends := map[remoting.Queue]int64{}
	w.at(unit, func(c *remoting.Cluster) (err error) {
		for _, b := range w.brokers(unit) {
			q := remoting.Queue{Topic: msha.ProgressTopic, Broker: b}
			end, failed := c.MaxOffset(w.ctx, q)
			ends[q], err = end, errors.Join(err, failed)
		}
		return err
	})
	return ends
}

// firstStored is when the earliest of some records was stored; now if there is none of them.
func (w *world) firstStored(unit string, records map[remoting.Queue]int64) time.Time {
	at := time.Now()
	w.at(unit, func(c *remoting.Cluster) (err error) {
		for q, offset := range records {
			err = errors.Join(err, w.records(c, q, offset, func(m *remoting.Message) bool {
				if stored := time.UnixMilli(m.StoreTimestamp); stored.Before(at) {
					at = stored
				}
				return false
			}))
		}
		return err
	})
	return at
}

// records reads a queue to its end, or until do returns false.
func (w *world) records(c *remoting.Cluster, q remoting.Queue, offset int64, do func(*remoting.Message) bool) error {
	for {
		res, err := c.Pull(w.ctx, remoting.PullRequest{Queue: q, Group: "MSHA_TEST", Offset: offset})
		if err != nil || res.Status != remoting.PullFound {
			return err
		}
		for _, m := range res.Messages {
			if !do(m) {
				return nil
			}
		}
		offset = res.NextOffset
	}
}

// at asks a unit's cluster, again and again while it is not there.
func (w *world) at(unit string, ask func(*remoting.Cluster) error) {
	client := remoting.NewClient(&remoting.Options{Logger: quiet})
	defer client.Close()
	c := remoting.NewCluster([]string{w.sites[unit].NameServer()}, client)
	var err error
	for w.ctx.Err() == nil {
		if err = ask(c); err == nil {
			return
		}
		c.Forget()
		pause(w.ctx, 300*time.Millisecond)
	}
	w.fail("%s does not answer: %v", unit, err)
}
