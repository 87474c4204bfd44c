//go:build real

package redis

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/internal/netproxy"
	"github.com/go-msha/msha/internal/realstore"
	"github.com/go-msha/msha/metastore/metastoretest"
)

// limited are the permissions the package doc lists, and no more.
const limited = "~{msha}:* &{msha}:* -@all +hello +auth +ping +select +role +wait +eval +evalsha +hmget +hget +hset +hdel +hexists +hgetall " +
	"+time +zadd +zscore +zrem +zrangebyscore +publish +subscribe +unsubscribe"

const memberTTL = 2 * time.Second

func open(t *testing.T, addrs []string, o Options) *Store {
	t.Helper()
	if o.MemberTTL == 0 {
		o.MemberTTL = memberTTL
	}
	s, err := Open(t.Context(), addrs, &o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func proxy(t *testing.T, target string) *netproxy.Proxy {
	t.Helper()
	p, err := netproxy.Start(target)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	return p
}

// A user with the documented permissions only passes the whole suite.
func TestConformanceOfAStandaloneServer(t *testing.T) {
	t.Parallel()
	server := realstore.Redis(t, &realstore.RedisOptions{Config: map[string]string{"user limited": "on >secret " + limited}})
	user := Options{User: "limited", Password: "secret"}
	metastoretest.Run(t, func(t *testing.T) metastoretest.Harness {
		p := proxy(t, server.Addr())
		through := server.Addrs()
		if strings.Contains(t.Name(), "/reconnect/") {
			through = []string{p.Addr()} // the others need no cut, and are much faster without
		}
		store := open(t, through, user)
		return metastoretest.Harness{
			Store: store, Members: store, Second: open(t, through, user), Outside: open(t, server.Addrs(), user),
			TooLarge: MaxValue + 1, MemberTTL: memberTTL, Patience: patience,
			Cut: func() func() {
				p.Cut()
				return p.Heal
			},
			Restart: func() { require.NoError(t, server.Restart(context.Background())) },
		}
	})
}

func TestConformanceOfSentinel(t *testing.T) {
	t.Parallel()
	server := realstore.Sentinel(t, &realstore.SentinelOptions{RedisOptions: realstore.RedisOptions{Password: "secret"}, SentinelPassword: "watch"})
	o := Options{Master: realstore.MasterName, Password: "secret", SentinelPassword: "watch", Replicas: 1}
	metastoretest.Run(t, func(t *testing.T) metastoretest.Harness {
		store := open(t, server.Addrs(), o)
		return metastoretest.Harness{Store: store, Members: store, Second: open(t, server.Addrs(), o), TooLarge: MaxValue + 1, Writes: 100}
	})
}

func TestConformanceOfACluster(t *testing.T) {
	t.Parallel()
	server := realstore.RedisCluster(t, nil)
	o := Options{Cluster: true}
	metastoretest.Run(t, func(t *testing.T) metastoretest.Harness {
		store := open(t, server.Addrs(), o)
		return metastoretest.Harness{Store: store, Members: store, Second: open(t, server.Addrs()[1:2], o), TooLarge: MaxValue + 1, Writes: 200}
	})
}
