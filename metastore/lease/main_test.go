//go:build unix

package lease

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if holdIfChild() {
		return
	}
	goleak.VerifyTestMain(m)
}
