//go:build real

package chaos

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/rlog"
)

// Defaults are for the round in `make test`, which takes less than three minutes, its beginning and end included; `make chaos` gives more of everything.
var (
	length  = flag.Duration("chaos.duration", 75*time.Second, "for how long messages are sent and faults happen")
	seed    = flag.Uint64("chaos.seed", Seed, "of the schedule of faults and switches; 0: a new one")
	units   = flag.Int("chaos.units", 2, "number of units, 2 or 3")
	second  = flag.Bool("chaos.second", false, "the last unit has two brokers")
	rate    = flag.Int("chaos.rate", 100, "messages a second sent in each unit")
	freeze  = flag.Duration("chaos.freeze", 8*time.Second, "the longest time that a process stands still, or units cannot reach each other")
	gate    = flag.Duration("chaos.gate", 10*time.Second, "the agents' and managers' gate window")
	resume  = flag.Duration("chaos.resume", 3*time.Second, "how long an order stands still before another manager takes it for left")
	every   = flag.Duration("chaos.every", 3500*time.Millisecond, "mean time between two faults")
	kinds   = flag.String("chaos.kinds", "", "kinds of fault, a comma list; empty: all")
	storm   = flag.Duration("chaos.storm", 2*time.Minute, "for how long faults happen in a row")
	lull    = flag.Duration("chaos.lull", 90*time.Second, "for how long only values move then: everything recovers, and pauses are measured")
	ebb     = flag.Duration("chaos.ebb", 30*time.Second, "at the end, without faults after which locks of the dead have to be waited for")
	members = flag.Int("chaos.members", 1, "of the metastore: 1, or 3, of which one dies with each site")
	folder  = flag.String("chaos.dir", "", "where journals and logs are kept; empty: a temporary folder that stays only if the test fails")
)

// childEnv makes the test binary one process of an installation.
const childEnv = "MSHA_TEST_CHAOS"

func TestMain(m *testing.M) {
	rlog.SetLogLevel("fatal") // client-go's log is a process global
	if spec := os.Getenv(childEnv); spec != "" {
		var r role
		err := json.Unmarshal([]byte(spec), &r)
		if err == nil {
			err = r.run()
		}
		if err != nil {
			fmt.Println("ended:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}
