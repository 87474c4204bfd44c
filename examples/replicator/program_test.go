package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/internal/child"
	"github.com/go-msha/msha/internal/nacostest"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/metastore/open"
	"github.com/go-msha/msha/replicate"
)

// program starts this program as a process.
func program(t *testing.T, args ...string) *child.Process {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	p, err := child.Start(child.Spec{Name: "replicator", Path: self, Args: args, Env: []string{beTheProgram + "=yes"}, Dir: t.TempDir(), Output: filepath.Join(t.TempDir(), "out")})
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("replicator %s:\n%s", strings.Join(args, " "), p.Tail())
		}
		p.Kill()
	})
	return p
}

// ends runs the program to its end and returns its exit status and what it printed.
func ends(t *testing.T, args ...string) (status int, out string) {
	t.Helper()
	p := program(t, args...)
	<-p.Exited()
	if err := p.Err(); err != nil {
		_, scanErr := fmt.Sscanf(err.Error(), "exit status %d", &status)
		require.NoError(t, scanErr, "%v: %s", err, p.Tail())
	}
	return status, string(p.Tail())
}

var listeningAt = regexp.MustCompile(`msg=listening url=(\S+)\n`)

// awaitReady waits until a running program is ready and returns its URL.
func awaitReady(t *testing.T, p *child.Process) (url string) {
	t.Helper()
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	eventually(t, "it listens", func() bool {
		if m := listeningAt.FindSubmatch(p.Tail()); m != nil {
			url = string(m[1])
		}
		return url != "" || !p.Running()
	})
	require.True(t, p.Running(), "%s", p.Tail())
	eventually(t, "it is ready", func() bool {
		status, _ := ask(t, http.MethodGet, url+"/readyz")
		return status == http.StatusOK
	})
	return url
}

func TestProgramOnNacos(t *testing.T) {
	s, err := nacostest.Start(nil)
	require.NoError(t, err)
	t.Cleanup(s.Stop)
	lifeOfTheProgram(t, "nacos://"+s.Addr())
}

// lifeOfTheProgram runs two processes under load, stops one, syncs, and audits what they did and what was broken on purpose.
func lifeOfTheProgram(t *testing.T, url string) {
	store, err := open.Open(t.Context(), url, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	w := startWorld(t, store)
	w.produce(100)

	file := filepath.Join(t.TempDir(), "replicator.yaml")
	require.NoError(t, os.WriteFile(file, []byte("unit: unit-1\nstore: "+url+"\ntopics: [SMS]\nlease: 30s\ndiscover: 200ms\nlisten: 127.0.0.1:0\nprogress: 300ms\nlimit-messages: 5000\n"), 0o600))
	first := program(t, "-config", file)
	firstURL := awaitReady(t, first)
	second := program(t, "-config", file)
	awaitReady(t, second)
	eventually(t, "they know of each other", func() bool {
		_, body := ask(t, http.MethodGet, firstURL+"/readyz")
		return strings.Contains(body, `"processes": 2`)
	})
	eventually(t, "everything is copied", func() bool { return w.copies() == 200 })

	w.produce(200)
	require.NoError(t, first.Terminate()) // it drains
	w.produce(100)
	<-first.Exited()
	require.NoError(t, first.Err(), "%s", first.Tail())
	require.Contains(t, string(first.Tail()), `msg="stopping: what is in flight is finished"`)
	require.Contains(t, string(first.Tail()), `msg="replicator stopped" unit=unit-1`)
	eventually(t, "the other goes on", func() bool { return w.copies() == 800 })

	status, out := ends(t, "sync", "-config", file, "-topic", "SMS", "-timeout", "60s")
	require.Zero(t, status, out)
	require.Contains(t, out, "sync: everything that SMS of unit-1 held is copied")
	audits(t, w, url)
	eventually(t, "it says how far it is", func() bool {
		return regexp.MustCompile(`msg=progress unit=unit-1 sharing=true .* lag=0 lag_bytes=0 oldest=0s delayed_at_origin=0 half_at_origin=0`).Match(second.Tail())
	})
	require.NoError(t, second.Terminate())
	<-second.Exited()
	require.NoError(t, second.Err())
}

// audits runs the subcommand on copies that are exact, then on ones that are not.
func audits(t *testing.T, w *world, url string) {
	resume := filepath.Join(t.TempDir(), "audit.json")
	status, out := ends(t, "audit", "-origin", "unit-1", "-target", "unit-2", "-store", url, "-topics", "SMS", "-resume", resume)
	require.Equal(t, exitOK, status, out)
	require.Contains(t, out, "audit: 800 compared, 0 missing, 0 doubled, 0 swapped, 0 altered, 0 foreign; 0 repeated")
	require.NoFileExists(t, resume, "it is finished")

	// somebody writes a copy of a message that the origin does not have, and one that is altered
	replica := remoting.Queue{Topic: "SMS-from-unit-1", Broker: "broker-unit-2"}
	res, err := w.mq["unit-2"].Pull(t.Context(), remoting.PullRequest{Queue: replica, Group: "g", Offset: 399, Max: 1})
	require.NoError(t, err)
	require.Len(t, res.Messages, 1)
	last := res.Messages[0]
	foreign := &remoting.Message{Body: []byte("not a copy"), Properties: map[string]string{"UNIQ_KEY": "x"}}
	_, err = w.mq["unit-2"].SendBatch(t.Context(), replica, "p", []*remoting.Message{foreign, {Body: []byte("altered"), Properties: last.Properties, Flag: last.Flag}})
	require.NoError(t, err)

	status, out = ends(t, "audit", "-unit", "unit-1", "-store", url, "-topics", "SMS", "-json")
	require.Equal(t, exitDifferent, status, out)
	text, after, _ := strings.Cut(out, "\n}\n")
	require.Contains(t, after, "replicator: the copies differ from the origin")
	report := &replicate.AuditReport{}
	require.NoError(t, json.NewDecoder(bytes.NewReader([]byte(text+"\n}"))).Decode(report), out)
	require.Positive(t, report.Count(replicate.Foreign))

	status, out = ends(t, "audit", "-unit", "unit-1", "-store", url, "-topics", "SMS")
	require.Equal(t, exitDifferent, status, out)
	require.Contains(t, out, "1 foreign")
	require.Contains(t, out, "replica offset 400: it has no origin")
	require.Contains(t, out, "1 body\n  offset 399: 10 bytes")

	status, out = ends(t, "audit", "-unit", "unit-1", "-store", url, "-topics", "SMS", "-range", "SMS/broker-unit-1/1=10-19")
	require.Equal(t, exitDifferent, status, "the other queue is compared as a whole: "+out)
	status, out = ends(t, "audit", "-unit", "unit-9", "-store", url)
	require.Equal(t, exitError, status, out)
	require.Contains(t, out, "unit-9")
	status, out = ends(t, "audit", "-unit", "unit-1", "-store", url, "-topics", "NONE")
	require.Equal(t, exitError, status, out)
	require.Contains(t, out, `copies of topic "NONE" not found`)
}

func TestSecondSignalDoesNotWait(t *testing.T) {
	s, err := nacostest.Start(nil)
	require.NoError(t, err)
	t.Cleanup(s.Stop)
	store, err := open.Open(t.Context(), "nacos://"+s.Addr(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	w := startWorld(t, store)
	silent := w.clusters["unit-2"].Inject(embedmq.Fault{Code: remoting.ReqSendBatchMessage, Drop: true, Times: 1 << 20})
	w.produce(10)
	p := program(t, "-unit", "unit-1", "-store", "nacos://"+s.Addr(), "-topics", "SMS", "-listen", "none")
	eventually(t, "a batch is on its way and has no answer", func() bool { return silent.Hits() > 0 })
	require.NoError(t, p.Terminate())
	eventually(t, "it waits for the answer", func() bool { return bytes.Contains(p.Tail(), []byte("stopping: what is in flight is finished")) })
	require.True(t, p.Running())
	require.NoError(t, p.Terminate())
	<-p.Exited()
	require.EqualError(t, p.Err(), "exit status 2")
	require.Contains(t, string(p.Tail()), "second signal, not waiting for what is in flight")
}

func TestProgramSaysWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"command":      {[]string{"replicate"}, `unknown command "replicate": use run (or none), audit or sync`},
		"no unit":      {[]string{"-store", "etcd://h:1"}, "the unit is missing"},
		"no topic":     {[]string{"sync", "-unit", "u", "-store", "etcd://h:1"}, "set -topic"},
		"bad range":    {[]string{"audit", "-unit", "u", "-store", "etcd://h:1", "-range", "SMS=1-2"}, "want topic/broker/queue=first-last"},
		"no such kind": {[]string{"-unit", "u", "-store", "zookeeper://h:1"}, "zookeeper"},
		"targets":      {[]string{"-unit", "u", "-store", "nacos://127.0.0.1:1", "-credentials", "/no/such/file"}, "credentials /no/such/file"},
	} {
		t.Run(name, func(t *testing.T) {
			status, out := ends(t, c.args...)
			require.Equal(t, exitError, status, out)
			require.Contains(t, out, c.says)
		})
	}
	status, out := ends(t, "audit", "-h")
	require.Equal(t, exitOK, status)
	require.Contains(t, out, "-resume")
}

func TestUnknownUnitEndsTheProgram(t *testing.T) {
	s, err := nacostest.Start(nil)
	require.NoError(t, err)
	t.Cleanup(s.Stop)
	store, err := open.Open(t.Context(), "nacos://"+s.Addr(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	startWorld(t, store)
	for _, command := range [][]string{{"-listen", "none"}, {"sync", "-topic", "SMS"}} {
		status, out := ends(t, append(command, "-unit", "unit-9", "-store", "nacos://"+s.Addr())...)
		require.Equal(t, exitError, status, out)
		require.Contains(t, out, "known units: unit-1, unit-2")
	}
}
