package main

import (
	"bytes"
	"context"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDemo(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c, err := parseConfig([]string{"-log-file", t.TempDir() + "/demo.log"}, func(string) string { return "" }, nil)
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, runDemo(ctx, c, &out), out.String())
	line := regexp.MustCompile(`demo: (\d+) sent, (\d+) processed, (\d+) lost, (\d+) repeated; switch \d+ ms, back \d+ ms\n$`).FindStringSubmatch(out.String())
	require.NotNil(t, line, out.String())
	sent := 4*closedLoop + retrying + unprocessed + produced
	require.Equal(t, []string{strconv.Itoa(sent), strconv.Itoa(sent), "0", "0"}, line[1:])
	require.Regexp(t, `from unit-2 +`+strconv.Itoa(retrying+unprocessed+produced)+` +`+strconv.Itoa(2*closedLoop), out.String())
}

func TestVerdictFails(t *testing.T) {
	for name, spoil := range map[string]func(*demo){
		"lost":        func(d *demo) { d.g.journal.Sent("unit-1", "b"); d.sent++ },
		"repeated":    func(d *demo) { d.g.journal.Processed("unit-2", "a") },
		"send missed": func(d *demo) { d.sent++ },
	} {
		d := &demo{g: &gateway{journal: NewJournal()}, out: &bytes.Buffer{}}
		d.g.journal.Sent("unit-1", "a")
		d.g.journal.Processed("unit-1", "a")
		d.sent = 1
		require.NoError(t, d.verdict(0, 0), name)
		spoil(d)
		require.Error(t, d.verdict(0, 0), name)
	}
}
