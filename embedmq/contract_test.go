package embedmq_test

import (
	"testing"

	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/embedmq/contract"
)

// The same scenarios as against the real servers; together they send every request the cluster answers.
func TestContract(t *testing.T) {
	c, err := embedmq.Start(&embedmq.Options{DelayLevels: contract.DelayLevels})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	contract.Run(t, contract.Target{
		NameServer: c.NameServer(),
		Broker:     "broker-a",
		Addr:       func() string { return c.BrokerAddr("broker-a") },
		Version:    contract.Embedded,
		Kill:       func() error { return c.Kill("broker-a") },
		Restart:    func() error { return c.Restart("broker-a", embedmq.KeepAll) },
	})
	if codes := c.Unserved(); len(codes) > 0 && !t.Failed() {
		t.Errorf("no scenario sends the requests %v", codes)
	}
}
