package replicate

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
)

// The rules of a copy are written down a second time here, apart from copyOf: an audit that asked the copying code what a copy should
// look like would find its own errors right.

// brokerMarks are set by a broker on messages sent singly, whatever the sender gave.
var brokerMarks = map[string]bool{"CLUSTER": true, "MSG_REGION": true, "TRACE_ON": true, "__CRC32#": true}

// notCopied are properties that a copy must not have, because they would change its fate; those with the prefix TIMER_ are too.
var notCopied = map[string]bool{
	"MIN_OFFSET": true, "MAX_OFFSET": true, "CONSUME_START_TIME": true, "TRAN_MSG": true, "DELAY": true, "REAL_TOPIC": true,
	"REAL_QID": true, "MSHA_RETRY": true,
}

// comparedSysFlags say how a body or its tags are to be read; the other bits are about hosts and transactions.
const comparedSysFlags = remoting.SysCompressed | remoting.SysCompressionMask | remoting.SysMultiTags

// flaw is one way in which a copy differs from its original.
type flaw struct {
	kind   FindingKind
	detail string
}

// flaws compares a copy with its original, which was stored in a queue of the given unit. The identity is not looked at.
func flaws(unit string, original, copied *remoting.Message) []flaw {
	var out []flaw
	if !bytes.Equal(original.Body, copied.Body) {
		out = append(out, flaw{AlteredBody, fmt.Sprintf("%d bytes with checksum %08x, the copy has %d with %08x",
			len(original.Body), crc32.ChecksumIEEE(original.Body), len(copied.Body), crc32.ChecksumIEEE(copied.Body))})
	}
	if original.Flag != copied.Flag {
		out = append(out, flaw{AlteredFlag, fmt.Sprintf("flag %d, the copy has %d", original.Flag, copied.Flag)})
	} else if a, b := original.SysFlag&comparedSysFlags, copied.SysFlag&comparedSysFlags; a != b {
		out = append(out, flaw{AlteredFlag, fmt.Sprintf("system flag %#x, the copy has %#x", a, b)})
	}
	if details := propertyFlaws(unit, original.Properties, copied.Properties); len(details) > 0 {
		out = append(out, flaw{AlteredProperty, strings.Join(details, "; ")})
	}
	return out
}

// maxDetails bounds what is said about one message: it may have hundreds of properties.
const maxDetails = 5

// propertyFlaws says which properties differ, in the order of their names.
func propertyFlaws(unit string, original, copied map[string]string) []string {
	var names []string
	look := func(name string) {
		if propertyFlaw(unit, name, original, copied) != "" {
			names = append(names, name)
		}
	}
	for name := range original {
		look(name)
	}
	for name := range copied {
		if _, seen := original[name]; !seen {
			look(name)
		}
	}
	if original[msha.PropertyUnit] == "" && copied[msha.PropertyUnit] == "" {
		names = append(names, msha.PropertyUnit)
	}
	slices.Sort(names)
	var out []string
	for _, name := range slices.Compact(names) {
		if len(out) == maxDetails {
			return append(out, "and more")
		}
		out = append(out, propertyFlaw(unit, name, original, copied))
	}
	return out
}

// propertyFlaw says how a property differs; "" if it does not.
func propertyFlaw(unit, name string, original, copied map[string]string) string {
	want, expected := original[name]
	got, present := copied[name]
	switch {
	case brokerMarks[name] || name == msha.PropertyOrigin:
		return ""
	case notCopied[name] || strings.HasPrefix(name, "TIMER_"):
		want, expected = "", false
	case name == msha.PropertyUnit && want == "":
		want, expected = unit, true
	case name == "UNIQ_KEY" && !expected:
		return "" // a broker gives one to a message that is sent singly
	case name == "WAIT" && !present:
		return "" // and does not store this one
	}
	if want == got && expected == present {
		return ""
	}
	return fmt.Sprintf("%.80q: %s, the copy has %s", name, propertyText(want, expected), propertyText(got, present))
}

func propertyText(value string, present bool) string {
	if !present {
		return "none"
	}
	return fmt.Sprintf("%.80q", value)
}
