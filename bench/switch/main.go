//go:build unix

// Command switch measures what a planned switch costs, on two units of real RocketMQ and an etcd that it starts and stops. `make bench
// BENCH=switch` runs it:
//
//	pause    a hundred switches to and fro under load: how long nobody started messages of the routes that moved, and whether other
//	         routes noticed
//	backlog  what the phases before the commit take, and how fast the gaining unit takes over, with more and more messages waiting
//	idle     what publishing facts costs a group at 10,000 messages a second
//
// No time makes it fail; a message that was lost or processed twice does.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"strings"
	"syscall"
	"time"

	"github.com/apache/rocketmq-client-go/v2/rlog"

	"github.com/go-msha/msha/internal/realmq"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	rlog.SetLogLevel("fatal")
	if err := bench(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "switch:", err)
		os.Exit(1)
	}
}

// plan is how much is measured.
type plan struct {
	switches int
	calm     time.Duration // without a switch
	backlog  int           // the largest one
	rounds   []int         // switches with none, with a tenth of it, and with all of it
	idle     int           // rounds of each side
}

func bench(ctx context.Context) (err error) {
	quick := flag.Bool("quick", false, "fewer switches, a smaller backlog, under four minutes")
	embedded := flag.Bool("embedded", false, "clusters and metastore inside this process: needs only Go")
	backlog := flag.Int("backlog", 100_000, "messages of the largest backlog")
	only := flag.String("only", "", "measure only what contains this: pause, backlog, idle")
	out := flag.String("out", "", "write the tables to this file too")
	profile := flag.String("profile", "", "write a CPU profile of all that is measured to this file")
	flag.Parse()
	p := plan{switches: 100, calm: 20 * time.Second, backlog: *backlog, rounds: []int{5, 3, 2}, idle: 8}
	if *quick {
		p = plan{switches: 20, calm: 5 * time.Second, backlog: min(*backlog, 30_000), rounds: []int{2, 1, 1}, idle: 3}
	}
	var text strings.Builder
	report := io.MultiWriter(os.Stdout, &text)
	head(report, *embedded)
	w, err := start(ctx, *embedded, time.Minute+time.Duration(p.backlog)*time.Millisecond/2)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	if *profile != "" {
		f, err := os.Create(*profile)
		if err != nil {
			return err
		}
		defer f.Close() //nolint:errcheck // pprof tells nothing
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	wrong, err := measure(ctx, report, w, p, *only)
	if err != nil {
		return err
	}
	if *out != "" {
		if err := os.WriteFile(*out, []byte(text.String()), 0o644); err != nil {
			return err
		}
	}
	if wrong {
		return errors.New("messages were lost or repeated")
	}
	return nil
}

// measure runs the parts one after the other.
func measure(ctx context.Context, report io.Writer, w *world, p plan, only string) (wrong bool, err error) {
	for _, part := range []struct {
		name string
		run  func(context.Context, io.Writer, *world, plan) (count, error)
	}{{"pause", measurePauses}, {"backlog", measureBacklogs}, {"idle", measureIdle}} {
		if !strings.Contains(part.name, only) {
			continue
		}
		c, err := part.run(ctx, report, w, p)
		if err != nil {
			return false, fmt.Errorf("%s: %w", part.name, err)
		}
		fmt.Fprintf(report, "\n%s: %s\n", part.name, c)
		wrong = wrong || c.wrong()
	}
	return wrong, nil
}

func head(w io.Writer, embedded bool) {
	servers := "RocketMQ " + realmq.V5 + ", one broker per unit, etcd of one member"
	if embedded {
		servers = "embedded clusters and metastore"
	}
	fmt.Fprintf(w, `# Switching: pauses, backlogs, and what facts cost

%s · %s · two units on one machine, %d consumers each, topic of %d queues, bodies of %d B · %s %s/%s · %d cores

Servers, consumers, replicators and the manager share these cores%s. All times are milliseconds.
`, time.Now().Format(time.DateOnly), servers, agents, queues, size, runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), loadBefore())
}

// loadBefore tells what else the machine did in the minute before.
func loadBefore() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	load, _, _ := strings.Cut(string(text), " ")
	return "; the load average before was " + load
}
