package etcd

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/go-msha/msha"
)

// Options of a Store. Nil stands for all defaults.
type Options struct {
	Prefix string // of all keys, without the slash that follows it; default "msha"

	User     string      // default: no authentication
	Password string      // of User
	TLS      *tls.Config // default: none, except for https:// endpoints, which then use the system's roots

	DialTimeout time.Duration // for Open to connect and read; default 10 s
	MaxValue    int           // largest document in bytes; default 1 MiB. The server has a limit too (--max-request-bytes, 1.5 MiB)
	MemberTTL   time.Duration // a member that is not heard of for so long is gone; whole seconds, rounded up; default 10 s

	Logger *slog.Logger // default slog.Default()
}

func (o *Options) withDefaults() Options {
	var out Options
	if o != nil {
		out = *o
	}
	out.Prefix = strings.TrimRight(out.Prefix, "/")
	if out.Prefix == "" {
		out.Prefix = "msha"
	}
	if out.DialTimeout <= 0 {
		out.DialTimeout = 10 * time.Second
	}
	if out.MaxValue <= 0 {
		out.MaxValue = 1 << 20
	}
	if out.MemberTTL <= 0 {
		out.MemberTTL = 10 * time.Second
	}
	if out.Logger == nil {
		out.Logger = slog.Default()
	}
	return out
}

// validate reports every problem of the options and endpoints.
func (o *Options) validate(endpoints []string) error {
	var problems []error
	if len(endpoints) == 0 {
		problems = append(problems, errors.New("no endpoint"))
	}
	for _, e := range endpoints {
		switch {
		case strings.TrimSpace(e) == "":
			problems = append(problems, errors.New("an endpoint is empty"))
		case strings.HasPrefix(e, "http://") && o.TLS != nil:
			problems = append(problems, fmt.Errorf("endpoint %s stands for no TLS, but Options.TLS is set", e))
		case strings.Contains(e, "@"):
			problems = append(problems, errors.New("an endpoint contains a user: use Options.User and Options.Password"))
		}
	}
	if (o.User == "") != (o.Password == "") {
		problems = append(problems, errors.New("user and password are only set together"))
	}
	if len(problems) == 0 {
		return nil
	}
	return msha.Errorf("metastore.open", "etcd", "endpoints are host:port, http://host:port or https://host:port", "%w: %w", msha.ErrInvalid,
		errors.Join(problems...))
}
