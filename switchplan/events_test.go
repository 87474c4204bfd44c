package switchplan_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-msha/msha/switchplan"
)

func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.pending = 100
		stream := switchplan.NewStream()
		all, cancel := stream.Subscribe(100)
		defer cancel()
		slow, cancelSlow := stream.Subscribe(3)
		defer cancelSlow()
		plan := w.plan(t, guangzhou)
		d := &diary{w: w}
		step := d.step("freeze", "error", "ok")
		step.Attempts = 2
		insertAfter(t, plan, switchplan.Check, switchplan.Approval("approve", time.Minute), step)
		e := (&process{world: w}).executor(t, func(o *switchplan.Options) { o.Events = stream })
		approved := make(chan error)
		go func() {
			time.Sleep(time.Second)
			approved <- e.Approve(t.Context(), plan.ID, "approve", "alice", "")
		}()
		report, err := e.Run(t.Context(), plan)
		if err != nil || <-approved != nil {
			t.Fatal(err)
		}
		stream.Close()
		stream.Close()
		var got []string
		seq := uint64(0)
		for event := range all {
			if seq++; event.Seq != seq || event.Task != plan.ID || event.At.IsZero() {
				t.Fatalf("event %d: %+v", seq, event)
			}
			got = append(got, strings.TrimSpace(string(event.Kind)+" "+event.Phase))
			if event.Kind == switchplan.EventDone && (event.Error != "" || fmt.Sprint(*event.Report) != fmt.Sprint(report.Answer())) {
				t.Errorf("done: %+v", event)
			}
		}
		want := "begun check; phase check; phase-ended check; phase approve; approval-needed approve; waiting approve; phase-ended approve; " +
			"phase freeze; retry freeze; phase-ended freeze; phase fence; phase-ended fence; phase drain; phase-ended drain; phase confirm; phase-ended confirm; " +
			"phase hand over; phase-ended hand over; phase commit; phase-ended commit; phase take over; progress take over; progress take over; progress take over; phase-ended take over; done"
		if s := strings.Join(got, "; "); s != want {
			t.Errorf("events\n%s\nwant\n%s", s, want)
		}
		n, last := 0, switchplan.Event{}
		for event := range slow {
			n, last = n+1, event
		}
		if n != 4 || last.Kind != switchplan.EventDropped {
			t.Errorf("the slow reader got %d events, last %+v", n, last)
		}
		late, cancelLate := stream.Subscribe(1)
		cancelLate()
		if _, open := <-late; open {
			t.Error("a closed stream gave an event")
		}
	})
}

func TestReport(t *testing.T) {
	r := &switchplan.Report{
		Task: "id", State: switchplan.StateDone, Moved: []string{"guangzhou"}, TakenOver: 7, Pending: 1, PossiblyRepeated: 2, Unknown: 3,
		Phases: []switchplan.PhaseResult{
			{Phase: "check", Duration: time.Millisecond}, {Phase: "freeze", Attempts: 3}, {Phase: "tell", Skipped: "nobody there"},
		},
		Pause: 5 * time.Millisecond, Duration: time.Second, By: "alice",
		Overrides: []switchplan.Override{{Guard: "lag-limit", By: "alice", What: "much"}}, Decisions: []switchplan.Decision{{Step: "approve", Approved: true, By: "bob"}},
	}
	want := "switch id: done, guangzhou in 1s, pause 5ms; taken over 7, pending 1, possibly repeated 2, unknown 3; freeze took 3 attempts; skipped tell; approve approved by bob; overridden lag-limit by alice"
	if got := r.String(); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var answer switchplan.Answer
	if err := json.Unmarshal(b, &answer); err != nil || fmt.Sprint(answer) != fmt.Sprint(r.Answer()) {
		t.Fatalf("%v: %s", err, b)
	}
	for _, field := range []string{`"pauseMs":5`, `"durationMs":1000`, `"skipped":["tell"]`, `"retried":["freeze"]`, `"possiblyRepeated":2`, `"what":"much"`} {
		if !strings.Contains(string(b), field) {
			t.Errorf("lacks %s: %s", field, b)
		}
	}
	if got := (&switchplan.Report{Task: "id"}).String(); !strings.HasPrefix(got, "switch id: refused, ") {
		t.Error(got)
	}
}
