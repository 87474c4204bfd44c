package msha_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

func rulesNamed(t *testing.T, names ...string) []msha.Rule {
	t.Helper()
	rules, err := msha.ParseRules(names)
	require.NoError(t, err)
	return rules
}

func TestRulesAreCutAlongNamedOnes(t *testing.T) {
	rules := rulesNamed(t, "beijing", "shenzhen", "@range:a..g", "@range:m..t", "@slots:0-511", "@slots:600-699", "@default", "@unit-1")
	for _, c := range []struct{ named, inside, outside, gaps []string }{
		{named: []string{"beijing", "beijing"}, inside: []string{"beijing"}, outside: []string{"shenzhen", "@range:a..g", "@range:m..t", "@slots:0-511", "@slots:600-699", "@default", "@unit-1"}},
		{named: []string{"@default", "@unit-1", "@unit-2", "paris", "paris"}, inside: []string{"@default", "@unit-1"}, gaps: []string{"@unit-2", "paris"}},
		{named: []string{"@slots:0-255"}, inside: []string{"@slots:0-255"}, outside: []string{"beijing", "shenzhen", "@range:a..g", "@range:m..t", "@slots:256-511", "@slots:600-699", "@default", "@unit-1"}},
		{named: []string{"@slots:100-199", "@slots:150-299", "@slots:300-309"}, inside: []string{"@slots:100-309"}},
		{named: []string{"@slots:500-650"}, inside: []string{"@slots:500-511", "@slots:600-650"}, gaps: []string{"@slots:512-599"}},
		{named: []string{"@slots:0-1023"}, inside: []string{"@slots:0-511", "@slots:600-699"}, gaps: []string{"@slots:512-599", "@slots:700-1023"}},
		{named: []string{"@range:b..n"}, inside: []string{"@range:b..g", "@range:m..n"}, gaps: []string{"@range:g..m"}},
		{named: []string{"@range:a..g"}, inside: []string{"@range:a..g"}},
		{named: []string{"@range:u..v"}, gaps: []string{"@range:u..v"}},
		{named: []string{"@range:c..d", "@range:a..b"}, inside: []string{"@range:a..b", "@range:c..d"}},
	} {
		cut, gaps := msha.CutRules(rules, rulesNamed(t, c.named...))
		var inside, outside []string
		for _, part := range cut {
			if part.Named {
				inside = append(inside, msha.RuleName(part.Rule))
			} else {
				outside = append(outside, msha.RuleName(part.Rule))
			}
		}
		require.ElementsMatch(t, c.inside, inside, c.named)
		if c.outside != nil {
			require.ElementsMatch(t, c.outside, outside, c.named)
		}
		var missing []string
		for _, r := range gaps {
			missing = append(missing, msha.RuleName(r))
		}
		require.ElementsMatch(t, c.gaps, missing, c.named)
	}
	cut, gaps := msha.CutRules(rules, nil)
	require.Len(t, cut, len(rules))
	require.Empty(t, gaps)
}

func TestSetsOfARuleThatIsToBeAdded(t *testing.T) {
	in := func(set, name string) msha.Rule {
		r := rulesNamed(t, name)[0]
		r.Set = set
		return r
	}
	full := lookupTable(in("d", "@default"), in("s", "@slots:0-511"), in("r", "@range:a..c"), in("x", "apple"), in("u", "@unit-1"))
	some := lookupTable(in("s", "@slots:0-511"))
	for _, c := range []struct {
		table *msha.Table
		name  string
		want  []string
	}{
		{full, "b", []string{"r"}}, {full, "apple", []string{"x"}}, {full, "@slots:600-700", []string{"d"}}, {full, "@range:x..z", []string{"d", "s"}},
		{full, "@default", []string{"d"}}, {full, "@unit-1", []string{"u"}}, {full, "@unit-2", []string{""}},
		{some, "@range:x..z", []string{"", "s"}}, {some, "@slots:600-700", []string{""}}, {some, "@default", []string{""}},
		{lookupTable(in("d", "@default")), "@range:x..z", []string{"d"}}, {lookupTable(in("d", "@default"), in("d", "@slots:0-9")), "@range:x..z", []string{"d"}},
		{lookupTable(), "@range:x..z", []string{""}}, {&msha.Table{}, "b", []string{""}},
	} {
		require.Equal(t, c.want, c.table.SetsFor(rulesNamed(t, c.name)[0]), c.name)
	}
}
