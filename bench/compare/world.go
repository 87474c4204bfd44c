package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/chaos"
	"github.com/go-msha/msha/manager"
)

// home is where each city belongs in the beginning.
var home = map[string]string{"beijing": unit1, "shanghai": unit1, "guangzhou": unit2, "shenzhen": unit2}

var cities = []string{"beijing", "guangzhou", "shanghai", "shenzhen"}

const (
	perSecond = 150 // messages of each unit
	channels  = 2   // consumer processes of each unit
	queues    = 4
	patience  = 3 * time.Minute         // until something that has to come is called missing
	calmFor   = 2500 * time.Millisecond // longer than a retry takes
)

// world is one side, running.
type world struct {
	side    side
	servers *servers
	dir     string
	quick   bool
	size    size
	seed    uint64

	ctx      context.Context
	store    msha.MetaStore
	manager  *manager.Manager // of the library's side
	crew     []*process
	sending  map[string]rocketmq.Producer
	sent     map[string]*chaos.Journal // of producers
	reader   *chaos.Reader
	evidence evidence
	progress progress
	ends     []func() error
}

func (w *world) topic() string { return "SMS-" + w.side.name() }

func (w *world) group() string { return "channel-" + w.side.name() }

func (w *world) copierGroup() string { return "copier-" + w.side.name() }

func (w *world) slow(unit string) string { return filepath.Join(w.dir, "slow."+unit) }

// say tells how far the script is.
func (w *world) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s %-8s %s\n", time.Now().Format("15:04:05"), w.side.name(), fmt.Sprintf(format, args...))
}

// play brings the side up, plays the script and counts.
func (w *world) play(ctx context.Context) (_ result, err error) {
	defer func() { err = errors.Join(err, w.stop()) }()
	w.ctx = ctx
	if err := w.start(ctx); err != nil {
		return result{}, err
	}
	if err := w.perform(ctx); err != nil {
		return result{}, err
	}
	if err := w.read(); err != nil {
		return result{}, err
	}
	r := result{title: w.side.title(), library: w.side.library(), scenarios: tally(w.evidence)}
	r.total = r.sum()
	w.say("%s", r.verdict())
	return r, nil
}

func (w *world) start(ctx context.Context) (err error) {
	journals := filepath.Join(w.dir, "journals")
	if err := os.MkdirAll(journals, 0o755); err != nil {
		return err
	}
	w.reader, w.progress = chaos.NewReader(journals), newProgress()
	if w.store, err = openStore(ctx, w.servers.store, "compare-"+w.side.name()); err != nil {
		return err
	}
	w.ends = append(w.ends, w.store.Close)
	if err := w.servers.CreateTopic(ctx, w.topic(), queues); err != nil {
		return err
	}
	if err := w.side.prepare(ctx, w); err != nil {
		return err
	}
	w.sending, w.sent = map[string]rocketmq.Producer{}, map[string]*chaos.Journal{}
	for _, unit := range []string{unit1, unit2} {
		p, err := w.side.producer(w, unit)
		if err != nil {
			return err
		}
		w.ends = append(w.ends, p.Shutdown)
		w.sending[unit] = p
		if w.sent[unit], err = chaos.Create(journals, unit+".producer"); err != nil {
			return err
		}
		w.ends = append(w.ends, w.sent[unit].Close)
		w.recruit(unit, "copier", role{Program: w.side.copier(), Group: w.copierGroup()})
		for i := range channels {
			w.recruit(unit, fmt.Sprintf("channel-%d", i+1), role{Program: w.side.channel(), Group: w.group(), Replay: i == 0})
		}
	}
	for _, p := range w.crew {
		if err := p.start(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) recruit(unit, name string, r role) {
	r.Unit, r.Servers, r.Store, r.Side = unit, w.servers.NameServers, w.servers.store, "compare-"+w.side.name()
	r.Topic, r.Journals, r.Slow, r.Seed = w.topic(), filepath.Join(w.dir, "journals"), w.slow(unit), w.seed
	w.crew = append(w.crew, &process{name: unit + "." + name, role: r, dir: w.dir})
}

// member of the crew.
func (w *world) member(unit, name string) *process {
	return w.crew[slices.IndexFunc(w.crew, func(p *process) bool { return p.name == unit+"."+name })]
}

func (w *world) stop() (all error) {
	for _, p := range w.crew {
		p.kill()
	}
	for i := len(w.ends) - 1; i >= 0; i-- {
		all = errors.Join(all, w.ends[i]())
	}
	return all
}

// read takes in what the journals say since the last time. An error if a process has ended by itself.
func (w *world) read() error {
	lines, err := w.reader.Read()
	if err != nil {
		return err
	}
	w.evidence.lines = append(w.evidence.lines, lines...)
	for _, l := range lines {
		w.progress.add(l)
	}
	for _, p := range w.crew {
		if err := p.failed(); err != nil {
			return err
		}
	}
	return nil
}

// await reads until done; an error after patience.
func (w *world) await(ctx context.Context, what string, done func() (bool, error)) error {
	for begun := time.Now(); ; {
		if err := w.read(); err != nil {
			return err
		}
		if ok, err := done(); ok || err != nil {
			return err
		}
		if time.Since(begun) > patience {
			return fmt.Errorf("%s: not within %v", what, patience)
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
}

// load sends messages in both units until stop is called, which waits for the last answers.
func (w *world) load(ctx context.Context, scenario string) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	errs := make([]error, 2)
	var wg sync.WaitGroup
	for i, unit := range []string{unit1, unit2} {
		wg.Go(func() { errs[i] = w.send(ctx, scenario, unit, uint64(i)) })
	}
	return func() error {
		cancel()
		wg.Wait()
		return errors.Join(errs...)
	}
}

func (w *world) send(ctx context.Context, scenario, unit string, stream uint64) error {
	random := rand.New(rand.NewPCG(w.seed, stream))
	begun := time.Now()
	for i := 0; ; i++ {
		if pause(ctx, time.Until(begun.Add(time.Duration(i)*time.Second/perSecond))) != nil {
			return nil
		}
		key, city := fmt.Sprintf("%s/%s/%06d", scenario, unit, i), cities[random.IntN(len(cities))]
		m := primitive.NewMessage(w.topic(), []byte("body of "+key)).WithKeys([]string{key})
		m.WithProperty(cityProperty, city)
		event := chaos.Sent
		if res, err := w.sending[unit].SendSync(context.WithoutCancel(ctx), m); err != nil || res.Status != primitive.SendOK {
			event = chaos.Unsure
		}
		if err := w.sent[unit].Write(event, 0, key, city); err != nil {
			return err
		}
	}
}
