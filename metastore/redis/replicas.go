package redis

import (
	"context"
	"fmt"

	goredis "github.com/redis/go-redis/v9"
)

// write runs a script. With Options.Replicas it waits until so many replicas have the change, too; short tells that they do not.
func (s *Store) write(ctx context.Context, script *script, keys []string, args []any) (answer any, short, err error) {
	run := func(cmd once) error { return s.client.Process(ctx, cmd) }
	var wait *goredis.IntCmd
	if s.opts.Replicas > 0 {
		master, err := s.master(ctx, keys[0])
		if err != nil {
			return nil, nil, err
		}
		// WAIT concerns what the same connection wrote; a pipeline has one. The server waits for less than the client does.
		run = func(cmd once) error {
			pipe := master.Pipeline()
			_ = pipe.Process(ctx, cmd)
			wait = goredis.NewIntCmd(ctx, "wait", s.opts.Replicas, (s.opts.Timeout / 2).Milliseconds())
			_ = pipe.Process(ctx, wait)
			_, _ = pipe.Exec(ctx) // the commands carry their errors
			return cmd.Err()
		}
	}
	cmd, err := script.send(ctx, keys, args, run)
	if err != nil {
		return nil, nil, err
	}
	if wait != nil {
		switch got, err := wait.Result(); {
		case err != nil:
			short = fmt.Errorf("whether %d replicas have it is unknown: %w", s.opts.Replicas, err)
		case got < int64(s.opts.Replicas):
			short = fmt.Errorf("%d of %d replicas have it after %v", got, s.opts.Replicas, s.opts.Timeout/2)
		}
	}
	return cmd.Val(), short, nil
}

// master is the client of the one node to pipeline to.
func (s *Store) master(ctx context.Context, key string) (*goredis.Client, error) {
	switch client := s.client.(type) {
	case *goredis.ClusterClient:
		return client.MasterForKey(ctx, key)
	default:
		return client.(*goredis.Client), nil // New refuses others
	}
}

// relearn makes a cluster client ask which node has the slot, after any failure: by itself it does so only when a node tells it that the
// slot has moved, which a dead one does not.
func (s *Store) relearn() {
	if cluster, ok := s.client.(*goredis.ClusterClient); ok && s.ended.Err() == nil {
		cluster.ReloadState(s.ended)
	}
}
