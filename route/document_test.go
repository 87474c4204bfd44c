package route

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

func TestEveryProblemIsListed(t *testing.T) {
	table := &msha.Table{
		Rules: []msha.Rule{
			{Kind: msha.RuleExact, Value: "beijing", Set: "a"},
			{Kind: msha.RuleExact, Value: "beijing", Set: "a"},
			{Kind: msha.RuleExact, Value: "", Set: "a"},
			{Kind: msha.RuleExact, Value: "x\x01", Set: "a"},
			{Kind: msha.RuleExact, Value: "\xff", Set: "a"},
			{Kind: msha.RuleExact, Value: strings.Repeat("v", MaxValue+1), Set: "a"},
			{Kind: msha.RuleExact, Value: "@unit-1", Set: "a"},
			{Kind: msha.RuleExact, Value: "stray", Low: "l", Set: "a"},
			{Kind: msha.RuleUnit, Value: "unit-1", Set: "nowhere"},
			{Kind: msha.RuleRange, Low: "m", High: "m", Set: "a"},
			{Kind: msha.RuleRange, Low: "a", High: "f", Set: "a"},
			{Kind: msha.RuleRange, Low: "e", High: "g", Set: "a"},
			{Kind: msha.RuleSlot, From: -1, To: 5, Set: "a"},
			{Kind: msha.RuleSlot, From: 4, To: 9999, Set: "a"},
			{Kind: msha.RuleDefault, Set: "a"},
			{Kind: msha.RuleDefault, Set: "a"},
			{Kind: "regexp", Set: "a"},
		},
		Sets: map[string]msha.RouteSet{
			"a": {ID: "a", Owner: "unit-1", Term: 1, State: msha.SetOpen},
			"b": {ID: "c", State: "ajar", Parent: "b"},
			"d": {ID: "d", Owner: "u", Term: 1, State: msha.SetFenced},
			"e": {ID: "e", Owner: "u", Term: 1, State: msha.SetOpen, Switch: "s"},
		},
	}
	err := Check(table)
	require.ErrorIs(t, err, msha.ErrInvalid)
	for _, want := range []string{
		"version: must be 1 or more", `rule 1 (exact "beijing"): repeats rule 0`, "rule 2", "empty value", "bytes 0, 1 and 2", "must be UTF-8", "at most 1024",
		"marks unit rules", "fields of another kind", `unknown set "nowhere"`, "low must be below high", `range ["a", "f") and range ["e", "g") overlap`,
		"0 <= from < to <= 1024", "slots [-1, 5) and slots [4, 9999) overlap", "rule 15", `unknown kind "regexp"`,
		`set "b": id is "c"`, `set "b": no owner`, `set "b": term must be 1`, "is its own parent", `state "ajar"`, `set "d": is fenced, but names no switch`,
		`set "d": is fenced without a deadline`, `set "e": is open, but names a switch`,
	} {
		require.ErrorContains(t, err, want)
	}
	_, encodeErr := Encode(table)
	require.ErrorIs(t, encodeErr, msha.ErrInvalid)
	require.ErrorIs(t, Check(nil), msha.ErrInvalid)
}

func TestALongListOfProblemsIsCutAndCounted(t *testing.T) {
	table := &msha.Table{Version: 1}
	for i := range maxProblems + 12 {
		table.Rules = append(table.Rules, msha.Rule{Kind: msha.RuleExact, Value: fmt.Sprint(i), Set: "gone"})
	}
	require.ErrorContains(t, Check(table), "; and 12 more")
}

func TestSyntaxErrorsNameTheirPlace(t *testing.T) {
	for doc, want := range map[string]string{
		"":                             "empty document",
		" \n ":                         "empty document",
		"{\n  \"version\": x}":         "line 2, column 14",
		"{\"version\": 1,":             "cut off",
		"{\"version\": \"one\"}":       "line 1",
		"{\"version\": 1, \"x\": 2}":   "unknown field",
		"{\"version\": 1} {}":          "data after the document",
		"[]":                           "line 1",
		"{\"version\": -1}":            "line 1",
		"{\"rules\": [{\"kind\": 3}]}": "line 1",
	} {
		_, err := Parse([]byte(doc))
		require.ErrorIs(t, err, msha.ErrInvalid, doc)
		require.ErrorContains(t, err, want, doc)
	}
}

func TestADocumentOverTheLimitIsRefusedWithAHint(t *testing.T) {
	values := make([]string, 12_000)
	for i := range values {
		values[i] = fmt.Sprintf("value-%06d-%s", i, strings.Repeat("x", 30))
	}
	table, err := New([]string{"unit-1"}, map[string][]string{"unit-1": values})
	require.NoError(t, err)
	_, encodeErr := Encode(table)
	_, parseErr := Parse(bytes.Repeat([]byte(" "), MaxDocument+1))
	for _, err := range []error{encodeErr, parseErr} {
		require.ErrorIs(t, err, msha.ErrTooLarge)
		require.ErrorContains(t, err, "ranges or hash slots")
		var op *msha.OpError
		require.ErrorAs(t, err, &op)
		require.Equal(t, msha.TableKey, op.Resource)
	}
	table, err = New([]string{"unit-1"}, map[string][]string{"unit-1": values[:4000]})
	require.NoError(t, err)
	b, err := Encode(table)
	require.NoError(t, err)
	require.LessOrEqual(t, len(b), MaxDocument)
}

func TestARouterListEditedByHandIsRefused(t *testing.T) {
	b, err := Encode(twoUnits(t))
	require.NoError(t, err)
	moved := bytes.Replace(b, []byte(`"values":["beijing"]`), []byte(`"values":["beijing","guangzhou"]`), 1)
	require.NotEqual(t, b, moved)
	_, err = Parse(moved)
	require.ErrorIs(t, err, msha.ErrInvalid)
	require.ErrorContains(t, err, "values are moved by a switch")
	require.ErrorContains(t, err, "values=[beijing, guangzhou]")
	without := bytes.Replace(b, []byte(`"routers":`), []byte(`"routers":null,"`), 1)
	_, err = Parse(without)
	require.ErrorIs(t, err, msha.ErrInvalid)
}

func TestNewRefusesValuesOfUnknownUnitsAndRepeats(t *testing.T) {
	_, err := New([]string{"unit-1"}, map[string][]string{"unit-9": {"v"}})
	require.ErrorIs(t, err, msha.ErrNotFound)
	require.ErrorContains(t, err, "unit-1")
	_, err = New([]string{"unit-1", "unit-2"}, map[string][]string{"unit-1": {"v"}, "unit-2": {"v"}})
	require.ErrorIs(t, err, msha.ErrInvalid)
	_, err = New([]string{"unit-1", "unit-1"}, nil)
	require.ErrorIs(t, err, msha.ErrInvalid)
}
