// Command smsgateway is the reference application: MTR accepts requests over HTTP and produces, Channel consumes and sends to the
// carrier, in two or more units. With -role demo it starts two clusters, moves a routing value there and back and counts.
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
	<-ctx.Done()
	log.Info("stopping")
	closeCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 60*time.Second)
	defer cancel()
	return g.close(closeCtx)
}
