package contract_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/embedmq/contract"
)

func TestAccessOnEmbedded(t *testing.T) {
	var accounts []embedmq.Account
	for _, a := range contract.Accounts() {
		own := embedmq.Account{AccessKey: a.AccessKey, SecretKey: a.SecretKey, Admin: a.Admin, Topics: map[string]embedmq.Right{}, Groups: map[string]embedmq.Right{}}
		for name, right := range a.Topics {
			own.Topics[name] = embedmq.ParseRight(right)
		}
		for name, right := range a.Groups {
			own.Groups[name] = embedmq.ParseRight(right)
		}
		accounts = append(accounts, own)
	}
	no := false
	c, err := embedmq.Start(&embedmq.Options{Accounts: accounts, AutoCreateTopics: &no, DelayLevels: contract.DelayLevels})
	require.NoError(t, err)
	defer c.Close()
	contract.Run(t, contract.Target{
		NameServer:  c.NameServer(),
		Broker:      "broker-a",
		Addr:        func() string { return c.BrokerAddr("broker-a") },
		Version:     contract.Embedded,
		Credentials: contract.Accounts()[0].Credentials,
	}, contract.Access()...)
}
