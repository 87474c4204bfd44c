package realmq

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
	given map[int]bool // by this process, so that two clusters starting at once do not meet
}

// freePort returns a port p such that p+d is free on all addresses for each d of offsets. Another process may still take it first;
// the caller starts again with another one then.
func freePort(offsets ...int) (int, error) {
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
	return 0, fmt.Errorf("realmq: %w", errors.New("no free port between "+strconv.Itoa(portLow)+" and "+strconv.Itoa(portHigh)))
}

func free(port int) bool {
	ln, err := net.Listen("tcp", ":"+strconv.Itoa(port))
	if err != nil {
		return false
	}
	return ln.Close() == nil
}
