package lease

import (
	"context"
	"errors"
	"time"

	"github.com/go-msha/msha"
)

// errTaken is the cause when another session's document is read.
var errTaken = errors.New("another process has it")

// renewing keeps the lease until the trust ends or Release is called.
func (l *Lease) renewing(ctx context.Context) {
	defer close(l.renewed)
	failing := false
	next := l.Renew
	for l.pause(ctx, next) {
		if err := msha.Safe(l.store); err != nil {
			l.lose(err)
			return
		}
		start := l.Clock.Now()
		err := l.renew(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !failing:
			failing = true
			l.Logger.Warn("lease: renewal failed", "key", l.key, "holder", l.claim.doc.Holder, "error", err)
		case err == nil && failing:
			failing = false
			l.Logger.Info("lease: renewed again", "key", l.key, "holder", l.claim.doc.Holder)
		}
		next = l.retry()
		if err == nil {
			next = l.Renew - l.Clock.Now().Sub(start)
		}
	}
}

// pause waits d on the local clock; false if ctx ended.
func (l *Lease) pause(ctx context.Context, d time.Duration) bool {
	tick := make(chan struct{})
	defer l.Clock.AfterFunc(d, func() { close(tick) })()
	select {
	case <-tick:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// renew makes one attempt, and a read if it failed. An error means that nothing was found out; the trust was not extended then.
func (l *Lease) renew(ctx context.Context) error {
	l.forget(&l.claim)
	until, err := l.put(ctx, &l.claim, l.claim.revision)
	if err == nil {
		l.extend(until)
		return nil
	}
	if errors.Is(err, msha.ErrUnsafe) {
		l.lose(err)
		return err
	}
	known, readErr := l.inspect(ctx)
	if known || readErr != nil && !errors.Is(err, msha.ErrConflict) {
		return readErr
	}
	return err
}

// inspect reads what has become of the attempts without answer. known is true if one of them was stored, so that the trust is
// extended, or if another session has the lease, so that it is lost.
func (l *Lease) inspect(ctx context.Context) (known bool, err error) {
	got, err := l.read(ctx)
	if err != nil {
		return false, err
	}
	switch l.rules.settle(l.claim.doc.Session, l.claim.revision, got) {
	case stored:
		l.extend(l.adopt(&l.claim, got))
		return true, nil
	case lost:
		l.claim.revision = 0
		if got.doc.Session == "" {
			l.lose(errors.New("the store lost its document"))
			return true, nil
		}
		l.lose(msha.Errorf("lease.renew", l.key, "", "%w: %s, generation %d", errTaken, got.doc.Holder, got.doc.Generation))
		return true, nil
	}
	return false, nil
}

// giveBack marks the document as released, unless another session has it. The renewing goroutine has ended.
func (l *Lease) giveBack(ctx context.Context) error {
	l.claim.doc.Released = true
	for end := l.Clock.Now().Add(l.TTL); l.claim.revision != 0; {
		_, putErr := l.put(ctx, &l.claim, l.claim.revision)
		if putErr == nil {
			l.claim.revision = 0
			return nil
		}
		if hopeless(putErr) {
			return putErr
		}
		known, err := l.inspect(ctx) // an attempt stored after all, of a renewal too, gives the revision for the next one
		switch {
		case hopeless(err):
			return err
		case known:
		case !l.pause(ctx, min(l.retry(), 100*time.Millisecond)):
			return ctx.Err()
		case !l.Clock.Now().Before(end):
			return msha.Errorf("lease.release", l.key, "the others take over by themselves", "not released within the TTL of %v: %w", l.TTL, putErr)
		}
	}
	return ctx.Err()
}
