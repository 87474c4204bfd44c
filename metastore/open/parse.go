package open

import (
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-msha/msha"
)

// target is a parsed URL.
type target struct {
	backend        string // memory, etcd, redis, nacos
	mode           string // of redis: "", sentinel, cluster
	tls            bool
	hosts          []string
	user, password string
	path           string // without the leading slash
	query          map[string]string
	ttl            time.Duration // of members; 0: the backend's default
}

// schemes are the known URL schemes.
var schemes = map[string]target{
	"memory": {backend: "memory"},
	"etcd":   {backend: "etcd"}, "etcds": {backend: "etcd", tls: true},
	"redis": {backend: "redis"}, "rediss": {backend: "redis", tls: true},
	"redis+sentinel": {backend: "redis", mode: "sentinel"}, "rediss+sentinel": {backend: "redis", mode: "sentinel", tls: true},
	"redis+cluster": {backend: "redis", mode: "cluster"}, "rediss+cluster": {backend: "redis", mode: "cluster", tls: true},
	"nacos": {backend: "nacos"}, "nacoss": {backend: "nacos", tls: true},
}

// parameters are the known ones of each backend.
var parameters = map[string][]string{
	"memory": {},
	"etcd":   {"ca", "cert", "key", "servername", "ttl"},
	"redis":  {"ca", "cert", "db", "key", "replicas", "servername", "ttl"},
	"nacos":  {"ca", "cert", "group", "grpcport", "key", "servername"},
}

// parse reads a URL. ErrInvalid says what is wrong with it and never shows a password.
func parse(s string) (target, error) {
	if s == "memory" {
		return schemes["memory"], nil
	}
	if s != "" && !strings.Contains(s, "://") {
		s = "nacos://" + s
	}
	u, err := url.Parse(s)
	if err != nil {
		return target{}, invalid("", "use scheme://host:port/prefix; escape special characters of a password", "the URL does not parse") // err shows the URL
	}
	if strings.Contains(s, "#") || u.User == nil && strings.Contains(u.EscapedPath()+"?"+u.RawQuery, "@") {
		return target{}, invalid("", "escape special characters of a password: # is %23, / is %2F, ? is %3F; and @ elsewhere as %40", "the URL is ambiguous") // the host may be a part of the password
	}
	t, ok := schemes[u.Scheme]
	if !ok {
		return t, invalid(shown(u), "use memory or one of "+strings.Join(slices.Sorted(maps.Keys(schemes)), ", "), "unknown scheme %q", u.Scheme)
	}
	t.user = u.User.Username()
	t.password, _ = u.User.Password()
	t.path = strings.Trim(u.Path, "/")
	if t.backend == "memory" {
		if u.Host != "" || t.path != "" {
			return t, invalid(shown(u), "write memory", "a store in this process has no address")
		}
	} else if err := t.parseHosts(u); err != nil {
		return t, err
	}
	return t, t.parseQuery(u)
}

func (t *target) parseHosts(u *url.URL) error {
	t.hosts = strings.Split(u.Host, ",")
	for _, h := range t.hosts {
		colon := strings.LastIndexByte(h, ':')
		if colon < 1 || colon == len(h)-1 {
			return invalid(shown(u), "give host:port, several with commas between them", "%q is no host and port", h)
		}
	}
	return nil
}

func (t *target) parseQuery(u *url.URL) error {
	values, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return invalid(shown(u), "", "the parameters do not parse")
	}
	t.query = map[string]string{}
	for name, list := range values {
		if known := parameters[t.backend]; !slices.Contains(known, name) || len(list) != 1 {
			return invalid(shown(u), "known parameters, once each: "+strings.Join(known, ", "), "parameter %q", name)
		}
		t.query[name] = list[0]
	}
	if s := t.query["ttl"]; s != "" {
		if t.ttl, err = time.ParseDuration(s); err != nil || t.ttl <= 0 {
			return invalid(shown(u), "write a duration, as 10s", "ttl %q", s)
		}
	}
	if (t.query["cert"] == "") != (t.query["key"] == "") {
		return invalid(shown(u), "give both", "cert without key, or key without cert")
	}
	for _, name := range []string{"ca", "cert", "servername"} {
		if t.query[name] != "" && !t.tls {
			return invalid(shown(u), "use "+t.secured()+"://", "parameter %q of a connection without TLS", name)
		}
	}
	return nil
}

// secured is the scheme that speaks TLS to the same backend.
func (t *target) secured() string {
	for scheme, s := range schemes {
		if s.tls && s.backend == t.backend && s.mode == t.mode {
			return scheme
		}
	}
	return ""
}

// shown is the URL without what may be secret: parameters too, since a password may have been taken for one.
func shown(u *url.URL) string {
	c := *u
	c.RawQuery, c.ForceQuery = "", false
	return c.Redacted()
}

func invalid(where, hint, format string, args ...any) error {
	return msha.Errorf("metastore.open", where, hint, "%w: "+format, append([]any{msha.ErrInvalid}, args...)...)
}
