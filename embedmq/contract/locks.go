package contract

import (
	"time"

	"github.com/go-msha/msha/internal/remoting"
)

// locker locks queues in the name of a group that was never registered: names are not checked.
func (e *env) locker() (g string, lock func(client string, qs ...remoting.Queue) int) {
	g = e.name("never-registered")
	return g, func(client string, qs ...remoting.Queue) int {
		e.Helper()
		got, err := e.cl.Lock(e.ctx, e.Addr(), g, client, qs)
		e.must(err)
		return len(got)
	}
}

func locks(e *env) {
	_, qs := e.topic(3)
	g, lock := e.locker()
	equal(e, "free", lock("one", qs[0], qs[1]), 2)
	equal(e, "held by another", lock("two", qs...), 1)
	equal(e, "renewed", lock("one", qs...), 2)
	e.must(e.cl.Unlock(e.ctx, e.Addr(), g, "two", qs[:2]))
	equal(e, "unlocked by who does not hold it", lock("two", qs[0]), 0)
	e.must(e.cl.Unlock(e.ctx, e.Addr(), g, "one", qs[:1]))
	equal(e, "free again", lock("two", qs[0], qs[1]), 1)
	other, err := e.cl.Lock(e.ctx, e.Addr(), g+"-other", "three", qs)
	e.must(err)
	equal(e, "another group", len(other), 3)
	nowhere := remoting.Queue{Topic: e.name("none"), Broker: e.Broker, ID: 7}
	equal(e, "queue that does not exist", lock("one", nowhere), 1)
	equal(e, "and excludes", lock("two", nowhere), 0)
}

func lockExpiry(e *env) {
	_, qs := e.topic(1)
	_, lock := e.locker()
	equal(e, "free", lock("one", qs...), 1)
	renewAt := time.Now().Add(e.LockTime / 2)
	e.eventually("time to renew", func() bool { return time.Now().After(renewAt) })
	renewed := time.Now()
	equal(e, "renewed", lock("one", qs...), 1)
	e.eventually("expiry", func() bool { return lock("two", qs...) == 1 })
	if after := time.Since(renewed); after < e.LockTime-100*time.Millisecond || after > e.LockTime+30*time.Second {
		e.Fatalf("free %v after it was renewed, locks last %v", after, e.LockTime)
	}
	equal(e, "the new holder excludes the old one", lock("one", qs...), 0)
}
