package child

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// Ports are taken below the range from which systems give outgoing connections theirs.
const (
	portLow  = 15000
	portHigh = 32000
)

var ports struct {
	sync.Mutex
	given map[int]bool // by this process, so that two servers starting at once do not meet
}

// FreePort returns a port p such that p+d is free on all addresses for each d of offsets. Another process may still take it first;
// the caller starts again with another one then.
func FreePort(offsets ...int) (int, error) {
	ports.Lock()
	defer ports.Unlock()
	if ports.given == nil {
		ports.given = map[int]bool{}
	}
next:
	for range 500 {
		p := portLow + rand.IntN(portHigh-portLow)
		for _, d := range offsets {
			if ports.given[p+d] || !free(p+d) {
				continue next
			}
		}
		for _, d := range offsets {
			ports.given[p+d] = true
		}
		return p, nil
	}
	return 0, fmt.Errorf("no free port between %d and %d", portLow, portHigh)
}

func free(port int) bool {
	ln, err := net.Listen("tcp", ":"+strconv.Itoa(port))
	if err != nil {
		return false
	}
	return ln.Close() == nil
}

// RetryPorts repeats, a few times, a start that lost its port to another process. start takes new ports each time.
func RetryPorts(start func() error) (err error) {
	for range 4 {
		if err = start(); !errors.Is(err, ErrPortTaken) {
			return err
		}
	}
	return err
}
