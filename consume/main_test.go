package consume

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

// The tests wait more than they compute, so many may run at once.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "12"); err != nil {
		panic(err)
	}
	// client-go, whose interface is implemented here, starts this one as soon as it is linked in.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/patrickmn/go-cache.(*janitor).Run"))
}
