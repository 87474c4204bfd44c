// Command compare plays one script against a hand-written loop and against this library, and counts what was lost, what was repeated and
// how long nobody worked. `make compare` runs it.
//
// The loop is what one writes with rocketmq-client-go: producers set a property, a copier per direction sends to the other cluster, push
// consumers look the property up in a table and skip what belongs to the other unit. It is played twice: as it is, and with a replay of the
// last ten seconds after each switch. File loop.go says what else it does well, and what it leaves out.
//
// Two units, each with a RocketMQ cluster of its own, are shared by all sides; everything else is a side's own. Consumers, copiers and
// replicators are processes. Their handlers write a line before and after the work; only these lines, and the answers that producers
// got, are counted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/apache/rocketmq-client-go/v2/rlog"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	rlog.SetLogLevel("fatal")
	err := error(nil)
	if spec := os.Getenv(childEnv); spec != "" {
		err = runChild(ctx, spec)
	} else {
		err = compare(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

// errWorse is how a comparison ends that the library did not pass.
var errWorse = errors.New("the library lost messages, or repeated more than the work of killed processes")

// sides are what is compared, in the order of the table's columns.
func sides() []side {
	return []side{loopSide{}, loopSide{replay: 10 * time.Second}, mshaSide{}}
}

func compare(ctx context.Context) (err error) {
	quick := flag.Bool("quick", false, "a short script, all sides at once, in less than two minutes")
	embedded := flag.Bool("embedded", false, "clusters and metastore inside this process: needs only Go")
	out := flag.String("out", "", "write the table to this file too")
	seed := flag.Uint64("seed", 1, "chooses each message's city, and which ones fail the first time")
	dir := flag.String("dir", "", "keep journals and logs in this new folder; empty: a temporary one")
	only := flag.String("only", "", "play only the sides whose names contain this")
	flag.Parse()
	if *dir == "" {
		if *dir, err = os.MkdirTemp("", "msha-compare-"); err != nil {
			return err
		}
		defer os.RemoveAll(*dir) //nolint:errcheck // a temporary folder
	} else if err := os.Mkdir(*dir, 0o755); err != nil {
		return err
	}
	if *dir, err = filepath.Abs(*dir); err != nil {
		return err
	}
	servers, err := start(ctx, *embedded)
	if err != nil {
		return err
	}
	defer servers.stop()

	var played []side
	for _, s := range sides() {
		if strings.Contains(s.name(), *only) {
			played = append(played, s)
		}
	}
	results, err := playAll(ctx, played, *quick, func(s side) *world {
		return &world{side: s, servers: servers, dir: filepath.Join(*dir, s.name()), quick: *quick, size: sizeOf(*quick), seed: *seed}
	})
	if err != nil {
		return err
	}
	var text strings.Builder
	report(io.MultiWriter(os.Stdout, &text), setting{embedded: *embedded, quick: *quick, size: sizeOf(*quick)}, results)
	if *out != "" {
		if err := os.WriteFile(*out, []byte(text.String()), 0o644); err != nil {
			return err
		}
	}
	for _, r := range results {
		if r.library && r.total.worse() {
			return errWorse
		}
	}
	return nil
}

// playAll plays the script for each side, one after the other or all at once.
func playAll(ctx context.Context, sides []side, atOnce bool, world func(side) *world) ([]result, error) {
	results, errs := make([]result, len(sides)), make([]error, len(sides))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	for i, s := range sides {
		wg.Go(func() {
			if results[i], errs[i] = world(s).play(ctx); errs[i] != nil {
				errs[i] = fmt.Errorf("%s: %w", s.name(), errs[i])
				cancel()
			}
		})
		if !atOnce {
			wg.Wait()
		}
	}
	wg.Wait()
	return results, errors.Join(errs...)
}
