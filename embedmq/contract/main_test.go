package contract_test

import (
	"flag"
	"os"
	"testing"
)

// Scenarios wait more than they compute, so as many as there are may run at once.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "64"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}
