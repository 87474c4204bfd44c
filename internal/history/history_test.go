package history

import (
	"context"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/metastore/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestHistory(t *testing.T) {
	store, ctx := memory.New(), context.Background()
	seen := msha.Origin{OriginQueue: msha.OriginQueue{Unit: "unit-1", Broker: "b", Topic: "SMS"}, Offset: 9}
	mine, other := New("unit-1", store), New("unit-1", store)
	require.NoError(t, mine.Ready(ctx), "there is no document")
	require.NoError(t, other.Load(ctx))
	require.Nil(t, mine.Now())
	_, more := other.Known()
	following, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		other.Follow(following, slog.New(slog.DiscardHandler))
	}()
	in, raised, err := mine.Raise(ctx, 7, seen, "")
	require.NoError(t, err)
	require.True(t, raised)
	require.Equal(t, in, mine.Now())
	<-more
	require.Equal(t, in, other.Now())
	other.adopt(nil)
	require.Equal(t, in, other.Now(), "an older one changes nothing")
	stop()
	<-ended

	doc, err := store.Get(ctx, msha.IncarnationsKey+".unit-1")
	require.NoError(t, err)
	_, err = store.Put(ctx, doc.Key, []byte("{"), doc.Revision)
	require.NoError(t, err)
	require.ErrorIs(t, mine.Refresh(ctx), msha.ErrInvalid)
	require.Equal(t, in, mine.Now())
	require.ErrorIs(t, New("unit-1", store).Ready(ctx), msha.ErrInvalid)
}
