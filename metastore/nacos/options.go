package nacos

import (
	"crypto/tls"
	"log/slog"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/go-msha/msha"
)

// Options of a store. The zero value of each field stands for its default; nil options are valid.
type Options struct {
	Namespace string // id of the Nacos namespace (msha.commander.namespace); default "": the public one
	Group     string // of the documents and member sets; default "MSHA"

	User     string // default "": no login
	Password string // of User; it appears in no error and no log
	Token    string // an access token that is passed on as it is, instead of a login

	TLS         *tls.Config // of the gRPC connection; nil: plain text
	HTTPS       bool        // log in over https, with TLS where it is set; default http
	ContextPath string      // of the HTTP interface; default "/nacos"
	GRPCPort    int         // default: the port of the address plus 1000, which is where Nacos listens

	MaxValue       int           // largest document in bytes; default 1 MiB. The server's limit is 10 MiB of text unless configured
	DialTimeout    time.Duration // of Open, and of each attempt to connect; default 10 s
	RequestTimeout time.Duration // until an unanswered request fails; default 5 s
	KeepAlive      time.Duration // an idle connection is tested so often; default 5 s, must be well below the server's 20 s
	Poll           time.Duration // watched documents are read again so often, for notices can be lost; default 1 min

	Logger *slog.Logger // default slog.Default()
}

const (
	portOffset      = 1000
	defaultGroup    = "MSHA"
	defaultMaxValue = 1 << 20
)

var (
	legalNamespace = regexp.MustCompile(`^[\w-]{0,64}$`)
	legalGroup     = regexp.MustCompile(`^[a-zA-Z0-9_:.-]{1,128}$`)
)

func (o *Options) withDefaults() Options {
	var d Options
	if o != nil {
		d = *o
	}
	if d.Group == "" {
		d.Group = defaultGroup
	}
	if d.ContextPath == "" {
		d.ContextPath = "/nacos"
	}
	if d.MaxValue <= 0 {
		d.MaxValue = defaultMaxValue
	}
	for _, t := range []struct {
		field *time.Duration
		value time.Duration
	}{{&d.DialTimeout, 10 * time.Second}, {&d.RequestTimeout, 5 * time.Second}, {&d.KeepAlive, 5 * time.Second}, {&d.Poll, time.Minute}} {
		if *t.field <= 0 {
			*t.field = t.value
		}
	}
	if d.Logger == nil {
		d.Logger = slog.Default()
	}
	return d
}

// server is one node of Nacos, by the address that its users know.
type server struct {
	addr string // host:port of HTTP, as in msha.commander.addr
	grpc string
}

// check reports every problem of an address list and the options, which have their defaults.
func (o Options) check(addr string) ([]server, error) {
	var servers []server
	var problems []string
	for _, a := range strings.Split(addr, ",") {
		a = strings.TrimSpace(a)
		host, port, err := net.SplitHostPort(a)
		n, numeric := strconv.Atoi(port)
		if err != nil || numeric != nil || host == "" || n < 1 || n > 65535 {
			problems = append(problems, strconv.Quote(a)+" is not host:port")
			continue
		}
		grpc := o.GRPCPort
		if grpc == 0 {
			grpc = n + portOffset
		}
		servers = append(servers, server{addr: a, grpc: net.JoinHostPort(host, strconv.Itoa(grpc))})
	}
	if !legalNamespace.MatchString(o.Namespace) {
		problems = append(problems, "namespace "+strconv.Quote(o.Namespace)+" is not an id of up to 64 letters, digits, - and _")
	}
	if !legalGroup.MatchString(o.Group) {
		problems = append(problems, "group "+strconv.Quote(o.Group)+" is not of up to 128 letters, digits, and _ : . -")
	}
	if o.User != "" && o.Token != "" {
		problems = append(problems, "either a user or a token")
	}
	if len(problems) > 0 {
		return nil, msha.Errorf("metastore.open", addr, "host:port of the Nacos HTTP interface, several separated by commas", "nacos: %w: %s",
			msha.ErrInvalid, strings.Join(problems, "; "))
	}
	return servers, nil
}

// configNamespace is how documents name the namespace: the public one has no name there.
func (o Options) configNamespace() string {
	if o.Namespace == "public" {
		return ""
	}
	return o.Namespace
}

// namingNamespace is how instances name the namespace.
func (o Options) namingNamespace() string {
	if o.Namespace == "" {
		return "public"
	}
	return o.Namespace
}
