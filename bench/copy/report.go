//go:build unix

package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/go-msha/msha/internal/realmq"
	"github.com/go-msha/msha/internal/spread"
)

// result is what one side did in one round.
type result struct {
	rate   float64 // messages per second
	cpu    float64 // microseconds of this process per message
	allocs float64 // per message
}

// meter measures from its start on.
type meter struct {
	began  time.Time
	cpu    time.Duration
	allocs uint64
}

func newMeter() meter {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return meter{cpu: cpuTime(), allocs: m.Mallocs, began: time.Now()}
}

func (m meter) result(messages int) result {
	took, cpu := time.Since(m.began), cpuTime()-m.cpu
	var now runtime.MemStats
	runtime.ReadMemStats(&now)
	n := float64(messages)
	return result{rate: n / took.Seconds(), cpu: float64(cpu.Microseconds()) / n, allocs: float64(now.Mallocs-m.allocs) / n}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func head(w io.Writer) {
	client := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == "github.com/apache/rocketmq-client-go/v2" {
				client = d.Version
			}
		}
	}
	fmt.Fprintf(w, `# Copying: the replicator, the machine's limit, and a loop on client-go

%s · RocketMQ %s, two clusters of one broker on the same machine, 32 messages in a pull answer unless said otherwise · client-go %s ·
%s %s/%s · %d cores

Medians of alternating rounds, in parentheses the quartiles. CPU and allocations are those of the copying process, per message. Delay is
added to each round trip to the target. limit = p·s/(p+s) of the sides pull and send.
`, time.Now().Format(time.DateOnly), realmq.V5, client, runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
}

func column(rs []result, f func(result) float64) []float64 {
	var out []float64
	for _, r := range rs {
		out = append(out, f(r))
	}
	return out
}

func printSetting(w io.Writer, s setting, results map[string][]result) {
	fmt.Fprintf(w, "\n## %d B, %d queues, %v delay, %d rounds\n\n| side | messages/s | MB/s | CPU µs | allocations |\n|---|---|---|---|---|\n",
		s.size, s.queues, s.delay, s.rounds)
	rates := map[string][]float64{}
	for _, side := range s.sides {
		rs := results[side]
		rates[side] = column(rs, func(r result) float64 { return r.rate })
		rate := spread.Of(rates[side])
		fmt.Fprintf(w, "| %s | %.0f (%.0f to %.0f) | %.0f | %.2f | %.2f |\n", side, rate.Median, rate.Low, rate.High, rate.Median*float64(s.size)/1e6,
			spread.Of(column(rs, func(r result) float64 { return r.cpu })).Median, spread.Of(column(rs, func(r result) float64 { return r.allocs })).Median)
	}
	ratio := func(name string, of, to []float64) {
		var each []float64
		for i := range of {
			each = append(each, of[i]/to[i])
		}
		fmt.Fprintf(w, "ratio %s %s\n", name, spread.Of(each).Format("%.2f"))
	}
	fmt.Fprintln(w)
	if p := rates["pull"]; p != nil {
		var limit []float64
		for i, send := range rates["send"] {
			limit = append(limit, p[i]*send/(p[i]+send))
		}
		ratio("limit", rates["replicator"], limit)
	} else {
		ratio("near", rates["replicator"], rates["near"])
	}
	ratio("loop", rates["replicator"], rates["loop"])
}
