//go:build real && linux && !race

package replicate

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/child"
	"github.com/go-msha/msha/internal/farstore"
	"github.com/go-msha/msha/internal/realmq"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/metastore/memory"
)

var backlogBytes = flag.Int64("replicate.backlog", 1<<30, "bodies to copy in the test of the replicator's memory")

const (
	backlogQueues = 200
	backlogBody   = 4096
	maxResident   = 512 << 20
)

// TestResidentMemoryWithALargeBacklog copies what 200 queues hold with a replicator in a process of its own. The origin gives large pull
// answers, which is what takes memory; the race detector would take much more.
func TestResidentMemoryWithALargeBacklog(t *testing.T) {
	ctx, store := t.Context(), memory.New()
	client := remoting.NewClient(nil)
	t.Cleanup(client.Close)
	clusters := map[string]*remoting.Cluster{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	units := msha.Units{}
	for _, name := range []string{"unit-1", "unit-2"} {
		wg.Go(func() {
			c := realmq.New(t, &realmq.Options{Brokers: []string{"broker-" + name}, PullCount: 1024, Config: map[string]string{"mappedFileSizeCommitLog": fmt.Sprint(256 << 20)}})
			mu.Lock()
			defer mu.Unlock()
			clusters[name] = remoting.NewCluster([]string{c.NameServer()}, client)
			units.Units = append(units.Units, msha.UnitInfo{Name: name, NameServers: []string{c.NameServer()}, State: "live"})
		})
	}
	wg.Wait()
	require.Len(t, clusters, 2)
	value, err := json.Marshal(units)
	require.NoError(t, err)
	_, err = store.Put(ctx, msha.UnitsKey, value, 0)
	require.NoError(t, err)
	server := httptest.NewServer(farstore.Handler(store))
	t.Cleanup(server.Close)

	start := time.Now()
	each := fillQueues(t, clusters["unit-1"])
	t.Logf("produced %d messages in each of %d queues in %v", each, backlogQueues, time.Since(start))

	self, err := os.Executable()
	require.NoError(t, err)
	p, err := child.Start(child.Spec{
		Name: "replicator", Path: self, Dir: t.TempDir(), Output: filepath.Join(t.TempDir(), "out"), Env: []string{replicatorStore + "=" + server.URL, replicatorPlain + "=1"},
	})
	require.NoError(t, err)
	t.Cleanup(p.Kill)
	start = time.Now()
	for id := 0; id < backlogQueues; { // one after the other: nothing may be copied beyond the end
		end, err := clusters["unit-2"].MaxOffset(ctx, replicaQueue("SMS", id))
		if err == nil && end >= each {
			require.Equal(t, each, end)
			id++
			continue
		}
		require.True(t, p.Running(), "%s", p.Tail())
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			t.Fatal("queue", id, "holds", end, "of", each, err)
		}
	}
	peak := peakMemory(t, p.PID())
	t.Logf("copied in %v, resident at most %d MiB", time.Since(start), peak>>20)
	require.Less(t, peak, int64(maxResident))
}

// fillQueues produces the backlog, the same in each queue, and returns the number of messages in one.
func fillQueues(t *testing.T, c *remoting.Cluster) int64 {
	ctx := t.Context()
	brokers, err := c.Brokers(ctx)
	require.NoError(t, err)
	for _, addr := range brokers {
		require.NoError(t, c.CreateTopic(ctx, addr, remoting.TopicConfig{Name: "SMS", Read: backlogQueues, Write: backlogQueues}))
	}
	each := *backlogBytes / backlogBody / backlogQueues
	batch := make([]*remoting.Message, 200)
	for i := range batch {
		batch[i] = &remoting.Message{Body: noise(t, backlogBody), Properties: map[string]string{"UNIQ_KEY": fmt.Sprint("key-", i)}}
	}
	fill := func(ctx context.Context, id int) error {
		for left := each; left > 0; left -= int64(len(batch)) {
			if _, err := c.SendBatch(ctx, remoting.Queue{Topic: "SMS", Broker: "broker-unit-1", ID: id}, "p", batch[:min(left, int64(len(batch)))]); err != nil {
				return err
			}
		}
		return nil
	}
	errs := make(chan error)
	const producers = 4
	for n := range producers {
		go func() {
			var err error
			for id := n; id < backlogQueues && err == nil; id += producers {
				err = fill(ctx, id)
			}
			errs <- err
		}()
	}
	for range producers {
		require.NoError(t, <-errs)
	}
	return each
}

// peakMemory is the most that a process had resident.
func peakMemory(t *testing.T, pid int) (bytes int64) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	_, line, found := strings.Cut(string(status), "VmHWM:")
	require.True(t, found)
	_, err = fmt.Sscan(line, &bytes)
	require.NoError(t, err)
	return bytes << 10
}
