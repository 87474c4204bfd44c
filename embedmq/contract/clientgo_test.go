package contract_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/embedmq/contract"
)

func TestClientGoOnEmbedded(t *testing.T) {
	c, err := embedmq.Start(&embedmq.Options{DelayLevels: contract.DelayLevels, PropertyFilter: true})
	require.NoError(t, err)
	defer c.Close()
	contract.Run(t, contract.Target{
		NameServer: c.NameServer(),
		Broker:     "broker-a",
		Addr:       func() string { return c.BrokerAddr("broker-a") },
		Version:    contract.Embedded,
	}, contract.ClientGo()...)
}
