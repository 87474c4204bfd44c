//go:build real

package chaos

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/replicate"
)

// audit notes copies that are not exact, and messages that are not copied although everything is healed.
func (w *world) audit() {
	ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
	defer cancel()
	for _, origin := range w.names {
		report, err := replicate.Audit(ctx, origin, w.store, &replicate.AuditOptions{Topics: []string{topic}, Logger: quiet})
		if err != nil {
			w.fail("audit of %s: %v", origin, err)
			continue
		}
		w.Logf("%s: %s", origin, report.Verdict())
		for _, q := range report.Queues {
			for _, kind := range replicate.Differences() {
				for _, f := range q.Findings[kind].List {
					w.fail("%s in %s, the copies of %s: %s%s", kind, q.Target, q.Queue, f, w.stored(ctx, q.Target, q.Replica, f.Replica))
				}
			}
			if q.Pending > 0 || !q.Finished {
				w.fail("%s: %d messages are not copied to %s: %s", q.Queue, q.Pending, q.Target, q.Err)
			}
		}
	}
}

// stored describes a message for who wants to know where it comes from.
func (w *world) stored(ctx context.Context, unit, replica string, offset int64) string {
	parts := strings.Split(replica, "/")
	if offset < 0 || len(parts) != 3 {
		return ""
	}
	id, err := strconv.Atoi(parts[2])
	if err != nil {
		return ": " + err.Error()
	}
	client := remoting.NewClient(&remoting.Options{Logger: quiet})
	defer client.Close()
	cl := remoting.NewCluster([]string{w.sites[unit].NameServer()}, client)
	res, err := cl.Pull(ctx, remoting.PullRequest{Queue: remoting.Queue{Topic: parts[0], Broker: parts[1], ID: id}, Group: "MSHA_TEST", Offset: max(offset-1, 0), Max: 3})
	if err != nil {
		return ": " + err.Error()
	}
	text := ""
	for _, m := range res.Messages {
		text += "\n\t" + strconv.FormatInt(m.QueueOffset, 10) + " at " + strconv.FormatInt(m.CommitLogOffset, 10) + ", stored " + clock(time.UnixMilli(m.StoreTimestamp)) +
			", body " + strconv.Quote(string(m.Body[:min(len(m.Body), 60)])) + ", properties"
		for _, name := range sorted(m.Properties) {
			text += " " + name + "=" + strconv.Quote(m.Properties[name])
		}
	}
	return text
}
