package chaos

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Event is what a line of a journal says.
type Event string

// The events of handlers and of producers.
const (
	Start  Event = "start"  // a handler is about to begin
	End    Event = "end"    // it ended well
	Fail   Event = "fail"   // it ended badly: the message is to be tried again
	Sent   Event = "sent"   // a broker acknowledged the message
	Unsure Event = "unsure" // a send without a clear answer: the message may be stored or not
)

// Line is one line of a journal. Clocks compare: everything runs on one machine.
type Line struct {
	Process string // unique for each start of a program: unit-1.agent-2.3
	PID     int
	Began   time.Time // when the writer was made
	Seq     int       // 1, 2, …: a line that is missing shows
	At      time.Time
	Event   Event
	Run     int // tells the runs of a process apart; 0: not a run
	Key     string
	Value   string // routing value, or NoValue
}

// NoValue stands for the routing value of a message that has none; each unit has routes of its own for those.
const NoValue = "-"

// Unit is where the process belongs.
func (l Line) Unit() string { return unitOf(l.Process) }

// unitOf is the part of a name before the first dot.
func unitOf(name string) string {
	unit, _, _ := strings.Cut(name, ".")
	return unit
}

const fields = 9

// encode is the line as it is written; names, keys and values have no spaces.
func (l Line) encode() []byte {
	return fmt.Appendf(nil, "%s %d %d %d %d %s %d %s %s\n", l.Process, l.PID, l.Began.UnixNano(), l.Seq, l.At.UnixNano(), l.Event, l.Run, l.Key, l.Value)
}

// parseLine reads a line without its end.
func parseLine(text string) (l Line, err error) {
	parts := strings.Split(text, " ")
	if len(parts) != fields {
		return l, fmt.Errorf("journal line %q: %d fields instead of %d", text, len(parts), fields)
	}
	number := func(s string) (n int64) {
		if err == nil {
			if n, err = strconv.ParseInt(s, 10, 64); err != nil {
				err = fmt.Errorf("journal line %q: %w", text, err)
			}
		}
		return n
	}
	l = Line{
		Process: parts[0], PID: int(number(parts[1])), Began: time.Unix(0, number(parts[2])), Seq: int(number(parts[3])), At: time.Unix(0, number(parts[4])),
		Event: Event(parts[5]), Run: int(number(parts[6])), Key: parts[7], Value: parts[8],
	}
	switch l.Event {
	case Start, End, Fail, Sent, Unsure:
	default:
		err = fmt.Errorf("journal line %q: unknown event", text)
	}
	return l, err
}
