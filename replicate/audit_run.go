package replicate

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
)

// queue prepares the comparison of one queue, where a report to resume has left it.
func (a *audit) queue(target string, source, replica remoting.Queue, origin, remote *remoting.Cluster) *auditQueue {
	q := &auditQueue{
		source: source, target: replica, origin: origin, remote: remote, opts: &a.opts, history: a.history,
		result: QueueAudit{
			Queue:  msha.OriginQueue{Unit: a.origin, Broker: source.Broker, Topic: source.Topic, Queue: source.ID},
			Target: target, First: -1, Last: -1, Findings: map[FindingKind]Findings{},
		},
	}
	if replica != (remoting.Queue{}) {
		q.result.Replica = replica.String()
	}
	if a.opts.Resume != nil {
		for _, old := range a.opts.Resume.Queues {
			if old.Queue == q.result.Queue && old.Target == target && old.Replica == q.result.Replica {
				q.result = old.clone()
			}
		}
	}
	q.result.Err = ""
	q.log = a.opts.Logger.With("origin", q.result.Queue.String(), "target", target)
	return q
}

// originQueues lists a topic's queues; none if the topic is gone, which its own queues will say.
func (a *audit) originQueues(ctx context.Context, origin *remoting.Cluster, topic string) (queues []remoting.Queue, err error) {
	asker := &auditQueue{origin: origin, remote: origin, opts: &a.opts, log: a.opts.Logger.With("topic", topic)}
	err = asker.try(ctx, func(ctx context.Context) (err error) {
		queues, err = origin.Queues(ctx, topic, false)
		return err
	})
	if errors.Is(err, msha.ErrNotFound) {
		return nil, nil
	}
	return queues, err
}

// run compares the queues, some at a time.
func (a *audit) run(ctx context.Context) (*AuditReport, error) {
	work := make(chan int)
	var wg sync.WaitGroup
	for range min(a.opts.Parallel, len(a.queues)) {
		wg.Go(func() {
			for i := range work {
				a.compare(ctx, i)
			}
		})
	}
	for i, q := range a.queues {
		if !q.result.Finished {
			work <- i
		}
	}
	close(work)
	wg.Wait()
	a.report.Finished = true
	for _, q := range a.report.Queues {
		a.report.Finished = a.report.Finished && q.Finished
	}
	a.opts.Progress(a.report.clone())
	if !a.report.Finished && ctx.Err() != nil {
		return a.report, ctx.Err()
	}
	return a.report, nil
}

// compare runs one queue and puts its result into the report.
func (a *audit) compare(ctx context.Context, i int) {
	q := a.queues[i]
	q.publish = func(r *QueueAudit) { a.progress(i, r) }
	if err := q.run(ctx); err != nil {
		q.result.Err = err.Error()
		if ctx.Err() == nil {
			q.log.Error("audit of a queue ended", "error", err)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.report.Queues[i] = q.result.clone()
}

// progress puts a result so far into the report and calls Progress, if that is due.
func (a *audit) progress(i int, r *QueueAudit) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if time.Since(a.reported) < a.opts.Every {
		return
	}
	a.reported = time.Now()
	a.report.Queues[i] = r.clone()
	a.opts.Progress(a.report.clone())
}
