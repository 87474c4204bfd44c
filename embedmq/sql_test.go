package embedmq

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

// What the contract does not play against real servers.
func TestSQLMatches(t *testing.T) {
	for expression, c := range map[string]struct {
		props map[string]string
		want  bool
	}{
		"not a is null":                          {map[string]string{}, true}, // (NOT a) IS NULL
		"a = 5L":                                 {map[string]string{"a": "5"}, true},
		"a = 5.":                                 {map[string]string{"a": " 5d "}, true},
		"a > .5e1":                               {map[string]string{"a": "0x1p3"}, true},
		"a > 1e300":                              {map[string]string{"a": "Infinity"}, true},
		"a < 1e300":                              {map[string]string{"a": "NaN"}, false},
		"a > 1e308":                              {map[string]string{"a": "NaN"}, true},
		"a > -0.5 AND a < 0.5":                   {map[string]string{"a": "-0"}, true},
		"a > 9223372036854775806":                {map[string]string{"a": "9223372036854775807"}, true},
		"- a > 5":                                {map[string]string{"a": "-9"}, false}, // a string has no sign
		"a = - - 5":                              {map[string]string{"a": "5"}, true},
		"a = (b = 'x')":                          {map[string]string{"a": "TRUE", "b": "x"}, true},
		"(a = 'x') = TRUE":                       {map[string]string{"a": "x"}, true},
		"5 = 5 AND 5 <> 6":                       {nil, true},
		"5 = 5.5":                                {nil, false},
		"5 < 3000000000":                         {nil, true},
		"5 = TRUE":                               {nil, false},
		"a < b":                                  {map[string]string{"a": "9", "b": "10"}, true},
		"a < b OR TRUE":                          {map[string]string{"a": "x", "b": "y"}, false},
		"a = b":                                  {map[string]string{"a": "x"}, false},
		"b = a":                                  {map[string]string{"a": "x"}, false},
		"a BETWEEN b AND 9":                      {map[string]string{"a": "5", "b": "5"}, true},
		"a NOT BETWEEN 9 AND 1":                  {map[string]string{"a": "5"}, true},
		"a NOT IN ('x')":                         {map[string]string{}, false},
		"a CONTAINS ''":                          {map[string]string{"a": "x"}, false},
		"a NOT CONTAINS ''":                      {map[string]string{"a": "x"}, false},
		"a = 'ü''' AND $b_1 IS NULL":             {map[string]string{"a": "ü'"}, true},
		"a = /* b */ 'x' -- c\r\nAND b IS NULL":  {map[string]string{"a": "x"}, true},
		"a = 0 07":                               {map[string]string{"a": "0"}, true}, // what follows is not read
		"a = 'x' OR b = 'y' AND b = 'z'":         {map[string]string{"a": "x"}, true},
		"NOT (a = 'x' AND b = 'y')":              {map[string]string{"b": "z"}, true},
		"(a = 'x' OR b = 'y') AND a IS NOT NULL": {map[string]string{"b": "y"}, false},
	} {
		f, err := compileSQL(expression)
		require.NoError(t, err, expression)
		require.Equal(t, c.want, f.matches(c.props), expression)
	}
}

func TestSQLRefuses(t *testing.T) {
	for expression, says := range map[string]string{
		"":                                 "unexpected end",
		"a = 'x":                           "lexical error at character 4",
		"a = 5 &":                          "lexical error",
		"a /* b":                           "lexical error",
		"a = 1e400":                        "too large or too small",
		"a = 0.0":                          "too large or too small",
		"a = 9223372036854775808":          "out of range",
		"a IN ('x'":                        "unexpected end",
		"a IN ()":                          `unexpected ")"`,
		"a IS NOT 5":                       `unexpected "5"`,
		"a CONTAINS b":                     `unexpected "b"`,
		"a BETWEEN 1":                      "unexpected end",
		"a BETWEEN NULL AND 1":             "no NULL",
		"a BETWEEN 2 AND 1":                "lower value first",
		"a = NULL":                         "NULL cannot be compared",
		"TRUE = 5":                         "boolean",
		"a > TRUE":                         "takes numbers",
		"-a AND b":                         "not a boolean",
		"NOT 5":                            "not a boolean",
		"(a = 5) IN ('x')":                 "IN takes a property",
		strings.Repeat("(", 5000) + "a":    "nested deeper",
		strings.Repeat("NOT ", 5000) + "a": "nested deeper",
	} {
		_, err := compileSQL(expression)
		require.ErrorIs(t, err, msha.ErrInvalid, expression)
		require.ErrorContains(t, err, says, expression)
	}
}

// Nothing makes the reader or the evaluation panic. What is read in parentheses is read without them too, and means the same.
func FuzzSQL(f *testing.F) {
	for _, s := range []string{"a = 5", "a IN ('x', 'it''s') AND NOT (b > 5.5e1 OR c IS NOT NULL)", "a BETWEEN -1 AND b", "a NOT CONTAINS 'x' -- y\n", "/* x */ TRUE", "a) OR (b",
		"((((a", "a = b = c <> TRUE", "5L = a"} {
		f.Add(s, "5", "x")
	}
	f.Fuzz(func(t *testing.T, expression, a, b string) {
		props := map[string]string{"a": a, "b": b}
		plain, err := compileSQL(expression)
		if err == nil {
			plain.matches(props)
		}
		whole, werr := compileSQL("(" + expression + "\n)")
		if werr != nil || strings.Contains(expression, ")") {
			return
		}
		require.NoError(t, err)
		require.Equal(t, whole.matches(props), plain.matches(props))
	})
}
