package embedmq_test

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

// Scenarios of the contract wait more than they compute, so as many as there are may run at once.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "64"); err != nil {
		panic(err)
	}
	// The contract imports rocketmq-client-go, which starts this one as soon as it is linked in.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/patrickmn/go-cache.(*janitor).Run"))
}
