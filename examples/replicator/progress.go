package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/replicate"
)

// screen is standard error. On a terminal its last line shows progress, and log lines go above it.
type screen struct {
	mu       sync.Mutex
	w        io.Writer
	terminal bool
	width    func() int
	shown    string // the progress line
}

func newScreen(w io.Writer) *screen {
	s := &screen{w: w, width: func() int { return 80 }}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		s.terminal = true
		s.width = func() int {
			if n, _, err := term.GetSize(int(f.Fd())); err == nil && n > 0 {
				return n
			}
			return 80
		}
	}
	return s
}

const eraseLine = "\r\x1b[K"

// Write implements io.Writer for the log.
func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shown == "" {
		return s.w.Write(b)
	}
	_, err := io.WriteString(s.w, eraseLine+string(b)+s.shown)
	return len(b), err
}

// show replaces the progress line; "" removes it. One that is longer than the terminal is wide could not be replaced.
func (s *screen) show(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	line = line[:min(len(line), s.width()-1)]
	s.shown = line
	io.WriteString(s.w, eraseLine+line) //nolint:errcheck // a terminal
}

func (s *screen) clear() {
	if s.terminal {
		s.show("")
	}
}

// report shows progress: every second on a terminal, now and then in the log otherwise.
func (s *service) report(ctx context.Context, screen *screen) {
	every := s.c.progress
	if screen.terminal {
		every = time.Second
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	last, at := s.r.Stats(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now, took := s.r.Stats(), time.Since(at)
		p := s.progress(last, now, took)
		if screen.terminal {
			screen.show(p.String())
		} else {
			s.log.Info("progress", p.attrs()...)
		}
		last, at = now, time.Now()
	}
}

// progress is how far and how fast copying is.
type progress struct {
	unit                       string
	messages, bytes            float64 // per second
	lagMessages, lagBytes      int64   // msha.Unknown: not asked yet, or no answer
	age                        time.Duration
	delayed, half              int64 // msha.Unknown
	shares, members            int
	stopped, located, queues   int
	paused                     []string
	sharing                    bool
	interruptions, lost, skips int64
}

func (s *service) progress(last, now replicate.Stats, took time.Duration) progress {
	p := progress{
		unit: s.c.unit, messages: float64(now.Copied-last.Copied) / took.Seconds(), bytes: float64(now.Bytes-last.Bytes) / took.Seconds(),
		shares: now.Shares, members: now.Members, stopped: len(now.Stopped), located: now.Located, queues: now.Queues, paused: now.Paused,
		sharing: now.Sharing, interruptions: now.Interruptions, lost: now.LeaseLosses, skips: now.Skipped,
	}
	lags, lag, pending, asked := s.observer.last()
	p.lagMessages, p.lagBytes, p.age = sumLag(lags, lag)
	p.delayed, p.half = sumPending(pending, asked)
	return p
}

// sumLag is the lag of all queues: messages and bytes added up, the age of the oldest. A sum with an unknown part is unknown.
func sumLag(lags []msha.QueueLag, asked seen) (messages, bytes int64, age time.Duration) {
	if asked.at.IsZero() || asked.err != nil {
		return msha.Unknown, msha.Unknown, msha.Unknown
	}
	for _, l := range lags {
		messages += l.Messages
		bytes = add(bytes, l.Bytes)
		age = max(age, l.Age)
	}
	return messages, bytes, age
}

func sumPending(pending []msha.PendingMessages, asked seen) (delayed, half int64) {
	if asked.at.IsZero() || pending == nil {
		return msha.Unknown, msha.Unknown
	}
	for _, p := range pending {
		delayed, half = add(delayed, p.Delayed), add(half, p.Half)
	}
	return delayed, half
}

func add(sum, n int64) int64 {
	if sum == msha.Unknown || n == msha.Unknown {
		return msha.Unknown
	}
	return sum + n
}

// String is the line on a terminal.
func (p progress) String() string {
	if !p.sharing {
		return p.unit + ": not taking part in sharing yet, or any more"
	}
	line := fmt.Sprintf("%s: %.0f msg/s, %s/s, lag %s (%s, oldest %s), held %s delayed + %s half, queues %d/%d, shares %d, processes %d",
		p.unit, p.messages, bytesText(int64(p.bytes)), countText(p.lagMessages), bytesText(p.lagBytes), ageText(p.age),
		countText(p.delayed), countText(p.half), p.located, p.queues, p.shares, p.members)
	if p.stopped > 0 {
		line += fmt.Sprintf(", %d STOPPED", p.stopped)
	}
	if len(p.paused) > 0 {
		line += ", paused " + strings.Join(p.paused, " ")
	}
	return line
}

// attrs are what the log says.
func (p progress) attrs() []any {
	return []any{
		"unit", p.unit, "sharing", p.sharing, "messages_per_s", int64(p.messages), "bytes_per_s", int64(p.bytes), "lag", countText(p.lagMessages), "lag_bytes", countText(p.lagBytes),
		"oldest", ageText(p.age), "delayed_at_origin", countText(p.delayed), "half_at_origin", countText(p.half), "queues", p.queues,
		"located", p.located, "stopped", p.stopped, "paused", p.paused, "shares", p.shares, "processes", p.members,
		"interruptions", p.interruptions, "lease_losses", p.lost, "skipped", p.skips,
	}
}

func countText(n int64) string {
	if n == msha.Unknown {
		return "?"
	}
	return fmt.Sprint(n)
}

func ageText(d time.Duration) string {
	if d == msha.Unknown {
		return "?"
	}
	return d.Round(time.Second).String()
}

func bytesText(n int64) string {
	if n == msha.Unknown {
		return "? B"
	}
	size, unit := float64(n), 0
	for size >= 1000 && unit < 4 {
		size /= 1000
		unit++
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %cB", size, " kMGT"[unit])
}
