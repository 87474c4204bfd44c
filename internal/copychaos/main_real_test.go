//go:build real

package copychaos

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/go-msha/msha/internal/realmq"
	"github.com/go-msha/msha/metastore/open"
	"github.com/go-msha/msha/replicate"
)

// Defaults are for a short run; `make soak` gives more of everything.
var (
	version   = flag.String("copychaos.version", realmq.V5, "RocketMQ's version")
	messages  = flag.Int("copychaos.messages", 50_000, "messages sent in TestChaos")
	seconds   = flag.Int("copychaos.seconds", 32, "for how long they are sent, with a kill every two seconds")
	frozen    = flag.Duration("copychaos.freeze", 8*time.Second, "how long a replicator stands still in TestChaos")
	lease     = flag.Duration("copychaos.lease", 4*time.Second, "the replicators' lease in TestChaos")
	partition = flag.Duration("copychaos.partition", 15*time.Second, "how long units cannot reach each other in TestPartition")
	preload   = flag.Int("copychaos.preload", 12_000, "messages copied for each figure of TestDelay")
)

// batch is the replicators' BatchMessages: small, so that a repeated one says where it comes from.
const batch = 32

// childEnv makes the test binary a replicator: origin unit, metastore, lease.
const childEnv = "MSHA_TEST_COPYCHAOS"

func TestMain(m *testing.M) {
	if spec := os.Getenv(childEnv); spec != "" {
		if err := replicator(strings.Split(spec, " ")); err != nil {
			fmt.Println("ended:", err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// replicator copies until SIGTERM.
func replicator(spec []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	ttl, err := time.ParseDuration(spec[2])
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stdout, nil))
	store, err := open.Open(ctx, spec[1], &open.Options{Logger: log})
	if err != nil {
		return err
	}
	defer store.Close() //nolint:errcheck // the process ends
	r, err := replicate.New(spec[0], store, &replicate.Options{Topics: topics, Discover: 500 * time.Millisecond, BatchMessages: batch, Lease: ttl, Logger: log})
	if err != nil {
		return err
	}
	return r.Run(ctx)
}
