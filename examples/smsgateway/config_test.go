package main

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

func TestConfigTakesThePublishedNames(t *testing.T) {
	env := map[string]string{"MSHA_UNIT_NAME": "unit-2", "msha.commander.namespace": "prod"}
	c, err := parseConfig([]string{"-role", "mtr,channel", "-units", "unit-1=a:1,unit-2=b:2"}, func(k string) string { return env[k] }, io.Discard)
	require.NoError(t, err)
	require.Equal(t, "unit-2", c.unit)
	require.Equal(t, "prod", c.namespace)
	require.Equal(t, map[string]bool{"mtr": true, "channel": true}, c.roles())

	c, err = parseConfig([]string{"-msha.unit.name", "unit-1", "-role", "all", "-units", "unit-1=a:1"}, func(k string) string { return env[k] }, io.Discard)
	require.NoError(t, err)
	require.Equal(t, "unit-1", c.unit, "a flag wins over the environment")
}

func TestConfigRefusesBadInput(t *testing.T) {
	none := func(string) string { return "" }
	for name, args := range map[string][]string{
		"role":      {"-role", "carrier"},
		"failures":  {"-carrier-failures", "2"},
		"latency":   {"-carrier-latency", "-1s"},
		"no units":  {"-role", "all"},
		"argument":  {"demo"},
		"commander": {"-msha.commander.addr", "nowhere"},
	} {
		_, err := parseConfig(args, none, io.Discard)
		require.Error(t, err, name)
	}
	for _, s := range []string{"", "unit-1", "unit-1=", "=a", "u=a,u=b"} {
		_, _, err := parseLists("units", s)
		require.ErrorIs(t, err, msha.ErrInvalid, s)
	}
	lists, names, err := parseLists("units", "b=x;y, a=z")
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b"}, names)
	require.Equal(t, []string{"x", "y"}, lists["b"])
}
