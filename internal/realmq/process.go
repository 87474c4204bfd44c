package realmq

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"
)

var errPortTaken = errors.New("port taken")

// process is one JVM. Its output goes to a file.
type process struct {
	name   string
	output string
	cmd    *exec.Cmd
	exited chan struct{} // closed once waited for
}

// spawn starts a JVM and returns without waiting for it to serve.
func spawn(name, lib, home string, flags []string, class, config string) (*process, error) {
	java, err := tool("java")
	if err != nil {
		return nil, err
	}
	args := append([]string{
		"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xss512k", "-XX:-UsePerfData",
		"--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED",
		"--add-opens=java.base/java.nio=ALL-UNNAMED",
		"--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
		"-Drocketmq.home.dir=" + home,
		"-Duser.home=" + home, // logs go below it
		"-Drocketmq.broker.diskSpaceWarningLevelRatio=0.99",
		"-Drocketmq.broker.diskSpaceCleanForciblyRatio=0.98",
	}, flags...)
	args = append(args, "-cp", filepath.Join(lib, "*"), class, "-c", config)
	p := &process{name: name, output: filepath.Join(home, name+".out"), exited: make(chan struct{})}
	out, err := os.OpenFile(p.output, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("realmq: %w", err)
	}
	p.cmd = exec.Command(java, args...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = home, out, out
	dieWithParent(p.cmd)
	started := make(chan error, 1)
	go func() {
		// The death signal is tied to the thread that forked, so that thread has to live as long as the server.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		out.Close() //nolint:errcheck // the child has its own descriptor
		started <- err
		if err == nil {
			p.cmd.Wait() //nolint:errcheck // killed, usually
			close(p.exited)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("realmq: start %s: %w", name, err)
	}
	return p, nil
}

// kill ends the process at once and waits for it.
func (p *process) kill() {
	p.cmd.Process.Kill() //nolint:errcheck // it may have ended by itself
	<-p.exited
}

func (p *process) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// await polls ready until it is true, the process ends or ctx does.
func (p *process) await(ctx context.Context, ready func(context.Context) bool) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		// "boot success" is printed after the first registration: a registration left from before a restart does not count.
		if bytes.Contains(p.tail(), []byte("boot success")) && ready(ctx) {
			return nil
		}
		select {
		case <-p.exited:
			if bytes.Contains(p.tail(), []byte("already in use")) {
				return fmt.Errorf("realmq: %s: %w", p.name, errPortTaken)
			}
			return fmt.Errorf("realmq: %s ended while starting:\n%s", p.name, lastLines(p.tail(), 30))
		case <-ctx.Done():
			return fmt.Errorf("realmq: %s did not get ready: %w\n%s", p.name, ctx.Err(), lastLines(p.tail(), 30))
		case <-tick.C:
		}
	}
}

func (p *process) tail() []byte { return tailFile(p.output, 64<<10) }

func tailFile(path string, limit int64) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close() //nolint:errcheck // read only
	size, err := f.Seek(0, 2)
	if err != nil {
		return nil
	}
	from := max(size-limit, 0)
	buf := make([]byte, size-from)
	n, _ := f.ReadAt(buf, from)
	return buf[:n]
}

func lastLines(b []byte, n int) []byte {
	b = bytes.TrimRight(b, "\n")
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] == '\n' {
			if n--; n == 0 {
				return b[i+1:]
			}
		}
	}
	return b
}
