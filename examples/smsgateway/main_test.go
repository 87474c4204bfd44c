package main

import (
	"os"
	"testing"

	"github.com/apache/rocketmq-client-go/v2/rlog"
	"go.uber.org/goleak"
)

// beTheProgram makes the test binary the program, so that the demo can start its processes.
const beTheProgram = "SMSGATEWAY_TEST_RUNS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(beTheProgram) != "" {
		main()
		return
	}
	os.Setenv(beTheProgram, "yes") //nolint:errcheck // for children
	rlog.SetLogLevel("fatal")
	goleak.VerifyTestMain(m,
		// client-go starts the first when it is imported; its producers' loops see only at their next turn that they are closed.
		goleak.IgnoreTopFunction("github.com/patrickmn/go-cache.(*janitor).Run"),
		goleak.IgnoreAnyFunction("github.com/apache/rocketmq-client-go/v2/primitive.WithRecover"),
	)
}
