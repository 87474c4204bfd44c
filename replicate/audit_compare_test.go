package replicate

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
)

func TestWhatACopyMayChange(t *testing.T) {
	type props = map[string]string
	const unit = msha.PropertyUnit
	for name, c := range map[string]struct {
		original, copied props
		want             string // "": nothing differs
	}{
		"same":                     {props{"a": "b", unit: "u"}, props{"a": "b", unit: "u"}, ""},
		"unit set":                 {nil, props{unit: "unit-1"}, ""},
		"unit not set":             {nil, nil, `"MSHA_UNIT": "unit-1", the copy has none`},
		"empty unit set":           {props{unit: ""}, props{unit: "unit-1"}, ""},
		"unit of another":          {nil, props{unit: "unit-2"}, `"MSHA_UNIT": "unit-1", the copy has "unit-2"`},
		"unit replaced":            {props{unit: "unit-3"}, props{unit: "unit-1"}, `"MSHA_UNIT": "unit-3", the copy has "unit-1"`},
		"origin":                   {props{msha.PropertyOrigin: "x", unit: "u"}, props{msha.PropertyOrigin: "y", unit: "u"}, ""},
		"key given by the broker":  {props{unit: "u"}, props{unit: "u", "UNIQ_KEY": "k"}, ""},
		"key changed":              {props{unit: "u", "UNIQ_KEY": "k"}, props{unit: "u", "UNIQ_KEY": "l"}, `"UNIQ_KEY": "k", the copy has "l"`},
		"key lost":                 {props{unit: "u", "UNIQ_KEY": "k"}, props{unit: "u"}, `"UNIQ_KEY": "k", the copy has none`},
		"broker's marks":           {props{unit: "u", "CLUSTER": "a", "TRACE_ON": "true"}, props{unit: "u", "CLUSTER": "b", "MSG_REGION": "r"}, ""},
		"wait not stored":          {props{unit: "u", "WAIT": "true"}, props{unit: "u"}, ""},
		"wait changed":             {props{unit: "u", "WAIT": "true"}, props{unit: "u", "WAIT": "false"}, `"WAIT": "true", the copy has "false"`},
		"stripped":                 {props{unit: "u", "TRAN_MSG": "true", "DELAY": "3", "TIMER_X": "1", "REAL_QID": "1", "MSHA_RETRY": "2"}, props{unit: "u"}, ""},
		"not stripped":             {props{unit: "u", "DELAY": "3"}, props{unit: "u", "DELAY": "3"}, `"DELAY": none, the copy has "3"`},
		"timer added":              {props{unit: "u"}, props{unit: "u", "TIMER_OUT_MS": "3"}, `"TIMER_OUT_MS": none, the copy has "3"`},
		"empty is not absent":      {props{unit: "u", "e": ""}, props{unit: "u"}, `"e": "", the copy has none`},
		"tag, key and one more":    {props{unit: "u", "TAGS": "t", "KEYS": "k", "x": "é"}, props{unit: "u", "TAGS": "T", "KEYS": "k", "y": "é"}, `"TAGS": "t", the copy has "T"; "x": "é", the copy has none; "y": none, the copy has "é"`},
		"transaction id and group": {props{unit: "u", "PGROUP": "g"}, props{unit: "u"}, `"PGROUP": "g", the copy has none`},
	} {
		t.Run(name, func(t *testing.T) {
			got := flaws("unit-1", &remoting.Message{Properties: c.original}, &remoting.Message{Properties: c.copied})
			if c.want == "" {
				require.Empty(t, got)
				return
			}
			require.Equal(t, []flaw{{AlteredProperty, c.want}}, got)
		})
	}
}

func TestFlagsThatMatter(t *testing.T) {
	flags := func(a, b int32) int {
		return len(flaws("u", &remoting.Message{SysFlag: a}, &remoting.Message{SysFlag: b, Properties: map[string]string{msha.PropertyUnit: "u"}}))
	}
	require.Zero(t, flags(remoting.SysTransCommit|remoting.SysBornHostV6, remoting.SysStoreHostV6))
	require.Equal(t, 1, flags(remoting.SysCompressed, 0))
	require.Equal(t, 1, flags(remoting.SysCompressed|1<<8, remoting.SysCompressed|2<<8))
	require.Equal(t, 1, flags(0, remoting.SysMultiTags))
}

func TestDetailsAreBounded(t *testing.T) {
	many := map[string]string{}
	for i := range 200 {
		many[fmt.Sprint("p", i)] = string(noise(t, 300))
	}
	got := flaws("u", &remoting.Message{Properties: many}, &remoting.Message{})
	require.Len(t, got, 1)
	require.Less(t, len(got[0].detail), 5000)
	require.Contains(t, got[0].detail, "and more")
}

// TestTheAuditKnowsEveryRuleOfACopy holds the two lists of rules against each other.
func TestTheAuditKnowsEveryRuleOfACopy(t *testing.T) {
	for name := range dropped {
		require.True(t, notCopied[name] || brokerMarks[name], name)
	}
	for name := range notCopied {
		require.True(t, dropped[name], name)
	}
}
