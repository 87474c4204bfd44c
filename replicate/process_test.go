package replicate

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/child"
	"github.com/go-msha/msha/internal/farstore"
)

// farStore reads linearizably, as the memory store does.
type farStore struct{ farstore.Client }

func (s farStore) GetFresh(ctx context.Context, key string) (msha.Document, error) {
	return s.Get(ctx, key)
}

func (f *fleet) serveStore() string {
	server := httptest.NewServer(farstore.Handler(f.store))
	f.Cleanup(server.Close)
	return server.URL
}

const (
	replicatorStore = "MSHA_TEST_REPLICATOR_STORE"
	replicatorPlace = "MSHA_TEST_REPLICATOR_PLACE" // set: its death may be seen by its process id
	replicatorPlain = "MSHA_TEST_REPLICATOR_PLAIN" // set: all options are the defaults

	placeLease = 12 * time.Second // of one whose death may be seen by its process id
)

// replicateIfChild makes the test binary a replicator that stops gracefully on SIGTERM.
func replicateIfChild() bool {
	url := os.Getenv(replicatorStore)
	if url == "" {
		return false
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	o := fleetOptions()
	if o.noPlace = os.Getenv(replicatorPlace) == ""; !o.noPlace {
		o.Lease = placeLease
	}
	if os.Getenv(replicatorPlain) != "" {
		o = nil
	}
	r, err := New("unit-1", farStore{farstore.Client{URL: url}}, o)
	if err == nil {
		err = r.Run(ctx)
	}
	fmt.Println("ended:", err)
	return true
}

func (f *fleet) process(url string, env ...string) *child.Process {
	f.Helper()
	self, err := os.Executable()
	require.NoError(f, err)
	p, err := child.Start(child.Spec{
		Name: "replicator", Path: self, Env: append(env, replicatorStore+"="+url), Dir: f.TempDir(), Output: filepath.Join(f.TempDir(), "out"),
	})
	require.NoError(f, err)
	f.Cleanup(p.Kill)
	return p
}

// session waits until one more member is there and returns its session.
func (f *fleet) session(known map[string]*child.Process, p *child.Process) string {
	f.Helper()
	found := ""
	eventually(f.T, "it joins", func() bool {
		for _, m := range f.crew().Members {
			if known[m.Session] == nil {
				found = m.Session
			}
		}
		return found != ""
	})
	known[found] = p
	return found
}

// gone waits until the document does not list a session and everything is assigned.
func (f *fleet) gone(session string) time.Duration {
	f.Helper()
	start := time.Now()
	eventually(f.T, "its shares are taken over", func() bool {
		c := f.crew()
		return c.find(session) == nil && len(c.owned(session)) == 0 && len(c.owned("")) == 0
	})
	return time.Since(start)
}

func TestProcessesKilledFrozenAndStopped(t *testing.T) {
	f := startFleet(t)
	url, known := f.serveStore(), map[string]*child.Process{}
	stop := f.sending()
	var sessions []string
	for range 3 {
		sessions = append(sessions, f.session(known, f.process(url)))
	}
	f.balanced(3)

	t.Run("killed", func(*testing.T) {
		known[sessions[0]].Kill()
		took := f.gone(sessions[0])
		t.Logf("killed: taken over after %v with a lease of %v", took, fleetLease)
		require.Less(t, took, 10*fleetLease)
		sessions[0] = f.session(known, f.process(url))
		f.balanced(3)
	})
	t.Run("frozen", func(*testing.T) {
		require.NoError(t, known[sessions[1]].Freeze())
		took := f.gone(sessions[1])
		t.Logf("frozen: taken over after %v", took)
		require.Less(t, took, 10*fleetLease)
		rest(t, fleetLease)
		require.NoError(t, known[sessions[1]].Thaw())
		f.session(known, known[sessions[1]])
		f.balanced(3)
	})
	t.Run("stopped", func(*testing.T) {
		p := known[sessions[2]]
		process, err := os.FindProcess(p.PID())
		require.NoError(t, err)
		require.NoError(t, process.Signal(syscall.SIGTERM))
		<-p.Exited()
		require.Equal(t, "ended: <nil>\n", string(p.Tail()))
		c := f.crew()
		require.Nil(t, c.find(sessions[2]), "it has left: nobody waits for its lease")
		require.Empty(t, c.owned(sessions[2]))
		f.balanced(2)
	})
	stop()
	repeats := f.exact()
	f.requireRepeats(repeats, 2)
	require.LessOrEqual(t, len(repeats), 8, "only queues that a killed or a frozen one had: %v", repeats)
}

func TestAProcessKilledAndStartedAgainGoesOnAtOnce(t *testing.T) {
	f := startFleet(t)
	url, known := f.serveStore(), map[string]*child.Process{}
	stop := f.sending()
	for range 4 {
		p := f.process(url, replicatorPlace+"=1")
		session := f.session(known, p)
		start := time.Now()
		eventually(t, "it has everything", func() bool {
			c := f.crew()
			return len(c.owned(session)) == fleetShares
		})
		require.Less(t, time.Since(start), placeLease/2, "the lease of the one before is not waited for")
		before := f.copied()
		eventually(t, "it copies", func() bool { return f.copied() > before })
		p.Kill()
	}
	f.process(url, replicatorPlace+"=1")
	stop()
	f.requireRepeats(f.exact(), 4)
	eventually(t, "the dead ones' slots are free", func() bool { return len(f.crew().Members) == 1 })
}

// copied is the number of copies there are.
func (f *fleet) copied() (n int64) {
	doc, err := f.store.Get(context.Background(), msha.LayoutKey+".unit-1.unit-2")
	if err != nil {
		return 0
	}
	l, err := parseLayout("", doc.Value)
	require.NoError(f, err)
	for _, a := range l.Queues {
		end, err := f.sites["unit-2"].mq.MaxOffset(context.Background(), a.Target)
		require.NoError(f, err)
		n += end
	}
	return n
}
