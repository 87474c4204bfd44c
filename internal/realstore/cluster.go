package realstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const masters, slots = 3, 16384

// ClusterOptions describe a Redis cluster of three masters. The zero value, and nil, are valid.
type ClusterOptions struct {
	RedisOptions
	// Replicas gives each master a replica. Default false.
	Replicas bool
}

// StartRedisCluster starts a cluster with all slots assigned and returns once every node says that the cluster works, which takes
// Redis two seconds. Addrs are all nodes'.
func StartRedisCluster(ctx context.Context, o *ClusterOptions) (*Server, error) {
	var opts ClusterOptions
	if o != nil {
		opts = *o
	}
	return launchRedis(ctx, "cluster", opts.build)
}

func (o ClusterOptions) build(s *Server, path string) error {
	count := masters
	if o.Replicas {
		count = 2 * masters
	}
	ports, err := freePorts(2 * count)
	if err != nil {
		return err
	}
	ports, bus := ports[:count], ports[count:]
	ids := make([]string, count)
	for i := range ids {
		ids[i] = randomID()
		n, err := o.add(s, path, "redis-"+strconv.Itoa(i+1), ports[i], []string{
			"cluster-enabled yes",
			"cluster-config-file nodes.conf",
			"cluster-port " + strconv.Itoa(bus[i]), // by default the port + 10000, which is not ours
			"cluster-node-timeout 1000",
			"cluster-replica-validity-factor 0", // a replica takes over however old its data is
		})
		if err != nil {
			return err
		}
		n.spec.Name = fmt.Sprintf("%s of the cluster", n.name)
	}
	for i, n := range s.nodes {
		file := filepath.Join(n.dir, "nodes.conf")
		if err := os.WriteFile(file, []byte(nodesConfig(i, ids, ports, bus)), 0o644); err != nil {
			return err
		}
	}
	s.entries = s.nodes
	s.settled = func(ctx context.Context) error { return o.awaitCluster(ctx, s) }
	s.primary = func(ctx context.Context, key string) (string, error) { return o.owner(ctx, s, key) }
	return nil
}

// nodesConfig is the file a node would have written once the cluster was formed.
func nodesConfig(self int, ids []string, ports, bus []int) string {
	var b strings.Builder
	for i, id := range ids {
		flags, of, epoch, held := "master", "-", i+1, fmt.Sprintf(" %d-%d", i*slots/masters, (i+1)*slots/masters-1)
		if i >= masters {
			flags, of, epoch, held = "slave", ids[i-masters], i-masters+1, ""
		}
		if i == self {
			flags = "myself," + flags
		}
		fmt.Fprintf(&b, "%s %s:%d@%d %s %s 0 0 %d connected%s\n", id, loopback, ports[i], bus[i], flags, of, epoch, held)
	}
	fmt.Fprintf(&b, "vars currentEpoch %d lastVoteEpoch 0\n", masters)
	return b.String()
}

// awaitCluster waits until every node says that the cluster works, and every replica is in sync.
func (o ClusterOptions) awaitCluster(ctx context.Context, s *Server) error {
	return poll(ctx, func(ctx context.Context) error {
		for _, n := range s.nodes {
			info, err := o.client(s).ask(ctx, n.addr, "CLUSTER", "INFO")
			if text, _ := info.(string); err != nil || !strings.Contains(text, "cluster_state:ok") {
				return fmt.Errorf("%s: the cluster does not work yet: %v %w", n.name, info, err)
			}
			info, err = o.client(s).ask(ctx, n.addr, "INFO", "replication")
			if text, _ := info.(string); err != nil || strings.Contains(text, "master_link_status:down") {
				return fmt.Errorf("%s: not in sync: %v %w", n.name, info, err)
			}
		}
		return nil
	})
}

// owner asks the nodes in turn, since some may be dead, which of them holds the slot of a key.
func (o ClusterOptions) owner(ctx context.Context, s *Server, key string) (addr string, err error) {
	for _, n := range s.nodes {
		slot, askErr := o.client(s).ask(ctx, n.addr, "CLUSTER", "KEYSLOT", key)
		if askErr != nil {
			err = errors.Join(err, askErr)
			continue
		}
		ranges, askErr := o.client(s).ask(ctx, n.addr, "CLUSTER", "SLOTS")
		if addr := holder(ranges, slot); addr != "" {
			return addr, nil
		}
		err = errors.Join(err, askErr, fmt.Errorf("%s knows no holder of slot %v", n.name, slot))
	}
	return "", err
}

// holder finds a slot in an answer of ranges: [first, last, [ip, port, …] of the master, …].
func holder(ranges, slot any) string {
	want, _ := slot.(int64)
	all, _ := ranges.([]any)
	for _, r := range all {
		r, _ := r.([]any)
		if len(r) < 3 {
			continue
		}
		first, _ := r[0].(int64)
		last, _ := r[1].(int64)
		if master, _ := r[2].([]any); want >= first && want <= last && len(master) >= 2 {
			return fmt.Sprintf("%v:%v", master[0], master[1])
		}
	}
	return ""
}
