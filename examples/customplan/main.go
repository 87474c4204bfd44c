// Command customplan shows a switch with steps of one's own. Two units with agents and replicators run in this process, on embedded
// clusters; unit-2 owns guangzhou, whose messages are written into a toy database. The plan asks for approval, drains unit-2's gateway,
// freezes the database between the phases of the switch and thaws it afterwards; what fails before the commit is rolled back.
//
//	go run ./examples/customplan                    the switch is approved and ends well
//	go run ./examples/customplan -refuse            the approval is refused
//	go run ./examples/customplan -fail freeze-db    a step fails: what was done is undone
//
// The exit status is 0 if the routes moved, 3 if the approval was refused, 4 if a step failed and everything was rolled back, 5 if a
// step behind the commit failed, where nothing is undone, and 1 if anything else went wrong: above all if a message was lost or
// processed twice.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/apache/rocketmq-client-go/v2/rlog"

	"github.com/go-msha/msha"
)

// The exit statuses.
const (
	moved      = 0
	broken     = 1
	usage      = 2
	refused    = 3
	rolledBack = 4
	movedBadly = 5
)

func main() {
	rlog.SetLogLevel("error") // client-go's own log is a process global
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

type config struct {
	refuse bool
	fail   string // step
	log    bool
}

func parse(args []string, stderr io.Writer) (config, error) {
	var c config
	fs := flag.NewFlagSet("customplan", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.BoolVar(&c.refuse, "refuse", false, "refuse the approval")
	fs.StringVar(&c.fail, "fail", "", "step that fails, one of "+strings.Join(stepNames, ", "))
	fs.BoolVar(&c.log, "v", false, "print the log of all parts too")
	if err := fs.Parse(args); err != nil {
		return c, err
	}
	var err error
	switch {
	case fs.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q: %w", fs.Arg(0), msha.ErrInvalid)
	case c.fail != "" && !slices.Contains(stepNames, c.fail):
		err = fmt.Errorf("step %q: %w: use one of %s", c.fail, msha.ErrInvalid, strings.Join(stepNames, ", "))
	}
	if err != nil {
		fmt.Fprintln(stderr, "customplan:", err)
	}
	return c, err
}

// run plays the story and returns the exit status.
func run(ctx context.Context, args []string, out, stderr io.Writer) int {
	c, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return moved
	}
	if err != nil {
		return usage
	}
	status, err := play(ctx, c, out, stderr)
	if err != nil {
		fmt.Fprintln(stderr, "customplan:", err)
		return broken
	}
	return status
}
