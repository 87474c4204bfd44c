package msha

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// RulePrefix begins the name of a rule that is not written as a plain exact value. No exact rule has a value that begins with it.
const RulePrefix = "@"

const (
	defaultName = "default"
	rangeSign   = ".."
	slotsSign   = "-"
	nameHint    = "names of rules: value, @exact:value, @range:low..high, @slots:first-last, @default, @unit, @unit:name"
)

// RuleName names a rule in requests, plans and reports; ParseRule reads it back. A name says which values, not which route set. What is
// named are the values that the rule, or a part of it, catches: those that no rule of higher precedence does.
//
//	guangzhou          the exact value
//	@exact:a%2Cb       the exact value "a,b"
//	@range:a..m        a <= value < m, in byte order; without a bound in front: from the first value on
//	@slots:0-511       hash slots, the last one included
//	@default           what no other rule catches
//	@unit-1            messages without a value that were made in unit-1
//	@unit:default      the same of a unit whose name would be taken for something else
//
// Names never hold a comma, nor a space at their ends, so they can be listed. Behind a colon, %XX stands for a byte: commas, spaces, control
// characters and "%" are written so, and in the bounds of a range the full stop.
func RuleName(r Rule) string {
	switch r.Kind {
	case RuleExact:
		if strings.HasPrefix(r.Value, RulePrefix) || strings.Contains(r.Value, ",") || strings.TrimSpace(r.Value) != r.Value {
			return RulePrefix + string(RuleExact) + ":" + escapeName(r.Value, "")
		}
		return r.Value
	case RuleUnit:
		if r.Value == defaultName || strings.Contains(r.Value, ":") || escapeName(r.Value, "") != r.Value {
			return RulePrefix + string(RuleUnit) + ":" + escapeName(r.Value, "")
		}
		return RulePrefix + r.Value
	case RuleRange:
		return RulePrefix + string(RuleRange) + ":" + escapeName(r.Low, ".") + rangeSign + escapeName(r.High, ".")
	case RuleSlot:
		return fmt.Sprintf("%sslots:%d%s%d", RulePrefix, r.From, slotsSign, r.To-1)
	case RuleDefault:
		return RulePrefix + defaultName
	}
	return RulePrefix + string(r.Kind)
}

// ParseRule reads a name of RuleName; the rule has no route set. ErrInvalid says what is wrong with a name and lists the forms there are.
func ParseRule(name string) (Rule, error) {
	r, err := parseRule(name)
	if err == nil && !(utf8.ValidString(r.Value) && utf8.ValidString(r.Low) && utf8.ValidString(r.High)) {
		return Rule{}, wrongName(name, "not UTF-8")
	}
	return r, err
}

func parseRule(name string) (Rule, error) {
	rest, special := strings.CutPrefix(name, RulePrefix)
	kind, text, form := strings.Cut(rest, ":")
	switch {
	case name == "":
		return Rule{}, wrongName(name, "empty value")
	case !special:
		return Rule{Kind: RuleExact, Value: name}, nil
	case rest == defaultName:
		return Rule{Kind: RuleDefault}, nil
	case !form && rest != "":
		return Rule{Kind: RuleUnit, Value: rest}, nil
	}
	switch kind {
	case string(RuleExact), string(RuleUnit):
		value, err := url.PathUnescape(text)
		if err != nil || value == "" {
			return Rule{}, wrongName(name, "no value, or a wrong %XX")
		}
		return Rule{Kind: RuleKind(kind), Value: value}, nil
	case string(RuleRange):
		return parseRange(name, text)
	case "slots":
		return parseSlots(name, text)
	}
	return Rule{}, wrongName(name, "no such kind of rule")
}

func parseRange(name, text string) (Rule, error) {
	first, second, ok := strings.Cut(text, rangeSign)
	if !ok {
		return Rule{}, wrongName(name, "a range has two bounds with two full stops between them")
	}
	low, lowErr := url.PathUnescape(first)
	high, highErr := url.PathUnescape(second)
	switch {
	case lowErr != nil || highErr != nil:
		return Rule{}, wrongName(name, "a wrong %XX")
	case low >= high:
		return Rule{}, wrongName(name, "the low bound must be below the high one, which is not in the range")
	}
	return Rule{Kind: RuleRange, Low: low, High: high}, nil
}

func parseSlots(name, text string) (Rule, error) {
	first, second, _ := strings.Cut(text, slotsSign)
	from, fromErr := strconv.ParseUint(first, 10, 16)
	last, lastErr := strconv.ParseUint(second, 10, 16)
	if fromErr != nil || lastErr != nil || from > last || last >= Slots {
		return Rule{}, wrongName(name, fmt.Sprintf("want the first and the last of slots 0 to %d", Slots-1))
	}
	return Rule{Kind: RuleSlot, From: int(from), To: int(last) + 1}, nil
}

// ParseRules reads several names.
func ParseRules(names []string) ([]Rule, error) {
	out := make([]Rule, 0, len(names))
	for _, name := range names {
		r, err := ParseRule(name)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

func wrongName(name, what string) error {
	return Errorf("rule.parse", fmt.Sprintf("%.60q", name), nameHint, "%w: %s", ErrInvalid, what)
}

// escapeName writes what would end a name in a list, and the characters of more, as %XX.
func escapeName(s, more string) string {
	var b strings.Builder
	for _, r := range s {
		if r != '%' && r != ',' && !unicode.IsSpace(r) && !unicode.IsControl(r) && !strings.ContainsRune(more, r) {
			b.WriteRune(r)
			continue
		}
		for _, c := range []byte(string(r)) {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
