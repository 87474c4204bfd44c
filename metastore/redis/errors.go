package redis

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"github.com/go-msha/msha"
)

// hints say what to do about an answer of the server. Scripts wrap the answers of their commands, so codes are looked for anywhere.
var hints = []struct{ code, hint string }{
	{"WRONGPASS", "check user and password"},
	{"NOAUTH", "the server wants a password, and a user other than default if the default user is off"},
	{"NOPERM", permissions},
	{"The user executing the script can't", permissions},
	{"READONLY", "this is a replica, nothing was written; retry if a failover is under way, else give the master's address, or the sentinels and Options.Master"},
	{"MOVED", "the server is a node of a cluster: set Options.Cluster"},
	{"cluster support disabled", "the server is not a node of a cluster: leave Options.Cluster out"},
	{"unknown command 'sentinel'", sentinels},
	{"unknown command `sentinel`", sentinels},
	{"unknown command", "the server is no Redis that keeps data: " + sentinels},
	{"No such master", "check Options.Master: the sentinels know no master of that name"},
	{"all sentinels specified in configuration are unreachable", "check the sentinels' addresses, their password, TLS and Options.Master"},
	{"DB index is out of range", "check Options.DB against the server's 'databases'"},
	{"LOADING", "the server reads its data from disk: retry"},
	{"CLUSTERDOWN", "a part of the cluster has no master: retry, and look at 'cluster info'"},
	{"TRYAGAIN", "slots are being moved: retry"},
	{"MASTERDOWN", "the replica has lost its master: retry once the failover is over"},
	{"OOM", "the server's memory is full, whatever the size of the document: raise maxmemory, delete what else it holds"},
	{"MISCONF", "the server cannot write to its disk and refuses changes"},
	{"NOREPLICAS", "too few replicas are connected (min-replicas-to-write): nothing was written"},
	{"WRONGTYPE", "another program uses the key: delete it or set another Options.Prefix"},
	{"protocol error", "check whether the address is that of a Redis and whether it wants TLS: set or leave out Options.TLS"},
}

const sentinels = "Options.Master is for the addresses of sentinels, and only for them"

const permissions = "the user needs, on the keys and channels of the prefix, the permissions listed in the doc of package metastore/redis"

const maybeStored = "it may have been stored, or be stored later: read it again"

// resource is what an operation was about, and where.
func (s *Store) resource(name string) string {
	if name == "" {
		return s.addr
	}
	return name + " at " + s.addr
}

// failure makes an operator's error of the client's. The ends of contexts are passed on.
func (s *Store) failure(ctx context.Context, op, name string, write bool, err error) error {
	if ctxErr := ctx.Err(); ctxErr != nil {
		return ctxErr
	}
	op = "metastore.redis." + op
	text := err.Error()
	var answer goredis.Error
	fromServer := errors.As(err, &answer)
	switch {
	case s.ended.Err() != nil || errors.Is(err, goredis.ErrClosed):
		return msha.Errorf(op, s.resource(name), "", "metastore %w", msha.ErrClosed)
	case fromServer && strings.Contains(text, "invalid bulk length"):
		return msha.Errorf(op, s.resource(name), "use ranges or slots, or raise proto-max-bulk-len", "document %w: %w", msha.ErrTooLarge, err)
	case strings.Contains(text, "WRONGTYPE"):
		return msha.Errorf(op, s.resource(name), hintFor(text), "%w: %w", msha.ErrInvalid, err)
	}
	hint := hintFor(text)
	if hint == "" {
		hint = connectionHint(err)
	}
	if write && !fromServer && !isDial(err) {
		hint = strings.TrimPrefix(hint+"; "+maybeStored, "; ")
	}
	return msha.Errorf(op, s.resource(name), hint, "%w", err)
}

// isDial tells an error before a request could be sent.
func isDial(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

func hintFor(text string) string {
	for _, h := range hints {
		if strings.Contains(text, h.code) {
			return h.hint
		}
	}
	return ""
}

func connectionHint(err error) string {
	var (
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		record    tls.RecordHeaderError
		op        *net.OpError
	)
	switch {
	case errors.As(err, &record):
		return "the server does not speak TLS at this address: leave Options.TLS out, or give the TLS port"
	case errors.As(err, &authority):
		return "the server's certificate is of an authority that Options.TLS does not trust: set RootCAs"
	case errors.As(err, &hostname):
		return "the server's certificate is not for this address: set ServerName in Options.TLS"
	case strings.Contains(err.Error(), "tls: "):
		return "check Options.TLS, also whether the server wants a client certificate"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), strings.Contains(err.Error(), "connection reset"):
		return "the server closed the connection: is it up, and does it want TLS, or a client certificate (Options.TLS)?"
	case isDial(err):
		return "check address and network, and that the server runs"
	case errors.As(err, &op) && op.Timeout():
		return "the server does not answer: check network and load, and whether it wants TLS (Options.TLS)"
	}
	return ""
}
