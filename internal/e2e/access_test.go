package e2e

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/internal/remoting"
)

// account is the one that everything in a unit uses: who has another unit's, or none, is refused.
func account(reference string) msha.Credentials {
	if reference == "" {
		return msha.Credentials{}
	}
	return msha.Credentials{AccessKey: "msha-" + reference, SecretKey: "secret of " + reference}
}

// secured is a cluster that asks for an account.
type secured struct{ embedded }

// reference is what the unit document says about a unit's account.
func (w *world) reference(unit string) string {
	if _, ok := w.sites[unit].(secured); ok {
		return unit
	}
	return ""
}

// access finds the account by the reference in the unit document.
func access(_ context.Context, u msha.UnitInfo) (msha.Access, error) {
	return msha.Access{Credentials: account(u.Credentials)}, nil
}

func onSecured(t *testing.T, names ...string) map[string]site {
	stopShared()
	out := map[string]site{}
	for _, name := range names {
		a := account(name)
		c, err := embedmq.Start(&embedmq.Options{
			Brokers: []string{"broker-" + name}, DelayLevels: delayLevels,
			Accounts: []embedmq.Account{{AccessKey: a.AccessKey, SecretKey: a.SecretKey, Admin: true}},
		})
		require.NoError(t, err)
		t.Cleanup(c.Close)
		out[name] = secured{embedded{c}}
	}
	return out
}

// TestPlannedSwitchWithAccounts: each unit's cluster asks for an account of its own, which the unit document only refers to.
func TestPlannedSwitchWithAccounts(t *testing.T) {
	t.Parallel()
	plannedSwitch(t, onSecured, inMemory)
}

// TestAClientWithoutTheAccountIsRefused shows that the clusters of TestPlannedSwitchWithAccounts do ask.
func TestAClientWithoutTheAccountIsRefused(t *testing.T) {
	t.Parallel()
	cluster := onSecured(t, "unit-1")["unit-1"]
	for _, c := range []msha.Credentials{{}, account("unit-2")} {
		client := remoting.NewClient(&remoting.Options{Credentials: c})
		defer client.Close()
		cl := remoting.NewCluster([]string{cluster.NameServer()}, client)
		brokers, err := cl.Brokers(t.Context())
		require.NoError(t, err)
		require.ErrorIs(t, cl.CreateTopic(t.Context(), brokers["broker-unit-1"], remoting.TopicConfig{Name: "t", Read: 1, Write: 1}), msha.ErrDenied)
	}
}
