//go:build real

package realmq_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/internal/realmq"
	"github.com/go-msha/msha/internal/remoting"
)

func TestLifeOfACluster(t *testing.T) {
	for _, version := range realmq.Versions() {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			lifeOfACluster(t, version)
		})
	}
}

func lifeOfACluster(t *testing.T, version string) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	c, err := realmq.Start(ctx, &realmq.Options{Version: version, Brokers: []string{"one", "two"}})
	require.NoError(t, err)
	defer c.Stop()
	dir := c.Dir()
	require.Len(t, processes(t, dir), 3)

	client := remoting.NewClient(nil)
	defer client.Close()
	cl := remoting.NewCluster([]string{c.NameServer()}, client)
	addr := c.Addr("one")
	require.NoError(t, cl.CreateTopic(ctx, addr, remoting.TopicConfig{Name: "topic", Read: 1, Write: 1}))
	q := remoting.Queue{Topic: "topic", Broker: "one"}
	for i := range 3 {
		res, err := cl.Send(ctx, q, "producers", &remoting.Message{Body: []byte{byte(i)}})
		require.NoError(t, err)
		require.EqualValues(t, i, res.QueueOffset)
	}

	require.NoError(t, c.Kill("one"))
	require.Len(t, processes(t, dir), 2)
	_, err = cl.MaxOffset(ctx, q)
	require.Error(t, err)
	require.NoError(t, c.Restart(ctx, "one"))
	require.Equal(t, addr, c.Addr("one"), "the broker keeps its port")
	require.Eventually(t, func() bool { n, err := cl.MaxOffset(ctx, q); return err == nil && n == 3 }, time.Minute, 50*time.Millisecond)
	res, err := cl.Pull(ctx, remoting.PullRequest{Queue: q, Group: "readers"})
	require.NoError(t, err)
	require.Len(t, res.Messages, 3)

	c.Stop()
	require.Error(t, c.Restart(ctx, "one"), "a stopped cluster stays stopped")
	require.Empty(t, processes(t, dir))
	require.NoDirExists(t, dir)
}

// processes lists the processes that were told of a folder in their command line.
func processes(t *testing.T, dir string) (pids []string) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && strings.Contains(string(b), dir) {
			pids = append(pids, filepath.Base(filepath.Dir(f)))
		}
	}
	return pids
}

func TestStartReportsWhy(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	_, err := realmq.Start(t.Context(), &realmq.Options{JavaFlags: []string{"-Xmx1k"}})
	require.ErrorContains(t, err, "heap")
	left, err := os.ReadDir(os.TempDir())
	require.NoError(t, err)
	require.Empty(t, left)
}
