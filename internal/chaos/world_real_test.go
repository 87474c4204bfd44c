//go:build real

package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/child"
	"github.com/go-msha/msha/internal/realmq"
	"github.com/go-msha/msha/internal/realstore"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/metastore/open"
	"github.com/go-msha/msha/route"
)

var values = []string{"beijing", "shanghai", "guangzhou", "shenzhen", "chengdu", "wuhan", "xian", "dalian"}

// world is a running installation.
type world struct {
	*testing.T
	ctx      context.Context
	dir      string // outputs of processes
	journals string // and what handlers, producers and this test wrote down
	names    []string
	etcd     *realstore.Server
	url      string
	store    msha.MetaStore
	sites    map[string]*realmq.Cluster
	servers  map[string]*nameServer
	ways     map[[2]string]*way // from a unit to another one
	managers map[string]string  // URLs by unit

	processes map[string]*process
	parts     sync.Map // locks of what no two faults concern at the same time
	reader    *Reader

	mu       sync.Mutex
	evidence Evidence
	done     map[string]bool // messages that a handler ended well with
	left     map[string]bool // those sent that it did not
	failures []string
	record   *os.File // faults and switches as they end
}

// start brings everything up, with a metastore of so many members. With a test that fails its folder stays.
func start(t *testing.T, ctx context.Context, members int) *world {
	dir, err := *folder, error(nil)
	if dir == "" {
		dir, err = os.MkdirTemp("", "msha-chaos-")
	}
	require.NoError(t, err)
	w := &world{
		T: t, ctx: ctx, dir: dir, journals: filepath.Join(dir, "journals"), sites: map[string]*realmq.Cluster{}, servers: map[string]*nameServer{},
		done: map[string]bool{}, left: map[string]bool{}, ways: map[[2]string]*way{}, managers: map[string]string{}, processes: map[string]*process{},
	}
	t.Cleanup(func() {
		if t.Failed() || *folder != "" {
			t.Logf("journals and logs of processes: %s", dir)
			return
		}
		os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	})
	require.NoError(t, os.MkdirAll(w.journals, 0o755))
	w.reader = NewReader(w.journals)
	w.record, err = os.Create(filepath.Join(w.journals, "record.json"))
	require.NoError(t, err)
	t.Cleanup(func() { w.record.Close() }) //nolint:errcheck // each write was checked
	for i := range *units {
		w.names = append(w.names, fmt.Sprintf("unit-%d", i+1))
	}
	w.etcd = realstore.Etcd(t, &realstore.EtcdOptions{Members: members})
	w.url = "etcd://" + strings.Join(w.etcd.Addrs(), ",") + "/msha/chaos"
	w.store, err = open.Open(ctx, w.url, &open.Options{Logger: quiet})
	require.NoError(t, err)
	t.Cleanup(func() { w.store.Close() }) //nolint:errcheck // the server goes too
	begun := time.Now()
	w.startSites()
	t.Logf("servers started in %.0f seconds", time.Since(begun).Seconds())
	w.writeDocuments()
	w.startProcesses()
	t.Logf("processes serve after %.0f seconds", time.Since(begun).Seconds())
	return w
}

// startSites starts the clusters, all at once.
func (w *world) startSites() {
	clusters, errs := make([]*realmq.Cluster, len(w.names)), make([]error, len(w.names))
	var wg sync.WaitGroup
	for i, name := range w.names {
		wg.Go(func() {
			clusters[i], errs[i] = realmq.Start(w.ctx, &realmq.Options{
				Brokers: w.brokers(name), DelayLevels: []time.Duration{time.Second, time.Second, time.Second, time.Second},
				Config: map[string]string{"registerNameServerPeriod": "10000"}, // as often as they can: a restarted name server knows nothing
			})
		})
	}
	wg.Wait()
	for i, c := range clusters {
		if c != nil {
			w.Cleanup(func() {
				if w.Failed() {
					w.Logf("RocketMQ of %s:\n%s", w.names[i], c.Logs(10))
				}
				c.Stop()
			})
		}
	}
	for i, name := range w.names {
		require.NoError(w, errs[i])
		w.sites[name] = clusters[i]
		server, err := findNameServer(clusters[i])
		require.NoError(w, err)
		w.Cleanup(server.stop)
		w.servers[name] = server
		w.createTopic(name)
	}
	for _, from := range w.names {
		for _, to := range w.names {
			if from != to {
				w.ways[[2]string{from, to}] = newWay(w.T, w.sites[to], w.brokers(to)...)
			}
		}
	}
}

func (w *world) brokers(unit string) []string { return Brokers(w.names, unit, *second) }

func (w *world) createTopic(unit string) {
	client := remoting.NewClient(&remoting.Options{Logger: quiet})
	defer client.Close()
	cl := remoting.NewCluster([]string{w.sites[unit].NameServer()}, client)
	brokers := w.brokers(unit)
	for _, b := range brokers {
		require.NoError(w, cl.CreateTopic(w.ctx, w.sites[unit].Addr(b), remoting.TopicConfig{Name: topic, Read: 4, Write: 4}))
	}
	w.eventually("the name server knows the topic", func() bool { // client-go gives up at once
		cl.Forget()
		queues, err := cl.Queues(w.ctx, topic, true)
		return err == nil && len(queues) == 4*len(brokers)
	})
}

func (w *world) writeDocuments() {
	doc, owners := &msha.Units{}, map[string][]string{}
	for i, name := range w.names {
		doc.Units = append(doc.Units, msha.UnitInfo{Name: name, NameServers: []string{w.sites[name].NameServer()}, State: "live"})
		for j := i; j < len(values); j += len(w.names) {
			owners[name] = append(owners[name], values[j])
		}
	}
	table, err := route.New(w.names, owners)
	require.NoError(w, err)
	require.NoError(w, route.Init(w.ctx, w.store, table, doc))
}

func (w *world) startProcesses() {
	for _, unit := range w.names {
		ways := map[string]string{}
		for _, other := range w.names {
			if other != unit {
				ways[w.sites[other].NameServer()] = w.ways[[2]string{unit, other}].server
			}
		}
		add := func(name string, r role) {
			r.Unit, r.Store, r.Journal, r.Gate, r.Resume, r.Ways = unit, w.url, w.journals, *gate, *resume, ways
			p := &process{name: name, role: r, dir: w.dir, failed: w.fail, meant: map[*child.Process]bool{}}
			w.processes[name] = p
			w.Cleanup(p.stop)
			require.NoError(w, p.start())
		}
		port, err := child.FreePort(0)
		require.NoError(w, err)
		listen := fmt.Sprintf("127.0.0.1:%d", port)
		w.managers[unit] = "http://" + listen
		add(ManagerName(unit), role{Kind: "manager", Listen: listen})
		for n := range Agents {
			add(AgentName(unit, n), role{Kind: "agent"})
		}
		for _, other := range w.names {
			if other != unit {
				add(ReplicatorName(unit, other), role{Kind: "replicator", Target: other})
			}
		}
	}
	for _, p := range w.processes {
		require.NoError(w, p.serves(w.ctx))
	}
}

// fail notes what must not happen and lets the round go on: its evidence is wanted.
func (w *world) fail(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failures = append(w.failures, fmt.Sprintf(format, args...))
}

func (w *world) noteFault(f Fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.evidence.Faults = append(w.evidence.Faults, f)
	w.write(f)
}

func (w *world) noteSwitch(s Switch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.evidence.Switches = append(w.evidence.Switches, s)
	w.write(s)
}

// write keeps what was noted for who looks into the folder; the lock is held.
func (w *world) write(v any) {
	line, err := json.Marshal(v)
	if err == nil {
		_, err = w.record.Write(append(line, '\n'))
	}
	if err != nil {
		w.failures = append(w.failures, err.Error())
	}
}

// read adds to the evidence what the journals have gained.
func (w *world) read() *Evidence {
	w.Helper()
	lines, err := w.reader.Read()
	require.NoError(w, err)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.evidence.Lines = append(w.evidence.Lines, lines...)
	for _, l := range lines {
		switch {
		case l.Event == End:
			w.done[l.Key] = true
			delete(w.left, l.Key)
		case l.Event == Sent && !w.done[l.Key]:
			w.left[l.Key] = true
		}
	}
	return &w.evidence
}

// eventually waits for what must happen; the end of the test's context is the failure.
func (w *world) eventually(what string, ok func() bool) {
	w.Helper()
	for !ok() {
		if w.ctx.Err() != nil {
			w.Fatalf("%s: not in time", what)
		}
		pause(w.ctx, 100*time.Millisecond)
	}
}
