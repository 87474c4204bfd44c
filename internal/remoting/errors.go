package remoting

import (
	"errors"
	"fmt"
	"strings"

	"github.com/go-msha/msha"
)

// BrokerError is an answer other than success.
type BrokerError struct {
	Op     string // the typed call
	Addr   string
	Code   int // Resp…
	Remark string
	Hint   string // what to do; may be empty
}

// Error implements error.
func (e *BrokerError) Error() string {
	s := fmt.Sprintf("%s at %s: code %d: %s", e.Op, e.Addr, e.Code, e.Remark)
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// Is maps response codes to the module's sentinels.
func (e *BrokerError) Is(target error) bool {
	switch target {
	case msha.ErrNotFound:
		return e.Code == RespTopicNotExist || e.Code == RespQueryNotFound || e.Code == RespSubscriptionGroupAbsent || e.Code == RespConsumerNotOnline
	case msha.ErrTooLarge:
		return e.Code == RespMessageIllegal
	case msha.ErrUnsupported:
		return e.Code == RespRequestCodeNotSupported || e.Code == RespVersionNotSupported || noPropertyFilter(e.Code, e.Remark)
	case msha.ErrInvalid:
		return e.Code == RespSubscriptionParseFailed
	case msha.ErrDenied:
		return denied(e.Code, e.Remark)
	case ErrFilter:
		return e.Code == RespSubscriptionParseFailed || noPropertyFilter(e.Code, e.Remark)
	case ErrStored:
		return e.Code == RespFlushDiskTimeout || e.Code == RespFlushSlaveTimeout || e.Code == RespSlaveNotAvailable
	}
	return false
}

// ErrStored says that the broker has stored the message although it did not answer with success: flushing or its slave was late.
var ErrStored = errors.New("stored, not yet flushed or replicated")

// ErrFilter says that the broker cannot filter by the expression of a subscription: it does not understand it, or has SQL filters
// switched off.
var ErrFilter = errors.New("filter refused")

// noPropertyFilter tells the answer of a broker that has SQL filters switched off, as they are unless somebody switches them on.
func noPropertyFilter(code int, remark string) bool {
	return code == RespSystemError && strings.Contains(remark, "does not support consumer to filter")
}

// filterHint says what to do about a refused filter.
func filterHint(code int, remark string) string {
	switch {
	case noPropertyFilter(code, remark):
		return "set enablePropertyFilter=true at this broker"
	case code == RespSubscriptionParseFailed:
		return "the expression is not one this version of RocketMQ can read"
	}
	return ""
}

// check turns an answer into a BrokerError unless its code is success.
func check(op, addr string, resp *Command, err error) (*Command, error) {
	if err != nil {
		return nil, err
	}
	if resp.Code != RespSuccess {
		return resp, &BrokerError{Op: op, Addr: addr, Code: resp.Code, Remark: resp.Remark, Hint: filterHint(resp.Code, resp.Remark)}
	}
	return resp, nil
}
