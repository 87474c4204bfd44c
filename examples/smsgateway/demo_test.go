package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/nacostest"
)

var (
	lastLine    = regexp.MustCompile(`demo: (\d+) sent, (\d+) processed, (\d+) lost, (\d+) repeated; switch \d+ ms, back \d+ ms\n$`)
	processLine = regexp.MustCompile(`process: (\S+) +(\S+) +pid (\d+) `)
)

// processes are the pids of the demo's processes by name, as it printed them.
func processes(out []byte) map[string]int {
	pids := map[string]int{}
	for _, m := range processLine.FindAllSubmatch(out, -1) {
		pids[string(m[1])], _ = strconv.Atoi(string(m[3]))
	}
	return pids
}

func demoConfig(t *testing.T, args ...string) config {
	t.Helper()
	c, err := parseConfig(append([]string{"-log-dir", t.TempDir()}, args...), func(string) string { return "" }, io.Discard)
	require.NoError(t, err)
	return c
}

// playDemo plays the whole story and returns what it printed.
func playDemo(t *testing.T, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var out bytes.Buffer
	require.NoError(t, runDemo(ctx, demoConfig(t, args...), &out), "%s", &out)
	line := lastLine.FindStringSubmatch(out.String())
	require.NotNil(t, line, out.String())
	sent := 4*closedLoop + retrying + unprocessed + produced
	require.Equal(t, []string{strconv.Itoa(sent), strconv.Itoa(sent), "0", "0"}, line[1:])
	require.Regexp(t, `from unit-2 +`+strconv.Itoa(retrying+unprocessed+produced)+` +`+strconv.Itoa(2*closedLoop), out.String())
	return out.Bytes()
}

// playInProcesses plays it with a shared metastore.
func playInProcesses(t *testing.T, store, says string) {
	t.Helper()
	out := playDemo(t, "-store", store)
	require.Regexp(t, `metastore: `+store+` at `+store+`://127\.0\.0\.1:\d+, `+says, string(out))
	requireFiveEnded(t, processes(out))
}

func requireFiveEnded(t *testing.T, pids map[string]int) {
	t.Helper()
	require.Len(t, pids, 5)
	different := map[int]bool{os.Getpid(): true}
	for name, pid := range pids {
		different[pid] = true
		require.False(t, exists(pid), "%s (pid %d) is left", name, pid)
	}
	require.Len(t, different, 6)
}

func TestDemo(t *testing.T) {
	t.Parallel()
	out := playDemo(t)
	require.Contains(t, string(out), "metastore: memory")
	require.Equal(t, map[string]int{"smsgateway": os.Getpid()}, processes(out))
}

func TestDemoOnNacos(t *testing.T) {
	t.Parallel()
	playInProcesses(t, "nacos", "the test server inside the demo's process")
}

// watcher is an output that does something once it has seen a text.
type watcher struct {
	bytes.Buffer
	text string
	do   func(sofar []byte)
}

func (w *watcher) Write(p []byte) (int, error) {
	n, err := w.Buffer.Write(p)
	if w.do != nil && bytes.Contains(w.Bytes(), []byte(w.text)) {
		do := w.do
		w.do = nil
		do(w.Bytes())
	}
	return n, err
}

func TestDemoFailsWhenAProcessEnds(t *testing.T) {
	for _, victim := range []string{"unit-2", "replicator-2"} {
		t.Run(victim, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			out := &watcher{text: "2. unit-2's carrier fails", do: func(sofar []byte) { kill(t, processes(sofar)[victim]) }}
			c := demoConfig(t, "-store", "nacos")
			err := runDemo(ctx, c, out)
			require.NoError(t, ctx.Err(), "it does not hang")
			require.ErrorContains(t, err, "process "+victim+" (pid "+strconv.Itoa(processes(out.Bytes())[victim])+") ended unexpectedly: signal: killed")
			require.ErrorContains(t, err, "level=INFO msg=", "the end of its log")
			require.ErrorContains(t, err, c.logDir)
			requireFiveEnded(t, processes(out.Bytes()))
		})
	}
}

// TestDemoThatIsInterrupted leaves neither processes nor, on a server that was there before, documents.
func TestDemoThatIsInterrupted(t *testing.T) {
	t.Parallel()
	server, err := nacostest.Start(nil)
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	out := &watcher{text: "2. unit-2's carrier fails", do: func([]byte) { cancel() }}
	c := demoConfig(t, "-msha.commander.addr", "nacos://"+server.Addr())
	err = runDemo(ctx, c, out)
	require.ErrorIs(t, err, context.Canceled)
	require.NotContains(t, err.Error(), "process", "all ended well")
	require.Contains(t, out.String(), server.Addr()+", given by msha.commander.addr")
	requireFiveEnded(t, processes(out.Bytes()))
	require.NoError(t, checkStore(t.Context(), c, silent), "it can be used again")
}

func TestDemoRefusesAStoreThatCannotSwitch(t *testing.T) {
	t.Parallel()
	server, err := nacostest.Start(&nacostest.Options{Faults: nacostest.Faults{IgnoreCas: true}})
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	var out bytes.Buffer
	err = runDemo(t.Context(), demoConfig(t, "-msha.commander.addr", server.Addr()), &out)
	require.ErrorIs(t, err, msha.ErrUnsafe)
	require.Empty(t, processes(out.Bytes()))
}

func TestDemoFailsWhenAProcessCannotStart(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := demoConfig(t, "-store", "nacos", "-values", "unit-9=beijing")
	err := runDemo(t.Context(), c, &out)
	require.ErrorContains(t, err, "process unit-1")
	require.ErrorContains(t, err, "unit-9", "it says why")
}

func TestVerdictFails(t *testing.T) {
	for name, spoil := range map[string]func(*demo, *Journal){
		"lost":        func(d *demo, j *Journal) { j.Sent("unit-1", "b"); d.sent++ },
		"repeated":    func(_ *demo, j *Journal) { j.Processed("unit-2", "a") },
		"send missed": func(d *demo, _ *Journal) { d.sent++ },
	} {
		d, j := &demo{out: &bytes.Buffer{}, sent: 1}, NewJournal()
		j.Sent("unit-1", "a")
		j.Processed("unit-1", "a")
		require.NoError(t, d.verdict(j.Entries(), 0, 0), name)
		spoil(d, j)
		require.Error(t, d.verdict(j.Entries(), 0, 0), name)
	}
}

func exists(pid int) bool {
	p, err := os.FindProcess(pid)
	return err == nil && p.Signal(syscall.Signal(0)) == nil
}

func kill(t *testing.T, pid int) {
	t.Helper()
	p, err := os.FindProcess(pid)
	require.NoError(t, err)
	require.NoError(t, p.Kill())
}
