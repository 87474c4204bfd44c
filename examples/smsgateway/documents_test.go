package main

import (
	"bytes"
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/metastore/memory"
	"github.com/go-msha/msha/route"
)

var silent = slog.New(slog.DiscardHandler)

const twoValues = "unit-1=beijing,unit-2=guangzhou"

func TestDocumentsAreMadeOnce(t *testing.T) {
	store := memory.New()
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	for range 2 { // the second process finds them
		units, err := unitDocument(t.Context(), store, config{units: "unit-1=a:1;b:1,unit-2=c:1", values: twoValues}, logger)
		require.NoError(t, err)
		require.Equal(t, []string{"unit-1", "unit-2"}, units.Names())
		require.Equal(t, []string{"a:1", "b:1"}, units.Units[0].NameServers)
	}
	require.Empty(t, log.String())
	_, err := route.Update(t.Context(), store, func(table *msha.Table) (*msha.Table, error) {
		moved := *table
		moved.Version++
		return &moved, nil
	})
	require.NoError(t, err)
	for _, c := range []config{{}, {units: "unit-1=z:1", values: "unit-1=beijing"}} {
		units, err := unitDocument(t.Context(), store, c, logger)
		require.NoError(t, err)
		require.Equal(t, []string{"unit-1", "unit-2"}, units.Names(), "what is there counts")
	}
	require.Contains(t, log.String(), "other units than -units says")
	table, err := route.Load(t.Context(), store)
	require.NoError(t, err)
	require.EqualValues(t, 2, table.Version, "no process may bring an older table back")
}

func TestWithoutUnitsAProcessWaitsForTheDocuments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New()
		time.AfterFunc(documentsTimeout/2, func() {
			_, err := initDocuments(t.Context(), store, config{units: "unit-1=a:1,unit-2=b:1", values: twoValues})
			require.NoError(t, err)
		})
		begin := time.Now()
		units, err := unitDocument(t.Context(), store, config{}, silent)
		require.NoError(t, err)
		require.Equal(t, []string{"unit-1", "unit-2"}, units.Names())
		require.Equal(t, documentsTimeout/2, time.Since(begin))
	})
	synctest.Test(t, func(t *testing.T) {
		_, err := unitDocument(t.Context(), memory.New(), config{}, silent)
		require.ErrorIs(t, err, msha.ErrNotFound)
		require.ErrorContains(t, err, "-units")
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		_, err = unitDocument(ctx, memory.New(), config{}, silent)
		require.Equal(t, context.Canceled, err)
	})
}

func TestTopicThatIsThereStays(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	mq, err := embedmq.Start(nil)
	require.NoError(t, err)
	t.Cleanup(mq.Close)
	client := remoting.NewClient(nil)
	defer client.Close()
	cluster := remoting.NewCluster([]string{mq.NameServer()}, client)
	brokers, err := cluster.Brokers(ctx)
	require.NoError(t, err)
	require.Len(t, brokers, 1)
	queues := func(addr string) int {
		have, err := cluster.TopicConfig(ctx, addr, topic)
		require.NoError(t, err)
		return have.Read
	}
	for _, addr := range brokers {
		for range 2 {
			require.NoError(t, createTopic(ctx, []string{mq.NameServer()}, topic))
			require.Equal(t, 4, queues(addr))
		}
		require.NoError(t, cluster.CreateTopic(ctx, addr, remoting.TopicConfig{Name: topic, Read: 8, Write: 8}))
		require.NoError(t, createTopic(ctx, []string{mq.NameServer()}, topic))
		require.Equal(t, 8, queues(addr), "it was made larger by its operator")
	}
}
