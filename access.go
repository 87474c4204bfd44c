package msha

import (
	"context"
	"crypto/tls"
	"log/slog"
	"strconv"
)

// Credentials are an account of a RocketMQ cluster with access control. The zero value is no account: nothing is signed. Printed or
// logged they show the access key only.
type Credentials struct {
	AccessKey     string // the name of the account
	SecretKey     string // signs requests; never sent
	SecurityToken string // of temporary credentials; empty: none
}

// String shows the access key.
func (c Credentials) String() string {
	if c == (Credentials{}) {
		return "no credentials"
	}
	return "credentials of " + c.AccessKey
}

// GoString is String, so that %#v hides the secrets too.
func (c Credentials) GoString() string { return c.String() }

// LogValue implements slog.LogValuer.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Access is what it takes to talk to a unit's cluster besides its addresses. The zero value is no account and plain TCP.
type Access struct {
	Credentials Credentials
	TLS         *tls.Config // nil: plain TCP. It verifies the servers' names unless it says otherwise; ServerName serves all brokers
}

// AccessFunc finds the access to a unit's cluster: the unit document holds a reference (UnitInfo.Credentials), never a secret. It may
// be called often and from several goroutines; what it returns may change, for example because a secret was rotated. It should return the
// same *tls.Config until that changes: with another one connections are made anew.
type AccessFunc func(ctx context.Context, u UnitInfo) (Access, error)

// Find asks f for the access to a unit's cluster; a nil f stands for no account and plain TCP. The error names the operation, the unit and
// the reference.
func (f AccessFunc) Find(ctx context.Context, op string, u UnitInfo) (Access, error) {
	if f == nil {
		return Access{}, nil
	}
	a, err := f(ctx, u)
	if err != nil {
		return Access{}, Errorf(op, u.Name, "see what Options.Access does with the reference "+strconv.Quote(u.Credentials), "%w", err)
	}
	return a, nil
}
