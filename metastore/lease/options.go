package lease

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/go-msha/msha"
)

// Options of Acquire and TryAcquire. The zero value is valid.
type Options struct {
	TTL time.Duration // how long others wait for a silent holder, plus their margin; 0: 15 s
	// Margin is kept on both sides: a holder ends its trust that much before TTL, a contender waits that much longer. 0: TTL/5, so
	// that two renewals in a row may fail, two clocks may differ by 20 % in speed, and an act that begins right after Check has 2/5
	// of the TTL before anyone else can begin.
	Margin time.Duration
	Renew  time.Duration // from the start of a successful renewal to the next one; 0: TTL/3
	Logger *slog.Logger  // nil: slog.Default()
	Clock  Clock         // for tests; nil: the monotonic clock of the process

	rules *rules // nil: production
}

// Clock is the local clock of one process. Readings of two processes are never compared.
type Clock interface {
	Now() time.Time // monotonic
	// AfterFunc calls f in its own goroutine after d, unless stop is called before.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

// monotonic goes on while the process is stopped by a signal, which is what makes a frozen holder notice on its first look.
type monotonic struct{}

func (monotonic) Now() time.Time { return time.Now() }

func (monotonic) AfterFunc(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }

func (o *Options) withDefaults() Options {
	var d Options
	if o != nil {
		d = *o
	}
	if d.TTL == 0 {
		d.TTL = 15 * time.Second
	}
	if d.Margin == 0 {
		d.Margin = d.TTL / 5
	}
	if d.Renew == 0 {
		d.Renew = d.TTL / 3
	}
	if d.Logger == nil {
		d.Logger = slog.Default()
	}
	if d.Clock == nil {
		d.Clock = monotonic{}
	}
	if d.rules == nil {
		d.rules = production()
	}
	return d
}

// validate reports every problem.
func (o *Options) validate(key, holder string) error {
	var problems []string
	if key == "" {
		problems = append(problems, "the key is empty")
	}
	if holder == "" {
		problems = append(problems, "the holder's name is empty")
	}
	if o.TTL < 0 || o.Margin < 0 || o.Renew < 0 {
		problems = append(problems, "a duration is negative")
	}
	if o.Renew >= o.TTL-o.Margin {
		problems = append(problems, fmt.Sprintf("renewing every %v keeps no trust of TTL − margin = %v", o.Renew, o.TTL-o.Margin))
	}
	if len(problems) > 0 {
		return msha.Errorf("lease.acquire", key, "", "%w: %s", msha.ErrInvalid, strings.Join(problems, "; "))
	}
	return nil
}

// call bounds one call of the store: a request that hangs must leave time for another one before the trust ends.
func (o *Options) call() time.Duration { return o.Renew / 2 }

// retry is the pause after a failed call.
func (o *Options) retry() time.Duration { return o.Renew / 5 }
