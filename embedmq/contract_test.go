package embedmq_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/embedmq/contract"
)

// The same scenarios as against the real servers; together they send every request the cluster answers.
func TestContract(t *testing.T) {
	const lockTime = 2 * time.Second
	c, err := embedmq.Start(&embedmq.Options{DelayLevels: contract.DelayLevels, LockExpiry: lockTime, PropertyFilter: true})
	require.NoError(t, err)
	defer c.Close()
	contract.Run(t, contract.Target{
		NameServer: c.NameServer(),
		Broker:     "broker-a",
		Addr:       func() string { return c.BrokerAddr("broker-a") },
		Version:    contract.Embedded,
		LockTime:   lockTime,
		Kill:       func() error { return c.Kill("broker-a") },
		Restart:    func() error { return c.Restart("broker-a", embedmq.KeepAll) },
	}, contract.Protocol()...)
	t.Run("client resets", func(t *testing.T) {
		c, err := embedmq.Start(&embedmq.Options{ClientResets: true})
		require.NoError(t, err)
		defer c.Close()
		contract.Run(t, contract.Target{NameServer: c.NameServer(), Broker: "broker-a", Addr: func() string { return c.BrokerAddr("broker-a") },
			Version: contract.Embedded, ClientResets: true}, contract.Resets())
	})
	if !t.Failed() {
		require.Empty(t, c.Unserved(), "requests that no scenario sends")
	}
}
