package redis

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/go-msha/msha"
)

// MaxValue is the default limit of a document: the strictest of the supported servers' limits.
const MaxValue = 1 << 20

// Options of a Store. The zero value, and nil, are valid. New ignores what concerns the connection.
type Options struct {
	// Prefix separates the documents of several installations in one server: 1 to 64 bytes without braces. Default "msha".
	Prefix string
	// MaxValue is the largest document accepted, in bytes. Default MaxValue, 1 MiB.
	MaxValue int
	// Replicas is the number of replicas that must have a write before Put and Delete succeed; see the package doc. Default 0.
	Replicas int
	// MemberTTL is how long the server lists a member it no longer hears of. Members are refreshed three times in it. Default 30 s, at
	// least 1 s.
	MemberTTL time.Duration
	// Poll is how often a watched document is read without notice, because notices can be lost. Default 1 min.
	Poll time.Duration
	// Logger takes the loss of the server, its return and what makes it unsafe. Default slog.Default().
	Logger *slog.Logger

	// Master is the name of the master the addresses, which are sentinels', watch. Default "": no Sentinel.
	Master string
	// Cluster says that the addresses are nodes of a Redis Cluster. Default false.
	Cluster bool
	// DB is the number of the database; a cluster has only 0. Default 0.
	DB int
	// User and Password of the server. Default: none. A password alone is that of the user "default".
	User, Password string
	// SentinelUser and SentinelPassword of the sentinels. Default: none.
	SentinelUser, SentinelPassword string
	// TLS is how to speak TLS, to sentinels too. Default nil: plain.
	TLS *tls.Config
	// DialTimeout bounds one attempt to connect, and Open. Default 10 s.
	DialTimeout time.Duration
	// Timeout bounds the wait for an answer. Default 3 s.
	Timeout time.Duration
}

func (o *Options) withDefaults() Options {
	var d Options
	if o != nil {
		d = *o
	}
	if d.Prefix == "" {
		d.Prefix = "msha"
	}
	if d.MaxValue == 0 {
		d.MaxValue = MaxValue
	}
	if d.MemberTTL == 0 {
		d.MemberTTL = 30 * time.Second
	}
	if d.Poll == 0 {
		d.Poll = time.Minute
	}
	if d.Logger == nil {
		d.Logger = slog.Default()
	}
	if d.DialTimeout == 0 {
		d.DialTimeout = 10 * time.Second
	}
	if d.Timeout == 0 {
		d.Timeout = 3 * time.Second
	}
	return d
}

// validate reports every problem.
func (o *Options) validate() error {
	var problems []string
	report := func(wrong bool, format string, args ...any) {
		if wrong {
			problems = append(problems, fmt.Sprintf(format, args...))
		}
	}
	report(len(o.Prefix) > 64 || strings.ContainsAny(o.Prefix, "{}"), "Prefix %q: 1 to 64 bytes without braces", o.Prefix)
	report(o.MaxValue < 0, "MaxValue is negative: %d", o.MaxValue)
	report(o.Replicas < 0, "Replicas is negative: %d", o.Replicas)
	report(o.MemberTTL < time.Second, "MemberTTL is below 1 s: %v", o.MemberTTL)
	report(o.Poll < 0 || o.DialTimeout < 0 || o.Timeout < 0, "a duration is negative: Poll %v, DialTimeout %v, Timeout %v", o.Poll, o.DialTimeout, o.Timeout)
	report(o.Cluster && o.Master != "", "Cluster and Master (Sentinel) exclude each other")
	report(o.DB < 0 || o.Cluster && o.DB != 0, "DB %d: a number from 0, in a cluster always 0", o.DB)
	if len(problems) == 0 {
		return nil
	}
	return msha.Errorf("metastore.redis.open", "options", "", "%w: %s", msha.ErrInvalid, strings.Join(problems, "; "))
}

// client connects to nothing yet.
func (o *Options) client(addrs []string, conns *conns) goredis.UniversalClient {
	u := &goredis.UniversalOptions{
		Addrs: addrs, MasterName: o.Master, DB: o.DB,
		Username: o.User, Password: o.Password, SentinelUsername: o.SentinelUser, SentinelPassword: o.SentinelPassword,
		Dialer: conns.dial, DialTimeout: o.DialTimeout, DialerRetries: 1,
		ReadTimeout: o.Timeout, WriteTimeout: o.Timeout, ContextTimeoutEnabled: true,
		MaxRetries:      1, // of reads; what may write is never sent twice
		Protocol:        2,
		DisableIdentity: true, // one permission and two commands less
		MaintNotificationsConfig: &maintnotifications.Config{
			Mode: maintnotifications.ModeDisabled,
		},
	}
	switch {
	case o.Master != "":
		return goredis.NewFailoverClient(u.Failover())
	case o.Cluster:
		return goredis.NewClusterClient(u.Cluster())
	default:
		return goredis.NewClient(u.Simple())
	}
}
