package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/replicate"
)

// auditFlags are those of audit alone.
type auditFlags struct {
	ranges   map[msha.OriginQueue]replicate.AuditRange // without unit
	resume   string
	json     bool
	listed   int
	patience time.Duration
}

func (f *auditFlags) add(fs *flag.FlagSet) {
	f.ranges = map[msha.OriginQueue]replicate.AuditRange{}
	fs.Func("range", "compare only these origin offsets of a queue, both ends included, as SMS/broker-a/0=1000-1999 or SMS/broker-a/0=1000-; may be repeated", func(s string) error {
		q, r, err := parseRange(s)
		if err == nil {
			f.ranges[q] = r
		}
		return err
	})
	fs.StringVar(&f.resume, "resume", "", "file that keeps how far the audit is: one that was interrupted goes on there; it is removed when the audit is finished")
	fs.BoolVar(&f.json, "json", false, "print the report as JSON")
	fs.IntVar(&f.listed, "listed", 100, "differences listed per queue and kind; all are counted")
	fs.DurationVar(&f.patience, "patience", 2*time.Minute, "how long a queue is tried that cannot be read")
}

// auditNames are the names that auditors use for unit and targets.
var auditNames = []setting{
	{name: "origin", usage: "the same as -unit", set: text(func(c *config) *string { return &c.unit })},
	{name: "target", list: true, usage: "the same as -targets", set: list(func(c *config) *[]string { return &c.targets })},
}

// runAudit compares origin and copies. errDifferent if they differ.
func runAudit(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	var f auditFlags
	c, err := parseConfig("replicator audit", args, settingsOf(place, auditNames), f.add, getenv, stderr)
	if err != nil {
		return err
	}
	screen := newScreen(stderr)
	defer screen.clear()
	log := c.logger(screen)
	before, err := readReport(f.resume)
	if err != nil {
		return err
	}
	access, err := openCredentials(c.credentials, log)
	if err != nil {
		return err
	}
	store, err := openStore(ctx, c, log)
	if err != nil {
		return err
	}
	defer store.Close() //nolint:errcheck // it was read
	ranges := map[msha.OriginQueue]replicate.AuditRange{}
	for q, r := range f.ranges {
		q.Unit = c.unit
		ranges[q] = r
	}
	shown := &auditProgress{screen: screen, resume: f.resume, began: time.Now(), said: time.Now()}
	report, err := replicate.Audit(ctx, c.unit, store, &replicate.AuditOptions{
		Targets: c.targets, Topics: c.topics, Ranges: ranges, Resume: before, Listed: f.listed, Patience: f.patience, Progress: shown.show,
		Access: access, Logger: log,
	})
	screen.clear()
	if report == nil {
		return err
	}
	return f.conclude(report, errors.Join(err, shown.err), stdout)
}

// conclude prints the result and says how the command ends.
func (f *auditFlags) conclude(report *replicate.AuditReport, err error, stdout io.Writer) error {
	if f.json {
		e := json.NewEncoder(stdout)
		e.SetIndent("", "  ")
		err = errors.Join(err, e.Encode(report))
	} else {
		printReport(stdout, report)
	}
	different := report.Count(replicate.Differences()...) > 0
	switch {
	case report.Finished && f.resume != "":
		if rmErr := os.Remove(f.resume); rmErr != nil && !errors.Is(rmErr, os.ErrNotExist) {
			err = errors.Join(err, rmErr)
		}
	case !report.Finished:
		hint := "use -resume FILE the next time, so that it can go on"
		if f.resume != "" {
			hint = "the same command goes on, -resume " + f.resume + " knows where"
		}
		err = errors.Join(err, fmt.Errorf("the audit is not finished: %s", hint))
	}
	if different {
		return errors.Join(errDifferent, err)
	}
	return err
}

// printReport lists what was found, queue by queue, and ends with the verdict.
func printReport(w io.Writer, report *replicate.AuditReport) {
	for _, q := range report.Queues {
		if q.Err != "" {
			fmt.Fprintf(w, "%s -> %s: not finished: %s\n", q.Queue, q.Target, q.Err)
		}
		for _, kind := range append(replicate.Differences(), replicate.Repeated, replicate.Expired) {
			found, ok := q.Findings[kind]
			if !ok || found.Count == 0 {
				continue
			}
			fmt.Fprintf(w, "%s -> %s: %d %s\n", q.Queue, q.Target, found.Count, kind)
			for _, one := range found.List {
				fmt.Fprintf(w, "  %s\n", one)
			}
			if n := len(found.List); int64(n) < found.Count && kind != replicate.Missing && kind != replicate.Expired {
				fmt.Fprintf(w, "  and more, -listed %d\n", n)
			}
		}
	}
	fmt.Fprintln(w, report.Verdict())
}

// auditProgress shows how far an audit is, and keeps it in a file.
type auditProgress struct {
	screen *screen
	resume string
	began  time.Time
	said   time.Time
	err    error // of the file, the first one
}

func (p *auditProgress) show(report *replicate.AuditReport) {
	if p.resume != "" {
		if err := writeReport(p.resume, report); err != nil && p.err == nil {
			p.err = err
		}
	}
	var compared, size int64
	finished := 0
	for _, q := range report.Queues {
		compared += q.Compared
		size += q.Bytes
		if q.Finished {
			finished++
		}
	}
	line := fmt.Sprintf("%d compared, %s, %d of %d queues finished, %d differences, %v", compared, bytesText(size), finished, len(report.Queues),
		report.Count(replicate.Differences()...), time.Since(p.began).Round(time.Second))
	switch {
	case p.screen.terminal:
		p.screen.show(line)
	case time.Since(p.said) >= 10*time.Second:
		p.said = time.Now()
		fmt.Fprintln(p.screen, "audit:", line)
	}
}

// parseRange reads topic/broker/queue=first-last.
func parseRange(s string) (q msha.OriginQueue, r replicate.AuditRange, err error) {
	where, offsets, _ := strings.Cut(s, "=")
	parts := strings.Split(where, "/")
	first, last, ok := strings.Cut(offsets, "-")
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" || !ok {
		return q, r, fmt.Errorf("%q: want topic/broker/queue=first-last", s)
	}
	q.Topic, q.Broker = parts[0], parts[1]
	if q.Queue, err = parseCount(parts[2]); err != nil {
		return q, r, fmt.Errorf("queue %w", err)
	}
	if r.From, err = strconv.ParseInt(first, 10, 64); err != nil || r.From < 0 {
		return q, r, fmt.Errorf("first offset %q is no number from 0", first)
	}
	if last == "" {
		return q, r, nil
	}
	end, err := strconv.ParseInt(last, 10, 64)
	if err != nil || end < r.From {
		return q, r, fmt.Errorf("last offset %q is no number from the first offset on", last)
	}
	r.To = end + 1
	return q, r, nil
}
