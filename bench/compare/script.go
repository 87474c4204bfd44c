package main

import (
	"context"
	"os"
	"slices"
	"time"
)

// size is how long the script takes.
type size struct {
	backlog  int           // of a city, when it is switched
	run      time.Duration // of the load before and after an event
	switches int           // to and fro
}

func sizeOf(quick bool) size {
	if quick {
		return size{backlog: 100, run: 1500 * time.Millisecond, switches: 5}
	}
	return size{backlog: 300, run: 5 * time.Second, switches: 5}
}

// scenario is a row of the table. Each has its own messages, which are sent while it plays; the next one begins when nothing happens any more.
type scenario struct {
	name, title string
	play        func(ctx context.Context, w *world) error
	long        bool // not in the quick script: it takes long, or needs clusters that no other side uses meanwhile
}

var script = []scenario{
	{name: "backlog", title: "switch under backlog, and back", play: switchUnderBacklog},
	{name: "switches", title: "switches to and fro", play: manySwitches},
	{name: "restart", title: "rolling restart of consumers", play: rollingRestart},
	{name: "copier", title: "kill -9 of the copiers", play: killCopier},
	{name: "consumer", title: "kill -9 of a consumer in each unit", play: killConsumer, long: true},
	{name: "site", title: "loss of a site, its cities moved by force, and its return", play: loseSite, long: true}, // the last one: they do not move back
}

// scenarios of the script.
func scenarios(quick bool) []scenario {
	return slices.DeleteFunc(slices.Clone(script), func(s scenario) bool { return quick && s.long })
}

// perform plays the script, after a few messages that find everything ready.
func (w *world) perform(ctx context.Context) error {
	warm := scenario{name: "warm", play: func(ctx context.Context, w *world) error { return w.run(ctx) }}
	for _, s := range append([]scenario{warm}, scenarios(w.quick)...) {
		w.evidence.stages = append(w.evidence.stages, stage{s.name, time.Now()})
		if err := w.playOne(ctx, s); err != nil {
			return err
		}
		w.say("%s: %d unprocessed", s.name, w.progress.unprocessed(s.name))
	}
	stoppedAt := time.Now()
	return w.await(ctx, "rest", func() (bool, error) { return w.rests(ctx, stoppedAt) })
}

// calm says whether no handler has begun or ended for longer than a retry takes.
func (w *world) calm(since time.Time) bool { return time.Since(later(w.progress.at, since)) > calmFor }

// rests says whether everything is copied and acknowledged, and no retry can be on its way.
func (w *world) rests(ctx context.Context, since time.Time) (bool, error) {
	if !w.calm(since) {
		return false, nil
	}
	behind, err := w.side.behind(ctx, w)
	return behind == 0, err
}

// playOne plays a scenario under load, and waits until everything is processed, or what is not does not come.
func (w *world) playOne(ctx context.Context, s scenario) error {
	stop := w.load(ctx, s.name)
	err := s.play(ctx, w)
	if stopped := stop(); err == nil {
		err = stopped
	}
	if err != nil {
		return err
	}
	stoppedAt := time.Now()
	return w.await(ctx, "calm after "+s.name, func() (bool, error) {
		if w.progress.unprocessed(s.name) == 0 && w.calm(stoppedAt) {
			return true, nil
		}
		return w.rests(ctx, stoppedAt)
	})
}

// run lets the load go on for a while.
func (w *world) run(ctx context.Context) error { return pause(ctx, w.size.run) }

// move switches a city.
func (w *world) move(ctx context.Context, city, to string) error {
	w.evidence.moves = append(w.evidence.moves, move{city: city, to: to, begun: time.Now()})
	return w.side.move(ctx, w, city, to)
}

// kill ends one process of each unit the hard way, and starts them again as a supervisor would.
func (w *world) kill(ctx context.Context, name string) error {
	units := []string{unit1, unit2}
	for _, unit := range units {
		w.cutOff(w.member(unit, name))
	}
	if err := pause(ctx, time.Second); err != nil {
		return err
	}
	for _, unit := range units {
		if err := w.member(unit, name).start(ctx); err != nil {
			return err
		}
	}
	return w.run(ctx)
}

// cutOff ends a process the hard way.
func (w *world) cutOff(p *process) {
	w.evidence.kills = append(w.evidence.kills, kill{process: p.current(), at: time.Now()})
	p.kill()
}

// works waits until the process that was started last has begun a message.
func (w *world) works(ctx context.Context, p *process) error {
	return w.await(ctx, "work of "+p.current(), func() (bool, error) { return w.progress.runs[p.current()] > 0, nil })
}

func switchUnderBacklog(ctx context.Context, w *world) error {
	if err := os.WriteFile(w.slow(unit2), nil, 0o644); err != nil {
		return err
	}
	err := w.await(ctx, "backlog", func() (bool, error) {
		return w.progress.left[place{"backlog", "guangzhou"}] >= w.size.backlog, nil
	})
	if err != nil {
		return err
	}
	if err := w.move(ctx, "guangzhou", unit1); err != nil {
		return err
	}
	if err := w.run(ctx); err != nil {
		return err
	}
	if err := os.Remove(w.slow(unit2)); err != nil {
		return err
	}
	if err := w.move(ctx, "guangzhou", unit2); err != nil {
		return err
	}
	return w.run(ctx)
}

func manySwitches(ctx context.Context, w *world) error {
	for i := range w.size.switches {
		to := unit1
		if i%2 == 1 {
			to = unit2
		}
		if err := w.run(ctx); err != nil {
			return err
		}
		if err := w.move(ctx, "guangzhou", to); err != nil {
			return err
		}
	}
	return w.run(ctx)
}

func killConsumer(ctx context.Context, w *world) error {
	if err := w.run(ctx); err != nil {
		return err
	}
	return w.kill(ctx, "channel-1")
}

// loseSite kills all of unit-2, moves its cities while it is dead, and starts it again.
func loseSite(ctx context.Context, w *world) error {
	if err := w.run(ctx); err != nil {
		return err
	}
	var site []*process
	for _, p := range w.crew {
		if p.role.Unit == unit2 {
			site = append(site, p)
			w.cutOff(p)
		}
	}
	if err := w.servers.Kill(unit2); err != nil {
		return err
	}
	cities := w.evidence.ownedBy(unit2)
	for _, city := range cities {
		w.evidence.moves = append(w.evidence.moves, move{city: city, to: unit1, begun: time.Now()})
	}
	if err := w.side.force(ctx, w, cities, unit1); err != nil {
		return err
	}
	if err := w.run(ctx); err != nil {
		return err
	}
	if err := w.servers.Restart(ctx, unit2); err != nil {
		return err
	}
	for _, p := range site {
		if err := p.start(ctx); err != nil {
			return err
		}
	}
	return w.run(ctx)
}

func rollingRestart(ctx context.Context, w *world) error {
	for _, p := range w.crew {
		if p.role.Program != w.side.channel() {
			continue
		}
		if err := p.terminate(ctx); err != nil {
			return err
		}
		if err := p.start(ctx); err != nil {
			return err
		}
		if err := w.works(ctx, p); err != nil {
			return err
		}
	}
	return w.run(ctx)
}

func killCopier(ctx context.Context, w *world) error {
	if err := w.run(ctx); err != nil {
		return err
	}
	return w.kill(ctx, "copier")
}
