//go:build real && !race

package open

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/nacostest"
	"github.com/go-msha/msha/internal/realstore"
)

var (
	costAgents = flag.Int("cost.agents", 1000, "simulated agents in TestCostOf…")
	costIdle   = flag.Duration("cost.idle", time.Minute, "how long they are idle")
)

// cost opens one client for each agent, as processes of their own have, which follows the documents an agent follows and is a member of
// a set; then it counts the requests the server gets while nothing happens. No document may be written.
func cost(t *testing.T, url string, requests func() int64) {
	t.Helper()
	ctx := t.Context()
	keys := []string{msha.TableKey, msha.UnitsKey}
	admin, err := Open(ctx, url, nil)
	require.NoError(t, err)
	defer admin.Close() //nolint:errcheck // a test
	before := map[string]msha.Revision{}
	for _, key := range keys {
		before[key], err = admin.Put(ctx, key, []byte("{}"), 0)
		require.NoError(t, err)
	}
	agents := make([]Store, *costAgents)
	defer func() {
		together(len(agents), func(i int) error { return agents[i].Close() })
	}()
	for _, err := range together(len(agents), func(i int) (err error) {
		agents[i], err = idleAgent(ctx, url, i, keys)
		return err
	}) {
		require.NoError(t, err)
	}
	for set := range costSets {
		members, err := admin.WatchMembers(ctx, memberSet(set))
		require.NoError(t, err)
		for list := range members {
			if len(list) == (len(agents)-set+costSets-1)/costSets {
				break
			}
		}
	}
	from, began := requests(), time.Now()
	time.Sleep(*costIdle) // nothing happens: that is what is measured
	took := time.Since(began)
	t.Logf("cost of %d idle agents: %.1f requests/s in %v", len(agents), float64(requests()-from)/took.Seconds(), took.Round(time.Second))
	for _, key := range keys {
		doc, err := admin.Get(ctx, key)
		require.NoError(t, err)
		require.Equal(t, before[key], doc.Revision, "a document was written by idle agents: %s", key)
	}
	require.Positive(t, requests()-from, "the count is of the wrong server")
}

// costSets is how many member sets the agents are in, as those of several units and groups.
const costSets = 20

func memberSet(i int) string { return fmt.Sprintf("agents-%d", i%costSets) }

// idleAgent returns once the agent has seen its documents and is a member.
func idleAgent(ctx context.Context, url string, i int, keys []string) (Store, error) {
	store, err := Open(ctx, url, nil)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		docs, err := store.Watch(ctx, key)
		if err != nil {
			return store, err
		}
		if doc := <-docs; doc.Revision == 0 {
			return store, fmt.Errorf("agent %d: %s was not delivered", i, key)
		}
	}
	_, err = store.Join(ctx, memberSet(i), msha.Member{ID: strconv.Itoa(i), Metadata: map[string]string{"unit": "unit-1"}})
	return store, err
}

// together calls f for 0 to n-1, up to 50 at once.
func together(n int, f func(i int) error) []error {
	errs, slots := make([]error, n), make(chan struct{}, 50)
	var wg sync.WaitGroup
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			errs[i] = f(i)
			<-slots
		})
	}
	wg.Wait()
	return errs
}

func TestCostOfEtcd(t *testing.T) {
	t.Parallel()
	s := realstore.Etcd(t, nil)
	cost(t, "etcd://"+s.Addr()+"/cost", func() int64 { return sumMetric(t, "http://"+s.Addr()+"/metrics", "grpc_server_msg_received_total") })
}

func TestCostOfRedis(t *testing.T) {
	t.Parallel()
	s := realstore.Redis(t, nil)
	c := goredis.NewClient(&goredis.Options{Addr: s.Addr()})
	defer c.Close() //nolint:errcheck // a test
	cost(t, "redis://"+s.Addr()+"/cost", func() int64 {
		info, err := c.Info(t.Context(), "stats").Result()
		require.NoError(t, err)
		_, rest, _ := strings.Cut(info, "total_commands_processed:")
		n, err := strconv.ParseInt(strings.TrimSpace(strings.SplitN(rest, "\n", 2)[0]), 10, 64)
		require.NoError(t, err)
		return n
	})
}

func TestCostOfNacos(t *testing.T) {
	t.Parallel()
	s, err := nacostest.Start(nil)
	require.NoError(t, err)
	defer s.Stop()
	cost(t, "nacos://"+s.Addr()+"/", func() (sum int64) {
		for _, n := range s.Requests() {
			sum += int64(n)
		}
		return sum
	})
}

// sumMetric adds up all series of a Prometheus counter.
func sumMetric(t *testing.T, url, name string) (sum int64) {
	t.Helper()
	resp, err := http.Get(url) //nolint:gosec,noctx // a server of this test
	require.NoError(t, err)
	defer resp.Body.Close() //nolint:errcheck // read only
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if line := lines.Text(); strings.HasPrefix(line, name) {
			v, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
			require.NoError(t, err)
			sum += int64(v)
		}
	}
	return sum
}
