package replicate

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/metastore/memory"
)

func TestPipesFollowTheAccessOfToday(t *testing.T) {
	store := memory.New()
	sites := startSites(t, store, "unit-1", "unit-2")
	sites["unit-1"].createTopic(t, "SMS", 2)
	sites["unit-1"].produce(t, "SMS", 10)
	var rotation atomic.Int64
	access := func(_ context.Context, u msha.UnitInfo) (msha.Access, error) {
		return msha.Access{Credentials: msha.Credentials{AccessKey: fmt.Sprint(u.Name, rotation.Load()), SecretKey: "s"}}, nil
	}
	r, _ := run(t, "unit-1", store, &Options{Access: access})
	syncTopic(t, r, "SMS")
	before := map[string]any{"unit-1": r.sites.Known("unit-1"), "unit-2": r.sites.Known("unit-2")}
	rotation.Add(1)
	for unit, cluster := range before {
		eventually(t, "another client for "+unit, func() bool { return r.sites.Known(unit) != cluster })
	}
	sites["unit-1"].produce(t, "SMS", 10)
	sites["unit-2"].reaches(t, replicaQueue("SMS", 0), 10)
	sites["unit-2"].reaches(t, replicaQueue("SMS", 1), 10)
	report, err := Audit(t.Context(), "unit-1", store, &AuditOptions{Access: access})
	require.NoError(t, err)
	require.True(t, report.Exact(), report.Verdict())
}
