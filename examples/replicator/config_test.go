package main

import (
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/replicate"
)

func parse(t *testing.T, file string, env map[string]string, args ...string) (config, error) {
	t.Helper()
	if file != "" {
		path := filepath.Join(t.TempDir(), "replicator.yaml")
		require.NoError(t, os.WriteFile(path, []byte(file), 0o600))
		args = append([]string{"-config", path}, args...)
	}
	return parseConfig("replicator", args, settingsOf(place, copying, serving), noFlags, func(k string) string { return env[k] }, io.Discard)
}

const wholeFile = `
# everything there is
unit: unit-1
store: etcd://10.0.0.1:2379/msha/prod
namespace: other
targets: [unit-2, unit-3]
topics:
  - SMS
  - ORDER_*
deny: SECRET_*, TEST
on-gap: skip
lease: 30s
discover: 5s
batch-messages: 100
batch-bytes: 512KiB
memory: 64MiB
limit-messages: 20000
limit-bytes: 10MB
listen: 0.0.0.0:9000
credentials: /etc/msha/credentials.yaml
log-level: warn
log-format: json
progress: 1m
`

func TestConfigFileFlagsAndEnvironment(t *testing.T) {
	whole := config{
		unit: "unit-1", store: "etcd://10.0.0.1:2379/msha/prod", namespace: "other", targets: []string{"unit-2", "unit-3"}, topics: []string{"SMS", "ORDER_*"},
		deny: []string{"SECRET_*", "TEST"}, onGap: replicate.Skip, lease: 30 * time.Second, discover: 5 * time.Second, batchMessages: 100, batchBytes: 512 << 10, memory: 64 << 20,
		limitMessages: 20000, limitBytes: 10_000_000, listen: "0.0.0.0:9000", credentials: "/etc/msha/credentials.yaml", logLevel: "warn", logFormat: "json", progress: time.Minute,
	}
	got, err := parse(t, wholeFile, nil)
	require.NoError(t, err)
	require.Equal(t, whole, got)

	got, err = parse(t, "", nil, "-unit", "unit-1", "-store", "etcd://h:1")
	require.NoError(t, err)
	require.Equal(t, config{unit: "unit-1", store: "etcd://h:1", listen: "127.0.0.1:8090", logLevel: "info", logFormat: "text", progress: 30 * time.Second}, got)

	got, err = parse(t, wholeFile, map[string]string{"MSHA_UNIT": "unit-5", "MSHA_STORE": "redis://h:1"}, "-store", "nacos://h:1", "-topics", "A,B", "-on-gap", "stop", "-targets", "")
	require.NoError(t, err)
	require.Equal(t, "unit-5", got.unit, "the environment wins over the file")
	require.Equal(t, "nacos://h:1", got.store, "a flag wins over both")
	require.Equal(t, []string{"A", "B"}, got.topics)
	require.Equal(t, replicate.Stop, got.onGap)
	require.Nil(t, got.targets, "a flag can take a list back")

	got, err = parse(t, "", map[string]string{"msha.unit.name": "unit-7", "MSHA_COMMANDER_ADDR": "h:8848"})
	require.NoError(t, err, "the published names are understood")
	require.Equal(t, "unit-7", got.unit)
	require.Equal(t, "h:8848", got.store)

	got, err = parse(t, "unit: &u unit-1\nstore: etcd://h:1\nlease:\nnamespace: *u\n", nil)
	require.NoError(t, err)
	require.Zero(t, got.lease, "a key without a value is the default")
	require.Equal(t, "unit-1", got.namespace)
}

func TestConfigRefusesBadInput(t *testing.T) {
	const good = "unit: u\nstore: etcd://h:1\n"
	for name, c := range map[string]struct {
		file string
		args []string
		says string
	}{
		"nothing":            {"", nil, "the unit is missing"},
		"no store":           {"unit: u", nil, "the metastore is missing"},
		"memory":             {"unit: u\nstore: memory", nil, "inside one process"},
		"unknown key":        {good + "topcis: [SMS]", nil, `line 3: unknown key "topcis"; there are batch-bytes, `},
		"key twice":          {good + "unit: v", nil, "already"},
		"not YAML":           {"unit: [", nil, "yaml"},
		"no map":             {"- unit", nil, "line 1"},
		"list for a value":   {good + "listen: [a, b]", nil, "line 3: listen: want one value"},
		"map for a list":     {good + "topics: {a: b}", nil, "want a list"},
		"list in a list":     {good + "topics: [[a]]", nil, "want a list of names"},
		"duration":           {good + "lease: 5", nil, "line 3: lease"},
		"negative duration":  {good + "lease: -5s", nil, "not above 0"},
		"size":               {good + "limit-bytes: 10 apples", nil, "is no size"},
		"negative number":    {good + "limit-messages: -1", nil, "no number from 0"},
		"policy":             {good + "on-gap: hope", nil, "neither stop nor skip"},
		"level":              {good + "log-level: loud", nil, "log-level"},
		"format":             {good, []string{"-log-format", "xml"}, "log-format"},
		"flag":               {good, []string{"-limit-bytes", "much"}, "-limit-bytes"},
		"unknown flag":       {good, []string{"-topic", "SMS"}, "-h lists the flags"},
		"argument":           {good, []string{"SMS"}, "unexpected argument"},
		"file that is not":   {"", []string{"-config", "/no/such/file"}, "no such file"},
		"several at a time":  {"log-level: loud", nil, "the metastore is missing"},
		"several, the other": {"log-level: loud", nil, "log-level"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse(t, c.file, nil, c.args...)
			require.ErrorContains(t, err, c.says)
		})
	}
	_, err := parse(t, "", map[string]string{"MSHA_UNIT": "u"}, "-h")
	require.ErrorIs(t, err, flag.ErrHelp)
}

func TestSizes(t *testing.T) {
	for s, n := range map[string]int{"0": 0, "17": 17, "5B": 5, "1KB": 1000, "1KiB": 1024, "3 MB": 3e6, "2MiB": 2 << 20, "1GiB": 1 << 30} {
		got, err := parseBytes(s)
		require.NoError(t, err, s)
		require.Equal(t, n, got, s)
	}
	for _, s := range []string{"", "B", "1.5MB", "-1", "1kb", "1MM", "99999999999GiB", "x"} {
		_, err := parseBytes(s)
		require.Error(t, err, s)
	}
}

// FuzzConfig: any file is either refused or gives values that hold on their own.
func FuzzConfig(f *testing.F) {
	for _, s := range []string{wholeFile, "", "a: b", "unit: &x [*x]", "topics: [a, b]", "lease: 1h", "limit-bytes: 9223372036854775807GiB", "? [a]\n: b", "unit: !!binary aGk="} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var c config
		if c.decode(text) != nil {
			return
		}
		if c.limitMessages < 0 || c.limitBytes < 0 || c.batchMessages < 0 || c.batchBytes < 0 || c.lease < 0 || c.discover < 0 || c.progress < 0 {
			t.Fatalf("negative: %+v", c)
		}
		for _, list := range [][]string{c.topics, c.deny, c.targets} {
			for _, item := range list {
				if item == "" {
					t.Fatalf("empty item: %+v", c)
				}
			}
		}
	})
}
