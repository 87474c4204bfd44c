package metastoretest_test

import "testing"

func TestTheExampleConforms(t *testing.T) {
	t.Parallel()
	conformance(t)
}
