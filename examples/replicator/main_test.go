package main

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// beTheProgram makes the test binary the program.
const beTheProgram = "REPLICATOR_TEST_RUNS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(beTheProgram) != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}
