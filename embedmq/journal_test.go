package embedmq_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/internal/remoting"
)

// again closes a cluster and starts the next one on its folder.
func (f *fixture) again(o *embedmq.Options) *fixture {
	f.Helper()
	f.client.Close()
	f.Close()
	return start(f.T, o)
}

func TestFolderKeepsEverything(t *testing.T) {
	clock := embedmq.NewManualClock(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
	o := &embedmq.Options{Dir: t.TempDir(), Clock: clock, Brokers: []string{name, "b/2"}}
	f := start(t, o)
	q, cut, raised, gone := f.queue("topic"), f.queue("cut"), f.queue("raised"), f.queue("gone")
	f.group("g")
	f.group("dropped")
	for _, q := range []remoting.Queue{q, cut, raised, gone} {
		f.put(q, 0, 5)
		require.NoError(t, f.mq.Commit(f.ctx, "g", q, 3))
		require.NoError(t, f.mq.Commit(f.ctx, "dropped", q, 4))
	}
	_, err := f.mq.Pull(f.ctx, remoting.PullRequest{Queue: q, Group: "pulled", CommitOffset: 2})
	require.NoError(t, err)
	require.NoError(t, f.RaiseMinOffset(raised, 4))
	require.NoError(t, f.mq.DeleteTopic(f.ctx, f.BrokerAddr(name), "gone"))
	resp, err := f.client.Call(f.ctx, f.BrokerAddr(name), remoting.NewRequest(remoting.ReqDeleteGroup, map[string]string{"groupName": "dropped", "cleanOffset": "true"}, nil))
	require.NoError(t, err)
	require.Zero(t, resp.Code)
	for _, level := range []string{"1", "3"} {
		_, err = f.mq.Send(f.ctx, q, "p", &remoting.Message{Body: []byte("level " + level), Properties: map[string]string{"DELAY": level}})
		require.NoError(t, err)
	}
	clock.Advance(time.Second)
	f.kill()
	require.NoError(t, f.Restart(name, embedmq.LoseTail(2, "cut")))
	f.put(cut, 3, 1)

	for range 2 { // what was read is what is kept
		f = f.again(o)
		require.Zero(t, f.LostBytes(name))
		require.Equal(t, []string{"m0", "m1", "m2", "m3", "m4", "level 1"}, f.bodies(q))
		require.Equal(t, []string{"m0", "m1", "m2", "m3"}, f.bodies(cut))
		require.Equal(t, []string{"m4"}, f.bodies(raised))
		topics, err := f.mq.TopicConfigs(f.ctx, f.BrokerAddr(name))
		require.NoError(t, err)
		require.Equal(t, remoting.TopicConfig{Name: "topic", Read: 1, Write: 1, Perm: 6}, topics["topic"])
		require.NotContains(t, topics, "gone")
		for g, want := range map[string]int64{"g": 3, "pulled": 2} {
			off, err := f.mq.CommittedOffset(f.ctx, g, q)
			require.NoError(t, err)
			require.Equal(t, want, off, g)
		}
		_, err = f.mq.CommittedOffset(f.ctx, "dropped", q)
		require.ErrorIs(t, err, msha.ErrNotFound)
		groups, err := f.mq.Groups(f.ctx, f.BrokerAddr(name))
		require.NoError(t, err)
		require.NotContains(t, groups, "dropped")
		require.Contains(t, groups, "g")
		res, err := f.mq.Pull(f.ctx, remoting.PullRequest{Queue: q, Group: "readers", Offset: 2, Max: 1})
		require.NoError(t, err)
		m, err := f.mq.ViewMessage(f.ctx, f.BrokerAddr(name), res.Messages[0].CommitLogOffset)
		require.NoError(t, err)
		require.Equal(t, "m2", string(m.Body))
	}
	clock.Advance(9 * time.Second)
	require.Equal(t, []string{"m0", "m1", "m2", "m3", "m4", "level 1", "level 3"}, f.bodies(q), "delayed over two restarts")
	require.NoError(t, f.mq.CreateTopic(f.ctx, f.BrokerAddr(name), remoting.TopicConfig{Name: "gone", Read: 1, Write: 1}))
	f.put(gone, 0, 1)
	f = f.again(o)
	require.Equal(t, []string{"m0"}, f.bodies(gone))
	require.Len(t, f.bodies(q), 7, "delivered once")
	require.FileExists(t, filepath.Join(o.Dir, "b%2F2.journal"))
}

func TestFolderKeepsHalfMessages(t *testing.T) {
	o := &embedmq.Options{Dir: t.TempDir()}
	f := start(t, o)
	q := f.queue("topic")
	var halves []string
	for _, body := range []string{"committed", "rolled back", "open"} {
		res, err := f.mq.Send(f.ctx, q, "p", &remoting.Message{Body: []byte(body), Properties: map[string]string{"TRAN_MSG": "true"}})
		require.NoError(t, err)
		_, at, err := remoting.ParseMessageID(res.OffsetMsgID)
		require.NoError(t, err)
		halves = append(halves, embedmq.Itoa(at))
	}
	end := func(n, how int) int {
		resp, err := f.client.Call(f.ctx, f.BrokerAddr(name), remoting.NewRequest(remoting.ReqEndTransaction,
			map[string]string{"commitLogOffset": halves[n], "commitOrRollback": embedmq.Itoa(int64(how))}, nil))
		require.NoError(t, err)
		return resp.Code
	}
	require.Zero(t, end(0, remoting.SysTransCommit))
	require.Zero(t, end(1, remoting.SysTransRollback))
	f = f.again(o)
	require.Equal(t, []string{"committed"}, f.bodies(q))
	require.NotZero(t, end(0, remoting.SysTransCommit), "ended before")
	require.NotZero(t, end(1, remoting.SysTransCommit), "ended before")
	require.Zero(t, end(2, remoting.SysTransCommit))
	require.Equal(t, []string{"committed", "open"}, f.bodies(q))
}

func TestTornTailIsReported(t *testing.T) {
	o := &embedmq.Options{Dir: t.TempDir()}
	f := start(t, o)
	q := f.queue("topic")
	f.put(q, 0, 2)
	f.client.Close()
	f.Close()
	file := filepath.Join(o.Dir, name+".journal")
	before, err := os.ReadFile(file)
	require.NoError(t, err)
	f = start(t, o)
	f.put(q, 2, 1)
	f.client.Close()
	f.Close()
	whole, err := os.ReadFile(file)
	require.NoError(t, err)
	last := len(whole) - len(before)
	require.Greater(t, last, 100)
	damage := map[string][]byte{"last byte": append(append([]byte(nil), whole[:len(whole)-1]...), whole[len(whole)-1]^1)}
	for _, n := range []int{1, 3, 4, 7, 8, 20, last - 1} {
		damage["cut at "+embedmq.Itoa(int64(n))] = whole[:len(before)+n]
	}
	for what, content := range damage {
		require.NoError(t, os.WriteFile(file, content, 0o644))
		f = start(t, o)
		require.EqualValues(t, len(content)-len(before), f.LostBytes(name), what)
		left, err := os.Stat(file)
		require.NoError(t, err)
		require.EqualValues(t, len(before), left.Size(), what)
		require.Equal(t, []string{"m0", "m1"}, f.bodies(q), what)
		f.put(q, 2, 1)
		f = f.again(o)
		require.Zero(t, f.LostBytes(name), what)
		require.Equal(t, []string{"m0", "m1", "m2"}, f.bodies(q), what)
		f.client.Close()
		f.Close()
	}
}

func TestFolderThatFails(t *testing.T) {
	o := &embedmq.Options{Dir: t.TempDir()}
	f := start(t, o)
	q := f.queue("topic")
	f.BreakJournal(name)
	var be *remoting.BrokerError
	require.ErrorAs(t, f.send(q, "x"), &be)
	require.Equal(t, remoting.RespServiceNotAvailable, be.Code)
	require.ErrorContains(t, be, "can no longer keep")
	f = f.again(o)
	require.Empty(t, f.bodies(q), "what was not acknowledged is not there")

	_, err := embedmq.Start(&embedmq.Options{Dir: filepath.Join(o.Dir, name+".journal")})
	require.ErrorContains(t, err, "embedmq.open")
}

func FuzzJournal(f *testing.F) {
	o := &embedmq.Options{Dir: f.TempDir()}
	c, err := embedmq.Start(o)
	require.NoError(f, err)
	embedmq.Fill(c, name)
	c.Close()
	whole, err := os.ReadFile(filepath.Join(o.Dir, name+".journal"))
	require.NoError(f, err)
	f.Add(whole, true)
	f.Add(whole[:len(whole)-3], false)
	f.Fuzz(func(t *testing.T, b []byte, mend bool) {
		if mend {
			b = embedmq.Mend(b)
		}
		good, torn, err := embedmq.Replay(o, name, b)
		require.Equal(t, good < int64(len(b)), torn != nil || err != nil)
		if err != nil {
			require.ErrorIs(t, err, msha.ErrInvalid)
		}
		again, torn, err := embedmq.Replay(o, name, b[:good])
		require.NoError(t, errors.Join(torn, err), "what was kept can be read again")
		require.Equal(t, good, again)
	})
}
