package realstore

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// askTimeout bounds one question to a server, which may be frozen.
const askTimeout = 5 * time.Second

// redisClient asks Redis processes one question per connection: what is to be seen here must not be hidden by pools and retries.
type redisClient struct {
	user, password string
	tls            *tls.Config
}

// ask sends a command; the answer consists of string, int64, nil and []any. An error answer is an error.
func (c redisClient) ask(ctx context.Context, addr string, command ...string) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // nothing to lose
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if c.tls != nil {
		config := c.tls.Clone()
		config.ServerName = loopback
		conn = tls.Client(conn, config)
	}
	r := bufio.NewReader(conn)
	if c.password != "" {
		auth := []string{"AUTH", c.password}
		if c.user != "" {
			auth = []string{"AUTH", c.user, c.password}
		}
		if _, err := exchange(conn, r, auth); err != nil {
			return nil, err
		}
	}
	return exchange(conn, r, command)
}

func exchange(w io.Writer, r *bufio.Reader, command []string) (any, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(command))
	for _, arg := range command {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(arg), arg)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return nil, err
	}
	return readReply(r)
}

func readReply(r *bufio.Reader) (any, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return nil, errors.New("empty answer")
	}
	kind, rest := line[0], line[1:]
	switch kind {
	case '+':
		return rest, nil
	case '-':
		return nil, errors.New(rest)
	}
	n, err := strconv.ParseInt(rest, 10, 64)
	switch {
	case err != nil || kind != ':' && kind != '$' && kind != '*':
		return nil, fmt.Errorf("unknown answer %q", line)
	case kind == ':':
		return n, nil
	case n < 0:
		return nil, nil
	case kind == '$':
		buf := make([]byte, n+2)
		_, err := io.ReadFull(r, buf)
		return string(buf[:n]), err
	}
	var all []any
	for range n {
		item, err := readReply(r)
		if err != nil {
			return nil, err
		}
		all = append(all, item)
	}
	return all, nil
}
