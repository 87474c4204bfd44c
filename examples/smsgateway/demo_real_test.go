//go:build real

package main

import "testing"

func TestDemoOnEtcd(t *testing.T) {
	t.Parallel()
	playInProcesses(t, "etcd", "started for the demo: etcd Version: 3")
}

func TestDemoOnRedis(t *testing.T) {
	t.Parallel()
	playInProcesses(t, "redis", "started for the demo: Redis server v=")
}
