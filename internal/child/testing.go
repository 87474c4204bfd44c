package child

import "context"

// TB is what servers for tests need of a testing.TB.
type TB interface {
	Helper()
	Context() context.Context
	Cleanup(func())
	Failed() bool
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// ForTest starts a server for a test and stops it when the test ends. If the test failed, what report says (the ends of the server's logs)
// is printed first. A missing server fails the test.
func ForTest[S interface{ Stop() }, O any](t TB, start func(context.Context, *O) (S, error), o *O, report func(S) string) S {
	t.Helper()
	s, err := start(t.Context(), o)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s", report(s))
		}
		s.Stop()
	})
	return s
}
