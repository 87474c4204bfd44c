// Package consume is the consumer engine behind client-go's PushConsumer interface (design section 7). client-go's own consumer repeats
// in-flight work on every rebalance and hides its pull position, so exactly-once hand-over cannot be built on it. The engine keeps
// its options, handler and allocation strategies and runs on package internal/remoting: queues change hands under broker locks,
// what was finished is recorded as facts, and what was skipped or left is re-scanned. All decisions are filter.Tracker's.
package consume
