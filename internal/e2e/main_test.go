package e2e

import (
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// clientGoLeaks are the goroutines that client-go's Shutdown is known to leave behind for up to the time they sleep, or for good.
var clientGoLeaks = []goleak.Option{
	goleak.IgnoreTopFunction("github.com/patrickmn/go-cache.(*janitor).Run"),                                // of its trace context cache
	goleak.IgnoreAnyFunction("github.com/apache/rocketmq-client-go/v2/internal.(*rmqClient).Start.func1.1"), // looks for name servers
	goleak.IgnoreAnyFunction("github.com/apache/rocketmq-client-go/v2/internal.(*rmqClient).Start.func1.2"), // route updates
	goleak.IgnoreAnyFunction("github.com/apache/rocketmq-client-go/v2/internal.(*rmqClient).Start.func1.3"), // heartbeats
	goleak.IgnoreAnyFunction("github.com/apache/rocketmq-client-go/v2/internal.(*rmqClient).Start.func1.4"), // offsets of consumers
	goleak.IgnoreAnyFunction("github.com/apache/rocketmq-client-go/v2/internal.(*rmqClient).Start.func1.5"), // rebalance
	goleak.IgnoreAnyFunction("github.com/apache/rocketmq-client-go/v2/internal/remote.(*remotingClient).receiveResponse"),
}

// No package of ours may leave a goroutine behind.
func TestMain(m *testing.M) {
	code := m.Run()
	stopShared()
	if code == 0 {
		err := goleak.Find(clientGoLeaks...)
		for end := time.Now().Add(time.Minute); err != nil && time.Now().Before(end); err = goleak.Find(clientGoLeaks...) {
			time.Sleep(100 * time.Millisecond) // connections of servers that were just stopped are about to end
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// shared are the clusters of all scenarios on real RocketMQ: most of the time would go into starting JVMs.
var shared struct {
	sync.Mutex
	sites map[string]site
	stops []func()
}

// stopShared stops them once nobody needs them any more: an idle broker takes a third of a core.
func stopShared() {
	shared.Lock()
	defer shared.Unlock()
	for _, stop := range shared.stops {
		stop()
	}
	shared.sites, shared.stops = nil, nil
}
