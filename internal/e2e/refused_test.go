package e2e

import (
	"net/http"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/agent"
	"github.com/go-msha/msha/manager"
	"github.com/go-msha/msha/route"
)

// refused: requests that cannot be carried out are answered with what is wrong and what is known, and change nothing.
func refused(t *testing.T, clusters backend) {
	w := start(t, clusters, ownership, "unit-1", "unit-2")
	require.NoError(t, updateRules(w))
	release := make(chan struct{})
	w.join("unit-1")
	w.join("unit-2", func(m *member) {
		m.fail = func(string, int) bool { <-release; return false }
	})
	before, err := route.Load(w.ctx, w.store)
	require.NoError(t, err)
	for query, want := range map[string]struct {
		status int
		says   []string
	}{
		"values=atlantis":                      {404, []string{"atlantis", "beijing", "guangzhou", "not found"}},
		"values=guangzhou&to=unit-9":           {404, []string{"unit-9", "unit-1, unit-2"}},
		"from=unit-9":                          {404, []string{"unit-9", "unit-1, unit-2"}},
		"":                                     {400, []string{"values", "from"}},
		"values=guangzhou&from=unit-1":         {400, []string{"either"}},
		"values=guangzhou&to=unit-2":           {400, []string{"already owns"}},
		"from=unit-1&to=unit-1":                {400, []string{"same unit"}},
		"values=m-city":                        {400, []string{"create=true", "m-city"}},
		"value=guangzhou":                      {400, []string{"unknown parameter", "values"}},
		"values=guangzhou&create=perhaps":      {400, []string{"perhaps"}},
		"values=guangzhou&deadline=yesterday":  {400, []string{"yesterday", "10s"}},
		"values=guangzhou&to=unit-1&to=unit-2": {400, []string{"repeated"}},
		"values=%00&create=true":               {404, []string{"not found"}},
	} {
		status, _, failure := w.tryMove(query)
		require.Equal(t, want.status, status, "%s: %s", query, failure.Error)
		for _, s := range want.says {
			require.Contains(t, failure.Error, s, query)
		}
	}
	after, err := route.Load(w.ctx, w.store)
	require.NoError(t, err)
	require.Equal(t, before, after)

	send := w.produce("unit-2")
	send("guangzhou", 20) // their handlers wait, so the first switch stays in its drain phase
	w.eventually("handlers running", func() bool { return len(w.journal.running()) > 0 })
	first := make(chan int, 1)
	go func() {
		status, _, _ := w.tryMove("values=guangzhou&deadline=60s")
		first <- status
	}()
	w.eventually("the fence", func() bool {
		table, err := route.Load(w.ctx, w.store)
		return err == nil && table.Version > before.Version
	})
	status, _, failure := w.tryMove("values=guangzhou")
	require.Equal(t, http.StatusConflict, status)
	require.Contains(t, failure.Error, "busy")
	close(release)
	require.Equal(t, http.StatusOK, <-first)
	w.exact(w.settled())

	answer := w.move("values=m-city&create=true&to=unit-2")
	require.Equal(t, []string{"m-city"}, answer.Moved)
	table, err := route.Load(w.ctx, w.store)
	require.NoError(t, err)
	set, ok := table.Lookup("m-city", "")
	require.True(t, ok)
	require.Equal(t, "unit-2", set.Owner)
}

// updateRules adds a range rule, as init would have written it.
func updateRules(w *world) error {
	_, err := route.Update(w.ctx, w.store, func(t *msha.Table) (*msha.Table, error) {
		out := *t
		out.Version++
		out.Rules = append(append([]msha.Rule{}, t.Rules...), msha.Rule{Kind: msha.RuleRange, Low: "m", High: "n", Set: "unit-1"})
		return out.Index(), nil
	})
	return err
}

// wrongSetup: what is misconfigured is named when a part starts.
func wrongSetup(t *testing.T, clusters backend) {
	w := start(t, clusters, ownership, "unit-1", "unit-2")
	_, err := agent.Join(w.ctx, "unit-9", w.store, nil)
	require.ErrorIs(t, err, msha.ErrNotFound)
	require.ErrorContains(t, err, "unit-1, unit-2")

	u, err := agent.Join(w.ctx, "unit-1", w.store, &agent.Options{Logger: w.log})
	require.NoError(t, err)
	_, err = u.NewPushConsumer()
	require.ErrorIs(t, err, msha.ErrInvalid)
	_, err = u.NewPushConsumer(consumer.WithGroupName("g"), consumer.WithConsumerModel(consumer.BroadCasting))
	require.ErrorIs(t, err, msha.ErrUnsupported)
	c, err := u.NewPushConsumer(consumer.WithGroupName("g"))
	require.NoError(t, err)
	require.ErrorIs(t, c.Subscribe("", consumer.MessageSelector{}, nil), msha.ErrInvalid)
	require.ErrorIs(t, c.Subscribe("bad topic!", consumer.MessageSelector{}, (&member{}).handle), msha.ErrInvalid)
	require.NoError(t, u.Close(w.ctx))

	require.NoError(t, route.UpdateUnits(w.ctx, w.store, func(units *msha.Units) (*msha.Units, error) {
		out := &msha.Units{Units: append([]msha.UnitInfo{}, units.Units...)}
		out.Units[0].NameServers = []string{"127.0.0.1:1"}
		return out, nil
	}))
	u, err = agent.Join(w.ctx, "unit-1", w.store, &agent.Options{Logger: w.log})
	require.NoError(t, err)
	c, err = u.NewPushConsumer(consumer.WithGroupName("g"))
	require.NoError(t, err)
	require.NoError(t, c.Subscribe(w.topic, consumer.MessageSelector{}, (&member{}).handle))
	begun := time.Now()
	err = c.Start()
	require.ErrorContains(t, err, "127.0.0.1:1")
	require.Less(t, time.Since(begun), 4*time.Minute)
	require.NoError(t, u.Close(w.ctx))
	roster, err := route.RosterFresh(w.ctx, w.store)
	require.NoError(t, err)
	require.Empty(t, roster.Members, "who did not start leaves no trace")

	doc, err := w.store.Get(w.ctx, msha.TableKey)
	require.NoError(t, err)
	_, err = w.store.Put(w.ctx, msha.TableKey, []byte(`{"version": 2, "rules": [}`), doc.Revision)
	require.NoError(t, err)
	_, err = agent.Join(w.ctx, "unit-2", w.store, nil)
	require.ErrorIs(t, err, msha.ErrInvalid)
	require.ErrorContains(t, err, "line 1, column")
	_, err = manager.New(w.ctx, w.store, nil)
	require.ErrorIs(t, err, msha.ErrInvalid)
	status, _, failure := w.tryMove("values=guangzhou")
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, failure.Error, msha.TableKey)
}
