package etcd

import (
	"context"
	"errors"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/go-msha/msha"
)

// fail turns the client's error into one that says what to do. The end of the caller's context is passed on as it is.
func (s *Store) fail(ctx context.Context, op, name string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if s.isClosed() {
		return closed(op, name)
	}
	return explain(op, name, s.addr, s.keys.all(), err)
}

func closed(op, name string) error {
	return msha.Errorf(op, name, "", "metastore %w", msha.ErrClosed)
}

func explain(op, name, addr, prefix string, err error) error {
	if tooLarge(err) {
		return msha.Errorf(op, name, "use ranges or slots; the limit is etcd's --max-request-bytes", "etcd %s: document %w: %v", addr, msha.ErrTooLarge, err)
	}
	hint := hintFor(err, prefix)
	if op == "metastore.put" || op == "metastore.delete" {
		if !refused(err) {
			hint = "it may have been carried out: read before deciding; " + hint
		}
	}
	return msha.Errorf(op, name, hint, "etcd %s: %w", addr, err)
}

func tooLarge(err error) bool {
	return errors.Is(err, rpctypes.ErrRequestTooLarge) || codeOf(err) == codes.ResourceExhausted && strings.Contains(err.Error(), "message larger than max")
}

// refused reports whether the server said no, so that nothing can have changed.
func refused(err error) bool {
	switch codeOf(err) {
	case codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.PermissionDenied, codes.Unauthenticated, codes.FailedPrecondition,
		codes.OutOfRange, codes.ResourceExhausted, codes.Unimplemented:
		return true
	}
	return false
}

func codeOf(err error) codes.Code {
	var known rpctypes.EtcdError
	if errors.As(err, &known) {
		return known.Code()
	}
	return status.Code(err)
}

func hintFor(err error, prefix string) string {
	switch text := err.Error(); {
	case errors.Is(err, rpctypes.ErrAuthFailed):
		return "check user and password"
	case errors.Is(err, rpctypes.ErrUserEmpty):
		return "the server asks for a user and a password"
	case errors.Is(err, rpctypes.ErrPermissionDenied):
		return "give the user's role readwrite on the prefix " + prefix
	case errors.Is(err, rpctypes.ErrNoSpace):
		return "etcd is full: compact and defragment it or raise --quota-backend-bytes, then disarm its alarm"
	case errors.Is(err, rpctypes.ErrNoLeader), strings.Contains(text, "etcdserver: request timed out"):
		return "the cluster has no leader: look at its members"
	case strings.Contains(text, "x509:"), strings.Contains(text, "tls:"), strings.Contains(text, "authentication handshake"):
		return "TLS does not match: check the certificate authority, the server's name, and that the server speaks TLS"
	case strings.Contains(text, "server preface"), strings.Contains(text, "frame too large"):
		return "check the address and that etcd runs; if it wants TLS, use https:// or Options.TLS"
	}
	return "check the address and that etcd runs"
}
