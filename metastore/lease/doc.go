// Package lease lets one process at a time act on something, on any msha.MetaStore: nothing but compare-and-set is used, no lease of a
// server and no wall clock, so two holders are told apart on every backend by the same rules.
//
// A lease is a document {holder, session, generation, attempt, ttl, released} under a key:
//
//   - The holder renews by a Put, which changes the revision. It trusts itself until the *start* of the last successful attempt + TTL −
//     margin on its own clock. An attempt without answer extends nothing until a read shows that it was stored.
//   - A contender takes over only after it has seen one revision unchanged for TTL + margin on its own clock, TTL being that of the
//     document, or at once if the lease was released. It does so by a compare-and-set on that very revision.
//   - Every acquisition raises the generation, which never goes down: a fencing token. So the document must never be deleted.
//
// Why two holders never trust themselves at once: let revision r be stored by a renewal. Its start is before the store has r, which is
// before any contender sees r. The contender's Put is refused unless r is still current, so no later renewal was stored, and the holder's
// trust ended TTL − margin after a moment that is at least TTL + margin ago. The two margins absorb clocks of different speed (20 % at
// the default margin) and the time between Check and the act it guards. Nothing else is assumed about the clocks of two machines.
//
// Why stale reads are harmless: a revision that a stale server shows as unchanged is not the current one, so the Put that takes over
// is refused, and revisions never come back (msha.Revision). Staleness can delay a take-over, never cause one. A store that breaks
// this says so (msha.Safe): on it nothing is acquired, and the trust in what is held ends.
//
//	held, err := lease.Acquire(ctx, store, "msha.leases.pipe-1", processID, nil)
//	defer held.Release(context.WithoutCancel(ctx))
//	for batch := range batches {
//		if err := held.Check(); err != nil {
//			return err // another process may go on
//		}
//		send(batch, held.Generation())
//	}
//
// A process can still freeze between Check and the act. What must be safe even then has to carry the generation and be refused by its
// receiver when it is older than one seen before. The same goes for a suspended machine, whose monotonic clock stands still.
package lease
