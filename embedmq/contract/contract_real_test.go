//go:build real

package contract_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/go-msha/msha/embedmq/contract"
	"github.com/go-msha/msha/internal/realmq"
)

func TestContractOnRealServers(t *testing.T) {
	const lockTime = 10 * time.Second // longer than the scenarios that hold locks
	for _, version := range realmq.Versions() {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			c := realmq.New(t, &realmq.Options{Version: version, DelayLevels: contract.DelayLevels,
				JavaFlags: []string{"-Drocketmq.broker.rebalance.lockMaxLiveTime=10000"}})
			contract.Run(t, contract.Target{
				NameServer: c.NameServer(),
				Broker:     "broker-a",
				Addr:       func() string { return c.Addr("broker-a") },
				Version:    version,
				LockTime:   lockTime,
				Kill:       func() error { return c.Kill("broker-a") },
				Restart:    func() error { return c.Restart(context.Background(), "broker-a") },
			}, slices.Concat(contract.Protocol(), contract.ClientGo())...)
		})
	}
}
