package child_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/go-msha/msha/internal/child"
)

// parentEnv makes the test binary a parent that starts a child, prints its id and waits to be killed.
const parentEnv = "MSHA_TEST_PARENT"

func TestMain(m *testing.M) {
	if dir := os.Getenv(parentEnv); dir != "" {
		p, err := child.Start(child.Spec{Name: "sleep", Path: "/bin/sleep", Args: []string{"600"}, Output: filepath.Join(dir, "out")})
		if err != nil {
			os.Exit(1)
		}
		os.Stdout.WriteString(strconv.Itoa(p.PID()) + "\n")
		<-p.Exited()
		return
	}
	goleak.VerifyTestMain(m)
}

func start(t *testing.T, script string, env ...string) *child.Process {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Fatal("real servers are run on Linux")
	}
	dir := t.TempDir()
	p, err := child.Start(child.Spec{Name: "script", Path: "/bin/sh", Args: []string{"-c", script}, Env: env, Dir: dir,
		Output: filepath.Join(dir, "out")})
	require.NoError(t, err)
	t.Cleanup(p.Kill)
	return p
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func prints(p *child.Process, text string) func(context.Context) bool {
	return func(context.Context) bool { return bytes.Contains(p.Tail(), []byte(text)) }
}

func TestOutputAndEnvironment(t *testing.T) {
	p := start(t, `echo "1 $WHO"; echo 2 >&2; echo 3; exec sleep 600`, "WHO=me")
	require.NoError(t, p.Await(testContext(t), prints(p, "3\n")))
	require.Equal(t, "1 me\n2\n3\n", string(p.Tail()))
	require.Equal(t, "2\n3", string(child.LastLines(p.Tail(), 2)))
	require.True(t, p.Running())
	p.Kill()
	p.Kill()
	require.False(t, p.Running())
	<-p.Exited()
	require.ErrorContains(t, p.Freeze(), "ended")
	require.ErrorContains(t, p.Thaw(), "ended")
}

func TestAwaitSaysWhy(t *testing.T) {
	p := start(t, "echo no licence; exit 3")
	err := p.Await(testContext(t), func(context.Context) bool { return false })
	require.ErrorContains(t, err, "script ended while starting:\nno licence")
	require.False(t, errors.Is(err, child.ErrPortTaken))

	p = start(t, "echo bind: Address already in use; exit 1")
	require.ErrorIs(t, p.Await(testContext(t), func(context.Context) bool { return false }), child.ErrPortTaken)

	p = start(t, "echo waiting; exec sleep 600")
	require.NoError(t, p.Await(testContext(t), prints(p, "waiting")))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = p.Await(ctx, func(context.Context) bool { return false })
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "waiting", "the end of the output")

	_, err = child.Start(child.Spec{Name: "ghost", Path: "/no/such/program", Output: filepath.Join(t.TempDir(), "out")})
	require.ErrorContains(t, err, "start ghost")
}

func TestFrozenProcessStandsStill(t *testing.T) {
	p := start(t, `while :; do echo tick; done`)
	require.NoError(t, p.Await(testContext(t), prints(p, "tick")))
	require.NoError(t, p.Freeze())
	size := func() int64 {
		cwd, err := os.Readlink("/proc/" + strconv.Itoa(p.PID()) + "/cwd")
		require.NoError(t, err)
		info, err := os.Stat(filepath.Join(cwd, "out"))
		require.NoError(t, err)
		return info.Size()
	}
	before := size()
	require.Never(t, func() bool { return size() != before }, 100*time.Millisecond, 10*time.Millisecond)
	require.True(t, p.Running())
	require.NoError(t, p.Thaw())
	require.Eventually(t, func() bool { return size() > before }, time.Minute, time.Millisecond)
	require.NoError(t, p.Freeze())
	p.Kill()
	require.False(t, p.Running(), "a frozen process can be killed")
}

func TestChildDiesWithItsParent(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), parentEnv+"="+t.TempDir())
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	buf := make([]byte, 32)
	n, err := out.Read(buf)
	require.NoError(t, err)
	pid := strings.TrimSpace(string(buf[:n]))
	runs := func() bool {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		return err == nil && !bytes.Contains(stat, []byte(") Z ")) // dead, and nobody has asked for its result
	}
	require.True(t, runs())
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	require.Eventually(t, func() bool { return !runs() }, time.Minute, 5*time.Millisecond)
}

func TestPortsAreFreeAndGivenOnce(t *testing.T) {
	given := map[int]bool{}
	for range 400 {
		port, err := child.FreePort(0, 1)
		require.NoError(t, err)
		require.Less(t, port, 32768, "systems give the ones above to outgoing connections")
		for _, p := range []int{port, port + 1} {
			require.False(t, given[p])
			given[p] = true
		}
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		require.NoError(t, err)
		require.NoError(t, l.Close())
	}
}

func TestRetryPorts(t *testing.T) {
	starts := 0
	require.NoError(t, child.RetryPorts(func() error {
		if starts++; starts < 3 {
			return child.ErrPortTaken
		}
		return nil
	}))
	require.Equal(t, 3, starts)
	require.ErrorIs(t, child.RetryPorts(func() error { starts++; return os.ErrPermission }), os.ErrPermission)
	require.Equal(t, 4, starts)
	require.ErrorIs(t, child.RetryPorts(func() error { starts++; return child.ErrPortTaken }), child.ErrPortTaken)
	require.Equal(t, 8, starts)
}

func TestFind(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := child.Find("server", "run 'make deps'")
	require.ErrorIs(t, err, child.ErrMissing)
	require.ErrorContains(t, err, "server is not in PATH: run 'make deps'")
	t.Setenv("MSHA_CACHE", "/here")
	dir, err := child.CacheDir()
	require.NoError(t, err)
	require.Equal(t, "/here", dir)
	t.Setenv("MSHA_CACHE", "")
	t.Setenv("XDG_CACHE_HOME", "/there")
	dir, err = child.CacheDir()
	require.NoError(t, err)
	require.Equal(t, "/there/msha", dir)
}
