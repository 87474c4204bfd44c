package msha_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

func TestNamesOfRules(t *testing.T) {
	for name, r := range map[string]msha.Rule{
		"guangzhou":            {Kind: msha.RuleExact, Value: "guangzhou"},
		"default":              {Kind: msha.RuleExact, Value: "default"},
		"range:a..m":           {Kind: msha.RuleExact, Value: "range:a..m"},
		"50%":                  {Kind: msha.RuleExact, Value: "50%"},
		"new york":             {Kind: msha.RuleExact, Value: "new york"},
		"@exact:a%2Cb":         {Kind: msha.RuleExact, Value: "a,b"},
		"@exact:%20a":          {Kind: msha.RuleExact, Value: " a"},
		"@exact:@a":            {Kind: msha.RuleExact, Value: "@a"},
		"@range:a..m":          {Kind: msha.RuleRange, Low: "a", High: "m"},
		"@range:..m":           {Kind: msha.RuleRange, High: "m"},
		"@range:a%2E..a%2E%2C": {Kind: msha.RuleRange, Low: "a.", High: "a.,"},
		"@slots:0-511":         {Kind: msha.RuleSlot, To: 512},
		"@slots:7-7":           {Kind: msha.RuleSlot, From: 7, To: 8},
		"@slots:0-1023":        {Kind: msha.RuleSlot, To: msha.Slots},
		"@default":             {Kind: msha.RuleDefault},
		"@unit-1":              {Kind: msha.RuleUnit, Value: "unit-1"},
		"@unit:default":        {Kind: msha.RuleUnit, Value: "default"},
		"@unit:slots:0-511":    {Kind: msha.RuleUnit, Value: "slots:0-511"},
		"@unit:a%25":           {Kind: msha.RuleUnit, Value: "a%"},
	} {
		require.Equal(t, name, msha.RuleName(r))
		got, err := msha.ParseRule(name)
		require.NoError(t, err, name)
		require.Equal(t, r, got, name)
		got, err = msha.ParseRule(msha.RuleName(r))
		require.NoError(t, err, name)
		require.Equal(t, r, got)
	}
	r, err := msha.ParseRule("@exact:beijing")
	require.NoError(t, err)
	require.Equal(t, msha.Rule{Kind: msha.RuleExact, Value: "beijing"}, r, "the long form of a plain value")
}

func TestNamesThatNameNothing(t *testing.T) {
	for name, says := range map[string]string{
		"": "empty value", "@": "no such kind", "@exact:": "no value", "@exact:%zz": "wrong %XX", "@unit:": "no value", "@slot:0-5": "no such kind",
		"@range:a": "two bounds", "@range:m..a": "must be below", "@range:a..a": "must be below", "@range:%..a": "wrong %XX", "@range:a..": "must be below",
		"@slots:": "first and the last", "@slots:5": "first and the last", "@slots:5-4": "first and the last", "@slots:0-1024": "first and the last",
		"@slots:-1-4": "first and the last", "@slots:+1-4": "first and the last", "@exact:%FF": "not UTF-8", "\xff": "not UTF-8", "@range:a..%FF": "not UTF-8",
	} {
		_, err := msha.ParseRule(name)
		require.ErrorIs(t, err, msha.ErrInvalid, name)
		require.ErrorContains(t, err, says, name)
		require.ErrorContains(t, err, "@range:low..high", "the forms are listed")
		_, err = msha.ParseRules([]string{"beijing", name})
		require.ErrorIs(t, err, msha.ErrInvalid, name)
	}
}

// FuzzRuleName: formatter and parser are inverse, whatever the values are, and names can be listed with commas.
func FuzzRuleName(f *testing.F) {
	for _, name := range []string{"beijing", "@exact:a%2Cb", "@range:a..m", "@range:a%2E..b", "@slots:0-511", "@default", "@unit-1", "@unit:default", "@@a", "@unit:%25"} {
		f.Add(name, "a.", "b,", 3, 9)
	}
	f.Add("\u00a0", "\u3000", "\u3000\u0085", 0, msha.Slots)
	f.Fuzz(func(t *testing.T, s, low, high string, from, to int) {
		rules := []msha.Rule{{Kind: msha.RuleDefault}}
		if r, err := msha.ParseRule(s); err == nil {
			rules = append(rules, r)
		}
		if s != "" && utf8.ValidString(s) {
			rules = append(rules, msha.Rule{Kind: msha.RuleExact, Value: s}, msha.Rule{Kind: msha.RuleUnit, Value: s})
		}
		if low < high && utf8.ValidString(low) && utf8.ValidString(high) {
			rules = append(rules, msha.Rule{Kind: msha.RuleRange, Low: low, High: high})
		}
		if 0 <= from && from < to && to <= msha.Slots {
			rules = append(rules, msha.Rule{Kind: msha.RuleSlot, From: from, To: to})
		}
		names := map[string]msha.Rule{}
		for _, r := range rules {
			name := msha.RuleName(r)
			again, err := msha.ParseRule(name)
			if err != nil || again != r {
				t.Fatalf("%+v is named %q, which is %+v (%v)", r, name, again, err)
			}
			if strings.Contains(name, ",") || strings.TrimSpace(name) != name {
				t.Fatalf("%q cannot be in a list", name)
			}
			if other, taken := names[name]; taken && other != r {
				t.Fatalf("%q names %+v and %+v", name, r, other)
			}
			names[name] = r
		}
	})
}
