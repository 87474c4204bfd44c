package open

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"os"
	"strconv"
	"strings"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/metastore/etcd"
	"github.com/go-msha/msha/metastore/memory"
	"github.com/go-msha/msha/metastore/nacos"
	"github.com/go-msha/msha/metastore/redis"
)

// Store is what every backend offers.
type Store interface {
	msha.MetaStore
	msha.Membership
}

// Options of Open. Nil stands for all defaults; what a field says wins over the URL.
type Options struct {
	Namespace      string       // prefix of the keys, or Nacos namespace id (msha.commander.namespace); default: the URL's path
	User, Password string       // default: the URL's
	TLS            *tls.Config  // default: by the URL's scheme and parameters
	Logger         *slog.Logger // default slog.Default()
}

// Open connects to the metastore that the URL names, and blocks until a first read worked or ctx ended. ErrInvalid for a URL that cannot
// be used; the backends' Open says which other errors there are. No error shows a password.
func Open(ctx context.Context, url string, options *Options) (Store, error) {
	var o Options
	if options != nil {
		o = *options
	}
	t, err := parse(url)
	if err != nil {
		return nil, err
	}
	if o.User != "" {
		t.user = o.User
	}
	if o.Password != "" {
		t.password = o.Password
	}
	if o.TLS == nil && t.tls {
		if o.TLS, err = t.tlsConfig(); err != nil {
			return nil, err
		}
	}
	switch t.backend {
	case "etcd":
		return store(etcd.Open(ctx, t.endpoints(o.TLS), &etcd.Options{
			Prefix: t.namespace(o, t.path), User: t.user, Password: t.password, TLS: o.TLS, MemberTTL: t.ttl, Logger: o.Logger,
		}))
	case "redis":
		return t.redis(ctx, o)
	case "nacos":
		n := nacos.Options{Namespace: t.namespace(o, t.path), Group: t.query["group"], User: t.user, Password: t.password, TLS: o.TLS, HTTPS: o.TLS != nil, Logger: o.Logger}
		if n.GRPCPort, err = t.number("grpcport"); err != nil {
			return nil, err
		}
		return store(nacos.Open(ctx, strings.Join(t.hosts, ","), &n))
	}
	return memory.New(), nil
}

// store keeps a nil *S from becoming a Store that is not nil.
func store[S Store](s S, err error) (Store, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (t target) redis(ctx context.Context, o Options) (Store, error) {
	var err error
	r := redis.Options{User: t.user, Password: t.password, TLS: o.TLS, MemberTTL: t.ttl, Logger: o.Logger, Cluster: t.mode == "cluster"}
	path := t.path
	if t.mode == "sentinel" {
		if r.Master, path, _ = strings.Cut(path, "/"); r.Master == "" {
			return nil, invalid(strings.Join(t.hosts, ","), "write redis+sentinel://host:port/master", "the master's name is missing")
		}
	}
	r.Prefix = t.namespace(o, path)
	for name, field := range map[string]*int{"db": &r.DB, "replicas": &r.Replicas} {
		if *field, err = t.number(name); err != nil {
			return nil, err
		}
	}
	return store(redis.Open(ctx, t.hosts, &r))
}

// number reads a parameter; 0 if it is missing.
func (t target) number(name string) (int, error) {
	s := t.query[name]
	if s == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0, invalid(strings.Join(t.hosts, ","), "write a number", "%s %q", name, s)
	}
	return n, nil
}

// namespace is the option, or else what the URL says.
func (t target) namespace(o Options, path string) string {
	if o.Namespace != "" {
		return o.Namespace
	}
	return path
}

func (t target) endpoints(config *tls.Config) []string {
	scheme := "http://"
	if config != nil {
		scheme = "https://"
	}
	all := make([]string, len(t.hosts))
	for i, h := range t.hosts {
		all[i] = scheme + h
	}
	return all
}

// tlsConfig reads the files that the URL names.
func (t target) tlsConfig() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.query["servername"]}
	if file := t.query["ca"]; file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, msha.Errorf("metastore.open", file, "", "parameter ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, invalid(file, "name a file of PEM certificates", "parameter ca")
		}
	}
	if t.query["cert"] != "" {
		pair, err := tls.LoadX509KeyPair(t.query["cert"], t.query["key"])
		if err != nil {
			return nil, msha.Errorf("metastore.open", t.query["cert"], "", "parameters cert and key: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
