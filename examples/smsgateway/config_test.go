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

	for _, addr := range []string{"10.0.0.1:8848", "nacos://10.0.0.1:8848", "etcd://h:1,h:2/x", "redis+sentinel://h:1/main"} {
		c, err = parseConfig([]string{"-role", "replicator", "-msha.unit.name", "unit-1", "-msha.commander.addr", addr}, func(string) string { return "" }, io.Discard)
		require.NoError(t, err, "a shared metastore knows the units")
		require.Equal(t, addr, c.commander)
		require.False(t, c.controls, "nothing is broken by default")
	}
}

func TestConfigOfTheDemo(t *testing.T) {
	for _, args := range [][]string{{}, {"-store", "etcd"}, {"-store", "nacos", "-msha.commander.addr", "h:8848"}, {"-msha.commander.addr", "rediss://h:1"}} {
		_, err := parseConfig(args, func(string) string { return "" }, io.Discard)
		require.NoError(t, err, args)
	}
}

func TestStoreKind(t *testing.T) {
	for addr, kind := range map[string]string{
		"memory": "memory", "memory://": "memory", "h:8848": "nacos", "h1:1,h2:2": "nacos", "nacos://h:1": "nacos", "nacoss://h:1": "nacos",
		"etcd://h:1/p": "etcd", "etcds://h:1": "etcd", "redis://h:1": "redis", "rediss://h:1": "redis", "rediss+cluster://h:1": "redis", "zookeeper://h:1": "",
	} {
		require.Equal(t, kind, storeKind(addr), addr)
	}
	require.NotContains(t, showAddr("redis://user:secret@h:1/p"), "secret")
	require.NotContains(t, showAddr("redis://user:secret%zz@h:1/p"), "secret")
}

func TestConfigRefusesBadInput(t *testing.T) {
	none := func(string) string { return "" }
	for name, args := range map[string][]string{
		"role":      {"-role", "carrier"},
		"failures":  {"-carrier-failures", "2"},
		"latency":   {"-carrier-latency", "-1s"},
		"no units":  {"-role", "all"},
		"argument":  {"demo"},
		"no store":  {"-store", "zookeeper"},
		"two":       {"-store", "etcd", "-msha.commander.addr", "redis://h:1"},
		"not ours":  {"-role", "manager", "-store", "etcd", "-msha.commander.addr", "etcd://h:1"},
		"alone":     {"-role", "manager", "-msha.commander.addr", "memory"},
		"commander": {"-role", "manager", "-msha.commander.addr", "zookeeper://h:1"},
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
