package route

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/go-msha/msha"
)

// MaxValue is the longest routing value, in bytes.
const MaxValue = 1024

// Check reports every problem of a table in one ErrInvalid, or nil.
func Check(t *msha.Table) error {
	if problems := check(t); len(problems) > 0 {
		return invalid("route.check", problems)
	}
	return nil
}

func check(t *msha.Table) []string {
	var problems []string
	add := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if t == nil {
		return []string{"no table"}
	}
	if t.Version == 0 {
		add("version: must be 1 or more")
	}
	for _, id := range sortedSets(t) {
		for _, p := range checkSet(id, t.Sets[id]) {
			add("set %q: %s", id, p)
		}
	}
	seen := map[string]int{}
	for i, r := range t.Rules {
		where := fmt.Sprintf("rule %d (%s)", i, describe(r))
		for _, p := range checkRule(r) {
			add("%s: %s", where, p)
		}
		if _, ok := t.Sets[r.Set]; !ok {
			add("%s: unknown set %q", where, r.Set)
		}
		var key string
		switch r.Kind {
		case msha.RuleExact, msha.RuleUnit:
			key = string(r.Kind) + " " + r.Value
		case msha.RuleDefault:
			key = string(r.Kind)
		default:
			continue
		}
		if first, dup := seen[key]; dup {
			add("%s: repeats rule %d", where, first)
		} else {
			seen[key] = i
		}
	}
	return append(problems, checkOverlaps(t.Rules)...)
}

func checkSet(id string, s msha.RouteSet) []string {
	var problems []string
	add := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if id == "" || s.ID != id {
		add("id is %q, must be its key and not empty", s.ID)
	}
	if s.Owner == "" {
		add("no owner")
	}
	if s.Term == 0 {
		add("term must be 1 or more")
	}
	if s.Parent == id && id != "" {
		add("is its own parent")
	}
	forced := map[string]bool{}
	for _, f := range s.Forced {
		switch {
		case f.Unit == "" || f.Set == "" || f.Term == 0:
			add("a forced term without unit, set or term")
		case f.Unit == s.Owner:
			add("unit %q owns it and has not rejoined", f.Unit)
		case forced[f.Unit]:
			add("two forced terms of unit %q", f.Unit)
		}
		forced[f.Unit] = true
	}
	switch s.State {
	case msha.SetOpen:
		if s.Switch != "" || s.Deadline != 0 || s.Aborting {
			add("is open, but names a switch or a deadline, or is aborting")
		}
	case msha.SetFenced:
		if s.Switch == "" {
			add("is fenced, but names no switch")
		}
		if s.Deadline <= 0 {
			add("is fenced without a deadline")
		}
	default:
		add("state %q, must be %q or %q", s.State, msha.SetOpen, msha.SetFenced)
	}
	return problems
}

func checkRule(r msha.Rule) []string {
	var problems []string
	add := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	switch r.Kind {
	case msha.RuleExact, msha.RuleUnit:
		if p := checkValue(r.Value); p != "" {
			add("%s", p)
		}
		if strings.HasPrefix(r.Value, msha.RulePrefix) {
			add("value must not begin with %q, which marks unit rules", msha.RulePrefix)
		}
	case msha.RuleRange:
		if r.Low >= r.High {
			add("low must be below high")
		}
		if !utf8.ValidString(r.Low) || !utf8.ValidString(r.High) {
			add("bounds must be UTF-8")
		}
	case msha.RuleSlot:
		if r.From < 0 || r.From >= r.To || r.To > msha.Slots {
			add("slots must satisfy 0 <= from < to <= %d", msha.Slots)
		}
	case msha.RuleDefault:
	default:
		add("unknown kind %q", r.Kind)
		return problems
	}
	stray := r
	stray.Kind, stray.Set = "", ""
	switch r.Kind {
	case msha.RuleExact, msha.RuleUnit:
		stray.Value = ""
	case msha.RuleRange:
		stray.Low, stray.High = "", ""
	case msha.RuleSlot:
		stray.From, stray.To = 0, 0
	}
	if stray != (msha.Rule{}) {
		add("has fields of another kind of rule")
	}
	return problems
}

// checkValue says what is wrong with a routing value, or "".
func checkValue(v string) string {
	switch {
	case v == "":
		return "empty value"
	case len(v) > MaxValue:
		return fmt.Sprintf("value of %d bytes, at most %d", len(v), MaxValue)
	case !utf8.ValidString(v):
		return "value must be UTF-8"
	case strings.ContainsAny(v, "\x00\x01\x02"):
		return "value must not contain the bytes 0, 1 and 2"
	}
	return ""
}

func checkOverlaps(rules []msha.Rule) []string {
	var problems []string
	ranges, slots := ofKind(rules, msha.RuleRange), ofKind(rules, msha.RuleSlot)
	sort.SliceStable(ranges, func(i, j int) bool { return ranges[i].Low < ranges[j].Low })
	for i := 1; i < len(ranges); i++ {
		if ranges[i].Low < ranges[i-1].High {
			problems = append(problems, fmt.Sprintf("%s and %s overlap", describe(ranges[i-1]), describe(ranges[i])))
		}
	}
	sort.SliceStable(slots, func(i, j int) bool { return slots[i].From < slots[j].From })
	for i := 1; i < len(slots); i++ {
		if slots[i].From < slots[i-1].To {
			problems = append(problems, fmt.Sprintf("%s and %s overlap", describe(slots[i-1]), describe(slots[i])))
		}
	}
	return problems
}

func ofKind(rules []msha.Rule, kind msha.RuleKind) []msha.Rule {
	return slices.DeleteFunc(slices.Clone(rules), func(r msha.Rule) bool { return r.Kind != kind })
}

func describe(r msha.Rule) string {
	switch r.Kind {
	case msha.RuleExact:
		return fmt.Sprintf("exact %.60q", r.Value)
	case msha.RuleUnit:
		return fmt.Sprintf("unit %.60q", r.Value)
	case msha.RuleRange:
		return fmt.Sprintf("range [%.60q, %.60q)", r.Low, r.High)
	case msha.RuleSlot:
		return fmt.Sprintf("slots [%d, %d)", r.From, r.To)
	}
	return fmt.Sprintf("%.60q", string(r.Kind))
}

func sortedSets(t *msha.Table) []string {
	ids := make([]string, 0, len(t.Sets))
	for id := range t.Sets {
		ids = append(ids, id)
	}
	sort.Strings(ids)
	return ids
}
