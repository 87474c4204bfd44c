package realstore

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MasterName is the name under which sentinels know the master.
const MasterName = "msha"

const sentinels, quorum = 3, 2

// SentinelOptions describe a master, a replica and three sentinels with quorum 2. The zero value, and nil, are valid.
type SentinelOptions struct {
	RedisOptions
	// SentinelPassword protects the sentinels. Default: none, also if Password is set.
	SentinelPassword string
	// DownAfter is how long a node is silent before a sentinel holds it for dead. Default 2 s: on a busy machine a healthy one can be silent for a second.
	DownAfter time.Duration
}

// StartSentinel starts the redis nodes redis-1 (first the master) and redis-2, and three sentinels; it returns once the replica is
// in sync and the sentinels know of everything. Addrs are the sentinels'. After Primary(ctx, "") is killed or frozen, the replica
// takes over; what only the old master had acknowledged is lost, as in production.
func StartSentinel(ctx context.Context, o *SentinelOptions) (*Server, error) {
	var opts SentinelOptions
	if o != nil {
		opts = *o
	}
	if opts.DownAfter == 0 {
		opts.DownAfter = 2 * time.Second
	}
	return launchRedis(ctx, "sentinel", opts.build)
}

func (o SentinelOptions) build(s *Server, path string) error {
	ports, err := freePorts(2 + sentinels)
	if err != nil {
		return err
	}
	if _, err := o.add(s, path, "redis-1", ports[0], nil); err != nil {
		return err
	}
	if _, err := o.add(s, path, "redis-2", ports[1], []string{fmt.Sprintf("replicaof %s %d", loopback, ports[0])}); err != nil {
		return err
	}
	// Sentinels find each other and the replica within seconds; here their files have it already.
	known := []string{fmt.Sprintf("sentinel known-replica %s %s %d", MasterName, loopback, ports[1])}
	ids := make([]string, sentinels)
	for i := range ids {
		ids[i] = randomID()
		known = append(known, fmt.Sprintf("sentinel known-sentinel %s %s %d %s", MasterName, loopback, ports[2+i], ids[i]))
	}
	for i, id := range ids {
		others := slices.DeleteFunc(slices.Clone(known), func(line string) bool { return strings.HasSuffix(line, id) })
		if err := o.addSentinel(s, path, i+1, ports[2+i], ports[0], append([]string{"sentinel myid " + id}, others...)); err != nil {
			return err
		}
	}
	s.entries = s.nodes[2:]
	s.settled = func(ctx context.Context) error { return o.awaitSync(ctx, s) }
	s.primary = func(ctx context.Context, _ string) (string, error) { return o.master(ctx, s) }
	return nil
}

func (o SentinelOptions) addSentinel(s *Server, path string, number, port, master int, known []string) error {
	n, err := s.add("sentinel-"+strconv.Itoa(number), port)
	if err != nil {
		return err
	}
	lines, err := o.listen(s, port)
	if err != nil {
		return err
	}
	lines = append(lines, "dir "+n.dir,
		fmt.Sprintf("sentinel monitor %s %s %d %d", MasterName, loopback, master, quorum),
		fmt.Sprintf("sentinel down-after-milliseconds %s %d", MasterName, o.DownAfter.Milliseconds()),
		fmt.Sprintf("sentinel failover-timeout %s %d", MasterName, 2*o.DownAfter.Milliseconds()))
	if o.User != "" {
		lines = append(lines, fmt.Sprintf("sentinel auth-user %s %s", MasterName, o.User))
	}
	if o.Password != "" {
		lines = append(lines, fmt.Sprintf("sentinel auth-pass %s %q", MasterName, o.Password))
	}
	if o.SentinelPassword != "" {
		lines = append(lines, fmt.Sprintf("requirepass %q", o.SentinelPassword))
	}
	if err := o.sentinel().run(s, n, path, "Sentinel ID is", append(lines, known...)); err != nil {
		return err
	}
	n.spec.Args = append(n.spec.Args, "--sentinel")
	serves := n.ready
	n.ready = func(ctx context.Context) bool { return serves(ctx) && o.hurry(ctx, s, n) == nil }
	return nil
}

// hurry shortens the intervals at which a sentinel looks and speaks, in milliseconds: with the server's 10 s and 2 s, a returned
// master stays one for 10 s before it is told to follow.
func (o SentinelOptions) hurry(ctx context.Context, s *Server, n *Node) error {
	_, err := o.sentinel().client(s).ask(ctx, n.addr, "SENTINEL", "DEBUG", "INFO-PERIOD", "500", "PUBLISH-PERIOD", "200", "ASK-PERIOD", "200")
	return err
}

// sentinel is how sentinels are spoken to: they have no users of their own.
func (o SentinelOptions) sentinel() RedisOptions { return RedisOptions{Password: o.SentinelPassword} }

// master asks the sentinels in turn, since some may be dead.
func (o SentinelOptions) master(ctx context.Context, s *Server) (addr string, err error) {
	for _, n := range s.entries {
		answer, askErr := o.sentinel().client(s).ask(ctx, n.addr, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", MasterName)
		if pair, ok := answer.([]any); ok && len(pair) == 2 {
			return fmt.Sprintf("%v:%v", pair[0], pair[1]), nil
		}
		err = errors.Join(err, askErr, fmt.Errorf("%s answered %v", n.name, answer))
	}
	return "", err
}

// awaitSync waits until every sentinel names one master, and that has its replica in sync.
func (o SentinelOptions) awaitSync(ctx context.Context, s *Server) error {
	return poll(ctx, func(ctx context.Context) error {
		addr, err := o.master(ctx, s)
		if err != nil {
			return err
		}
		info, err := o.client(s).ask(ctx, addr, "INFO", "replication")
		if text, _ := info.(string); err != nil || !strings.Contains(text, "role:master") || !strings.Contains(text, "state=online") {
			return fmt.Errorf("the replica of %s is not in sync: %v %w", addr, info, err)
		}
		for _, n := range s.entries {
			if answer, err := o.sentinel().client(s).ask(ctx, n.addr, "SENTINEL", "CKQUORUM", MasterName); err != nil {
				return fmt.Errorf("%s: %v %w", n.name, answer, err)
			}
		}
		return nil
	})
}

func randomID() string {
	var id [20]byte
	rand.Read(id[:]) //nolint:errcheck // never fails
	return hex.EncodeToString(id[:])
}
