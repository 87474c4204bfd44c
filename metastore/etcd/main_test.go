package etcd

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "6"); err != nil { // most of the time they wait for a server or for it to be missed
		panic(err)
	}
	goleak.VerifyTestMain(m)
}
