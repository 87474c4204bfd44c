package replicate

import (
	"log/slog"
	"time"
)

// GapPolicy says what happens when messages expired at the origin before they were copied.
type GapPolicy int

// The policies.
const (
	Stop GapPolicy = iota // stop the queue with ErrGap
	Skip                  // report the range and go on behind it
)

// Options of New. The zero value is valid.
type Options struct {
	Targets       []string      // units to copy to; nil: every other unit of the unit document
	Topics        []string      // patterns (path.Match) of topics to copy; nil: "*"
	Deny          []string      // patterns of topics not to copy
	Discover      time.Duration // how often topics, queues and units are looked up; 0: 2 s
	BatchMessages int           // most messages in one send; 0: 256
	BatchBytes    int           // most bytes in one send; 0: 1 MiB
	OnGap         GapPolicy
	Logger        *slog.Logger // nil: slog.Default()
}

func (o *Options) withDefaults() Options {
	var d Options
	if o != nil {
		d = *o
	}
	if len(d.Topics) == 0 {
		d.Topics = []string{"*"}
	}
	if d.Discover <= 0 {
		d.Discover = 2 * time.Second
	}
	if d.BatchMessages <= 0 {
		d.BatchMessages = 256
	}
	if d.BatchBytes <= 0 {
		d.BatchBytes = 1 << 20
	}
	if d.Logger == nil {
		d.Logger = slog.Default()
	}
	return d
}
