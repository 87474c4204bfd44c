package open

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

func TestParse(t *testing.T) {
	for s, want := range map[string]target{
		"memory":         {backend: "memory"},
		"memory://":      {backend: "memory", query: map[string]string{}},
		"10.0.0.1:8848":  {backend: "nacos", hosts: []string{"10.0.0.1:8848"}, query: map[string]string{}},
		"h1:8848,h2:880": {backend: "nacos", hosts: []string{"h1:8848", "h2:880"}, query: map[string]string{}},
		"etcd://h1:1,h2:2/msha/prod?ttl=5s": {
			backend: "etcd", hosts: []string{"h1:1", "h2:2"}, path: "msha/prod", ttl: 5 * time.Second, query: map[string]string{"ttl": "5s"},
		},
		"rediss+sentinel://me:p%40ss@h:1/main/prod?db=2": {
			backend: "redis", mode: "sentinel", tls: true, user: "me", password: "p@ss", hosts: []string{"h:1"}, path: "main/prod", query: map[string]string{"db": "2"},
		},
		"nacos://[::1]:8848?group=G": {backend: "nacos", hosts: []string{"[::1]:8848"}, query: map[string]string{"group": "G"}},
	} {
		got, err := parse(s)
		require.NoError(t, err, s)
		require.Equal(t, want, got, s)
	}
}

func TestParseRefuses(t *testing.T) {
	for s, says := range map[string]string{
		"":                                "unknown scheme",
		"zookeeper://h:1":                 "etcds",
		"etcd://":                         "host:port",
		"etcd://h":                        "host:port",
		"etcd://h:":                       "host:port",
		"etcd://h:1,":                     "host:port",
		"etcd://h:1?db=1":                 "known parameters",
		"redis://h:1?ttl=-1s":             "ttl",
		"redis://h:1?ttl=1s&ttl=2s":       "once",
		"redis://h:1?cert=a":              "both",
		"redis://u:secret@h:1?nonsense=1": "nonsense",
		"redis://u:secret@h:1/%zz":        "does not parse",
		"redis://u:secret@h:1/?a=%zz":     "parameters",
		"etcdd://u:secret@h:1":            "unknown scheme",
		"etcd://u:secret@h":               "host:port",
		"memory://h:1":                    "no address",
		"redis://u:sec%zzret@h:1/":        "escape",
		"localhost":                       "host:port",
		"nacos://u:secret@h:1/?ttl=1s":    "ttl",
		"redis://h:1?password=u:secret":   `parameter "password"`,
		"redis://u:12#u:secret@h:1":       "escape",
		"redis://u:12/u:secret@h:1":       "escape",
		"redis://u:12?u:secret@h:1":       "escape",
		"redis://u:12/u:secret%40h:1#":    "escape",
		"etcd://h:1?ca=/ca.pem":           "etcds",
		"redis://h:1?servername=h":        "rediss",
		"redis+cluster://h:1?ca=a":        "rediss+cluster",
		"h:8848?cert=a&key=b":             "nacoss",
	} {
		_, err := parse(s)
		require.ErrorIs(t, err, msha.ErrInvalid, s)
		require.ErrorContains(t, err, says, s)
		require.NotContains(t, err.Error(), "u:sec", s)
		require.NotContains(t, err.Error(), "u:12", s)
	}
}
