package consume

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// brokerTimeout bounds what one broker may keep the others waiting for.
const brokerTimeout = 3 * time.Second

// eachBroker calls f for all brokers at once; the errors name theirs.
func eachBroker(ctx context.Context, addrs map[string]string, f func(ctx context.Context, broker, addr string) error) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var all error
	for broker, addr := range addrs {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, brokerTimeout)
			defer cancel()
			if err := f(ctx, broker, addr); err != nil {
				mu.Lock()
				defer mu.Unlock()
				all = errors.Join(all, fmt.Errorf("broker %s: %w", broker, err))
			}
		})
	}
	wg.Wait()
	return all
}
