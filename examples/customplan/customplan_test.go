package main

import (
	"bytes"
	"context"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/rlog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	rlog.SetLogLevel("fatal")
	goleak.VerifyTestMain(m,
		// client-go starts the first when it is imported; its producers' loops see only at their next turn that they are closed.
		goleak.IgnoreTopFunction("github.com/patrickmn/go-cache.(*janitor).Run"),
		goleak.IgnoreAnyFunction("github.com/apache/rocketmq-client-go/v2/primitive.WithRecover"),
	)
}

var lastLine = regexp.MustCompile(`customplan: (\d+) sent, (\d+) processed \((\d+) in unit-1, (\d+) in unit-2\), 0 lost, 0 repeated; ([^\n]+)\n$`)

func TestStory(t *testing.T) {
	for _, tc := range []struct {
		args   []string
		status int
		lines  []string // in this order
		never  []string
		ends   string
	}{
		{
			status: moved, ends: "the routes moved (exit status 0)",
			lines: []string{
				"ready: true; moves [guangzhou] from unit-2 to unit-1", "steps: [check approve drain-gateway fence drain freeze-db confirm hand over commit thaw-db take over]",
				"approve: approval needed", "approve: approved by the night shift", "drain-gateway: unit-2's gateway is drained", "fence …", "drain …",
				"freeze-db failed, attempt 1 of 3: a transaction is open", "freeze-db: unit-2's database refuses writes", "commit …", "thaw-db: unit-2's database takes writes again",
				"done, guangzhou in ", "freeze-db took 2 attempts; approve approved by the night shift: as planned",
			},
			never: []string{"undo", "open again in"},
		},
		{
			args: []string{"-refuse"}, status: refused, ends: "the approval was refused (exit status 3)",
			lines: []string{"approve: refused by the night shift", "approve failed: ", "aborted, guangzhou in "},
			never: []string{"fence …", "undo", "drained"},
		},
		{
			args: []string{"-fail", stepFreeze}, status: rolledBack, ends: "rolled back (exit status 4)",
			lines: []string{
				"drain-gateway: unit-2's gateway is drained", "fence …", "freeze-db failed, attempt 1 of 3", "freeze-db failed, attempt 2 of 3", "freeze-db failed: ",
				"the routes are open again in unit-2", "undo drain-gateway: unit-2's gateway is open again", "aborted, guangzhou in ",
			},
			never: []string{"commit …", "undo freeze-db", "thaw-db …"},
		},
		{
			args: []string{"-fail", stepThaw}, status: movedBadly, ends: "repair by hand (exit status 5)",
			lines: []string{"freeze-db: unit-2's database refuses writes", "commit …", "thaw-db failed: ", "take over …", "done, guangzhou in "},
			never: []string{"undo", "open again in"},
		},
	} {
		t.Run(strings.Join(append([]string{"story"}, tc.args...), " "), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			var out, stderr bytes.Buffer
			status := run(ctx, tc.args, &out, &stderr)
			require.Equal(t, tc.status, status, "%s%s", &out, &stderr)
			require.Empty(t, stderr.String())
			rest := out.String()
			for _, line := range tc.lines {
				_, after, found := strings.Cut(rest, line)
				require.True(t, found, "%q is missing, or in the wrong place:\n%s", line, &out)
				rest = after
			}
			for _, line := range tc.never {
				require.NotContains(t, out.String(), line)
			}
			m := lastLine.FindStringSubmatch(out.String())
			require.NotNil(t, m, out.String())
			n := make([]int, 5)
			for i := range n[1:] {
				n[i+1], _ = strconv.Atoi(m[i+1])
			}
			require.Equal(t, n[1], n[2], "every message once")
			require.Equal(t, n[2], n[3]+n[4])
			require.GreaterOrEqual(t, n[1], 4*before)
			if tc.status == moved {
				require.Greater(t, n[3], n[4]+before/2, "the rest of guangzhou is unit-1's")
			}
			require.Contains(t, m[5], tc.ends)
		})
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"-fail", "lunch"}, {"more"}, {"-unknown"}} {
		var out, stderr bytes.Buffer
		require.Equal(t, usage, run(t.Context(), args, &out, &stderr))
		require.Empty(t, out.String())
		require.NotEmpty(t, stderr.String())
	}
}

func TestVerdictFails(t *testing.T) {
	s := &story{units: map[string]*unit{"unit-1": {database: &database{}}, "unit-2": {database: &database{}}}, out: &bytes.Buffer{}, sent: []string{"a"}}
	for _, u := range s.units {
		require.NoError(t, u.database.write("a"))
	}
	require.ErrorContains(t, s.verdict(t.Context(), refused), "1 repeated")
}
