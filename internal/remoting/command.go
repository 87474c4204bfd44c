package remoting

import (
	"strconv"
	"sync/atomic"
)

// Command is a request or a response.
type Command struct {
	Code     int
	Language string
	Version  int
	Opaque   int32 // correlates a response with its request on one connection
	Flag     int   // bit 0: response, bit 1: oneway
	Remark   string
	Ext      map[string]string // the custom header
	Body     []byte

	appendBody func(dst []byte) []byte // instead of Body: gives it while the frame is made
}

const (
	flagResponse = 1
	flagOneway   = 2

	// protocolVersion is RocketMQ 4.9.4: new enough for every request used, old enough for all brokers supported.
	protocolVersion = 401
	language        = "GO"
)

var lastOpaque atomic.Int32

// NewRequest builds a request with a fresh opaque.
func NewRequest(code int, ext map[string]string, body []byte) *Command {
	return &Command{Code: code, Language: language, Version: protocolVersion, Opaque: lastOpaque.Add(1), Ext: ext, Body: body}
}

// Reply builds the response to c.
func (c *Command) Reply(code int, remark string) *Command {
	return &Command{Code: code, Language: language, Version: protocolVersion, Opaque: c.Opaque, Flag: flagResponse, Remark: remark}
}

// IsResponse tells a response from a request.
func (c *Command) IsResponse() bool { return c.Flag&flagResponse != 0 }

// IsOneway reports whether the sender expects no response.
func (c *Command) IsOneway() bool { return c.Flag&flagOneway != 0 }

// Int64 reads a number of the custom header; ok is false if it is missing or malformed.
func (c *Command) Int64(key string) (n int64, ok bool) {
	n, err := strconv.ParseInt(c.Ext[key], 10, 64)
	return n, err == nil
}
