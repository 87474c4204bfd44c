package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/go-msha/msha/internal/realmq"
)

// result is what one side did.
type result struct {
	title     string
	library   bool
	scenarios map[string]*count
	total     count
}

// sum adds up everything, what was sent to find all ready included.
func (r result) sum() (all count) {
	for _, c := range r.scenarios {
		all.sent, all.lost, all.repeated, all.killed, all.atOnce = all.sent+c.sent, all.lost+c.lost, all.repeated+c.repeated, all.killed+c.killed, all.atOnce+c.atOnce
		all.pauses = append(all.pauses, c.pauses...)
	}
	return all
}

// verdict is the side in one line.
func (r result) verdict() string {
	return fmt.Sprintf("compare %s: %d sent, %d lost, %d repeated, pause p50/max %s", r.title, r.total.sent, r.total.lost, r.total.repeated, pauses(r.total.pauses, "/", " ms"))
}

// setting is what the table's head tells.
type setting struct {
	embedded, quick bool
	size            size
}

// report writes the table and the verdicts.
func report(w io.Writer, s setting, results []result) {
	head(w, s)
	writeTable(w, scenarios(s.quick), results)
	fmt.Fprintln(w)
	for _, r := range results {
		fmt.Fprintf(w, "    %s\n", r.verdict())
	}
	for _, r := range results {
		if r.total.atOnce > 0 {
			fmt.Fprintf(w, "    %s: %d messages in the hands of both units at once\n", r.title, r.total.atOnce)
		}
	}
}

func head(w io.Writer, s setting) {
	clusters := "RocketMQ " + realmq.V5 + ", one broker per unit, etcd"
	if s.embedded {
		clusters = "embedded clusters and metastore"
	}
	together := "The sides are played one after the other."
	if s.quick {
		together = "The sides are played at the same time, and no consumer is killed (quick)."
	}
	fmt.Fprintf(w, `# One script, a hand-written loop and this library

%s · %s · client-go %s · %s %s/%s · %d cores

Two units, four cities, %d messages a second in each unit; %d consumer processes of %d handlers in each unit, whose work takes %d ms, and fails at
%d %% of the messages the first time. %s Retries come after a second.

- switch under backlog: unit-2's work takes %d ms until %d messages of one city wait; then the city moves to unit-1, and back
- switches to and fro: %d of them
- kill -9: started again after a second; the library's copiers are its replicators
- loss of a site: all processes of unit-2 and its broker are killed, its cities move, then all is started again
- lost: acknowledged to the producer, and no handler has ended well with it when everything is at rest
- repeated: runs of a handler that ended well, beyond a message's first; in parentheses those of them that repeat what a killed process had ended within
  its last %.0f seconds
- pause, in ms: of switches, from the last start of a message of the city at the old owner to the first one at the new one, median / longest;
  elsewhere the longest time from the answer to a producer to the message's first start

`, time.Now().Format(time.DateOnly), clusters, clientVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(),
		perSecond, channels, handlers, workTime.Milliseconds(), failPercent, together, slowWorkTime.Milliseconds(), s.size.backlog, s.size.switches, unpublished.Seconds())
}

func clientVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == "github.com/apache/rocketmq-client-go/v2" {
				return d.Version
			}
		}
	}
	return "unknown"
}

// writeTable has a row for each scenario and three columns for each side.
func writeTable(w io.Writer, script []scenario, results []result) {
	row := func(first string, cells func(r result) []string) {
		all := []string{first}
		for _, r := range results {
			all = append(all, cells(r)...)
		}
		fmt.Fprintf(w, "| %s |\n", strings.Join(all, " | "))
	}
	row("", func(r result) []string { return []string{r.title + ": lost", "repeated", "pause"} })
	fmt.Fprintln(w, "|---"+strings.Repeat("|---:|---:|---:", len(results))+"|")
	for _, s := range script {
		row(s.title, func(r result) []string { return cells(*r.scenarios[s.name]) })
	}
	row("**all**", func(r result) []string { return cells(r.total) })
}

func cells(c count) []string {
	repeated := fmt.Sprint(c.repeated)
	if c.killed > 0 {
		repeated += fmt.Sprintf(" (%d)", c.killed)
	}
	paused := pauses(c.pauses, " / ", "")
	if len(c.pauses) == 0 {
		paused = fmt.Sprint(c.waited.Milliseconds())
	}
	return []string{fmt.Sprint(c.lost), repeated, paused}
}

func pauses(all []time.Duration, between, unit string) string {
	if len(all) == 0 {
		return "–"
	}
	sorted := slices.Sorted(slices.Values(all))
	return fmt.Sprintf("%d%s%d%s", sorted[(len(sorted)-1)/2].Milliseconds(), between, sorted[len(sorted)-1].Milliseconds(), unit)
}
