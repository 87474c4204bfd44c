package consume

import (
	"context"
	"time"
)

// confirmations is how often within G the table is read again in Strict mode, so that one lost answer closes no gate.
const confirmations = 4

// confirmLoop keeps the gate of Strict mode open as long as the metastore answers. A read that began at a time proves that nothing was fenced
// before it: a forced switch that waits G after its fence finds every gate closed, or knowing of the fence.
func (e *Engine) confirmLoop() {
	every := e.cfg.GateWindow / confirmations
	tick := time.NewTicker(every)
	defer tick.Stop()
	failing := false
	for {
		err := e.confirm(every)
		switch {
		case e.ctx.Err() != nil:
			return
		case err != nil && !failing:
			e.cfg.Logger.Warn("routing table not confirmed: nothing will start unless the metastore answers in time", "within", e.cfg.GateWindow, "error", err)
		case err == nil && failing:
			e.cfg.Logger.Info("routing table confirmed again")
		}
		failing = err != nil
		select {
		case <-tick.C:
		case <-e.ctx.Done():
			return
		}
	}
}

func (e *Engine) confirm(timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(e.ctx, timeout)
	defer cancel()
	asked := e.cfg.Now()
	t, err := e.cfg.Fresh(ctx)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.applyTable(t)
	e.confirmed = asked
	e.wakeAll()
	return nil
}
