// Command smsgateway is the reference application: MTR accepts requests over HTTP and produces, Channel consumes and sends to the
// carrier, in two or more units. All parts may run in one process or each in its own; they meet in the metastore only:
//
//	smsgateway -role mtr,channel -msha.unit.name unit-1 -msha.commander.addr etcd://10.0.0.1:2379 -units unit-1=10.0.1.1:9876,unit-2=10.0.2.1:9876
//	smsgateway -role replicator -msha.unit.name unit-1 -msha.commander.addr etcd://10.0.0.1:2379
//	smsgateway -role manager -msha.commander.addr etcd://10.0.0.1:2379
//
// With -role demo it starts two clusters and whatever else it needs, moves a routing value there and back and counts.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/apache/rocketmq-client-go/v2/rlog"
)

// closeTimeout is how long a process that was told to end waits for its handlers.
const closeTimeout = 30 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "smsgateway:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	c, err := parseConfig(args, os.Getenv, os.Stderr)
	if err != nil {
		return err
	}
	rlog.SetLogLevel("error") // client-go's own log is a process global
	if c.role == "demo" {
		return runDemo(ctx, c, os.Stdout)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	g, err := startGateway(ctx, c, log)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		log.Info("stopping")
	case err = <-g.failed:
	}
	closeCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	return errors.Join(err, g.close(closeCtx))
}
