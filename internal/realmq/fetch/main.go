// Command fetch puts the jars of the real servers into the cache and prints where they are.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/go-msha/msha/internal/realmq"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	for _, version := range realmq.Versions() {
		lib, err := realmq.Fetch(ctx, version)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Printf("RocketMQ %s: %s\n", version, lib)
	}
}
