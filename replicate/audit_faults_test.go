package replicate

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/metastore/memory"
)

func TestAuditOutlivesBrokers(t *testing.T) {
	p := plant(t, 100)
	p.send(t, p.copies())
	busy := p.sites["unit-2"].Inject(embedmq.Fault{Code: remoting.ReqPullMessage, Error: remoting.RespSystemBusy, Times: 2})
	calls := 0
	report := runAudit(t, p.store, AuditOptions{Page: 10, Every: 1, Progress: func(*AuditReport) {
		switch calls++; calls {
		case 2:
			p.sites["unit-1"].restart(t, "broker-unit-1", embedmq.KeepAll)
		case 4:
			require.NoError(t, p.sites["unit-2"].Kill("broker-unit-2"))
			time.AfterFunc(300*time.Millisecond, func() { _ = p.sites["unit-2"].Restart("broker-unit-2", embedmq.KeepAll) })
		}
	}})
	require.Equal(t, 2, busy.Hits())
	requireExactAudit(t, report, 100)
}

func TestAuditReportsWhatItCannotRead(t *testing.T) {
	p := plant(t, 20)
	p.send(t, p.copies())
	for name, c := range map[string]struct {
		at       string
		fault    embedmq.Fault
		patience time.Duration
		want     string
	}{
		"refused":           {"unit-2", embedmq.Fault{Code: remoting.ReqPullMessage, Error: remoting.RespNoPermission}, 0, "code 16"},
		"topic gone":        {"unit-1", embedmq.Fault{Code: remoting.ReqPullMessage, Error: remoting.RespTopicNotExist}, 0, "code 17"},
		"busy for too long": {"unit-1", embedmq.Fault{Code: remoting.ReqPullMessage, Error: remoting.RespSystemBusy}, 100 * time.Millisecond, "code 2"},
	} {
		t.Run(name, func(t *testing.T) {
			fault := p.sites[c.at].Inject(c.fault)
			report := runAudit(t, p.store, AuditOptions{Patience: c.patience})
			fault.Remove()
			require.Contains(t, report.Queues[0].Err, c.want)
			require.False(t, report.Finished)
			require.False(t, report.Exact())
			require.Contains(t, report.Verdict(), "1 of 1 queues not finished")
			requireExactAudit(t, runAudit(t, p.store, AuditOptions{Resume: report}), 20)
		})
	}
	for name, code := range map[string]int{"busy until ctx ends": remoting.ReqPullMessage, "name server busy until ctx ends": remoting.ReqGetRouteInfoByTopic} {
		t.Run(name, func(t *testing.T) {
			fault := p.sites["unit-1"].Inject(embedmq.Fault{Code: code, Error: remoting.RespSystemBusy})
			defer fault.Remove()
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			var report *AuditReport
			ended := make(chan error)
			go func() {
				var err error
				report, err = Audit(ctx, "unit-1", p.store, &AuditOptions{Logger: slog.New(slog.DiscardHandler)})
				ended <- err
			}()
			eventually(t, "it is tried again", func() bool { return fault.Hits() > 2 })
			cancel()
			require.Equal(t, context.Canceled, <-ended)
			if code == remoting.ReqPullMessage {
				require.Contains(t, report.Queues[0].Err, "code 2", "the queue says why")
			}
		})
	}
}

func TestAuditSaysWhatIsNotAssigned(t *testing.T) {
	p := plant(t, 20)
	p.send(t, p.copies())
	p.sites["unit-1"].createTopic(t, "SMS", 2)
	report := runAudit(t, p.store, AuditOptions{})
	require.Len(t, report.Queues, 2)
	require.EqualValues(t, 20, report.Queues[0].Compared)
	require.True(t, report.Queues[0].Finished)
	require.Contains(t, report.Queues[1].Err, "none is assigned")
	require.False(t, report.Exact())
}

func TestAuditAfterRetention(t *testing.T) {
	p := plant(t, 100)
	p.send(t, p.copies())
	require.NoError(t, p.sites["unit-2"].RaiseMinOffset(replicaQueue("SMS", 0), 10))
	require.NoError(t, p.sites["unit-1"].RaiseMinOffset(p.origin, 15))
	report := runAudit(t, p.store, AuditOptions{})
	requireFound(t, report.Queues[0], map[FindingKind][]int64{Expired: seq(10, 15)})
	require.EqualValues(t, 85, report.Queues[0].Compared)
	require.True(t, report.Exact(), "what expired differs in nothing")

	duringAudit := func(drop func()) QueueAudit {
		calls := 0
		return runAudit(t, p.store, AuditOptions{Page: 10, Every: 1, Progress: func(*AuditReport) {
			if calls++; calls == 1 {
				drop()
			}
		}}).Queues[0]
	}
	requireFound(t, duringAudit(func() {
		require.NoError(t, p.sites["unit-2"].RaiseMinOffset(replicaQueue("SMS", 0), 60))
	}), map[FindingKind][]int64{Expired: append(seq(10, 15), seq(20, 60)...)})
	requireFound(t, duringAudit(func() {
		require.NoError(t, p.sites["unit-1"].RaiseMinOffset(p.origin, 95))
	}), map[FindingKind][]int64{Expired: append(seq(15, 60), seq(70, 95)...)})
	require.NoError(t, p.sites["unit-2"].RaiseMinOffset(replicaQueue("SMS", 0), 100))
	report = runAudit(t, p.store, AuditOptions{})
	requireFound(t, report.Queues[0], map[FindingKind][]int64{Expired: seq(95, 100)})
	require.Equal(t, report, runAudit(t, p.store, AuditOptions{Resume: report}), "nothing is left to do")
}

func TestAuditWhileCopiesExpire(t *testing.T) {
	p := plant(t, 100)
	p.send(t, p.copies())
	calls := 0
	report := runAudit(t, p.store, AuditOptions{Page: 10, Every: 1, Progress: func(*AuditReport) {
		if calls++; calls == 2 {
			require.NoError(t, p.sites["unit-2"].RaiseMinOffset(replicaQueue("SMS", 0), 50))
		}
	}})
	requireFound(t, report.Queues[0], map[FindingKind][]int64{Expired: seq(20, 50)})
	require.EqualValues(t, 70, report.Queues[0].Compared)
}

func TestAuditGivesARestartedOriginTime(t *testing.T) {
	p := plant(t, 30)
	p.send(t, p.copies())
	p.sites["unit-1"].restart(t, "broker-unit-1", embedmq.LoseTail(4))
	pulls := p.sites["unit-1"].Inject(embedmq.Fault{Code: remoting.ReqPullMessage, Delay: time.Microsecond})
	ended := make(chan *AuditReport, 1)
	go func() {
		report, _ := Audit(context.Background(), "unit-1", p.store, &AuditOptions{Logger: slog.New(slog.DiscardHandler)})
		ended <- report
	}()
	eventually(t, "the audit waits for messages", func() bool { return pulls.Hits() > 3 })
	p.sites["unit-1"].put(t, p.origin, p.want[26:])
	requireExactAudit(t, <-ended, 30)
}

func TestAuditAfterAGapThatWasSkipped(t *testing.T) {
	store := memory.New()
	sites := startSites(t, store, "unit-1", "unit-2")
	sites["unit-1"].createTopic(t, "SMS", 1)
	sites["unit-1"].produce(t, "SMS", 10)
	r, stop := run(t, "unit-1", store, nil)
	syncTopic(t, r, "SMS")
	stop()
	sites["unit-1"].produce(t, "SMS", 20)
	require.NoError(t, sites["unit-1"].RaiseMinOffset(remoting.Queue{Topic: "SMS", Broker: "broker-unit-1"}, 15))
	r, _ = run(t, "unit-1", store, &Options{Topics: []string{"SMS"}, OnGap: Skip})
	syncTopic(t, r, "SMS")
	report := runAudit(t, store, AuditOptions{})
	requireFound(t, report.Queues[0], map[FindingKind][]int64{Expired: seq(0, 15)})
	require.Equal(t, Finding{10, 15, -1, detailNoCopyEither}, report.Queues[0].Findings[Expired].List[1])
	require.Equal(t, [2]int64{1, 5}, [2]int64{r.Stats().Gaps, r.Stats().Skipped})
}

func TestAuditWhereTheOriginLostItsTail(t *testing.T) {
	p := plant(t, 30)
	p.send(t, p.copies())
	p.sites["unit-1"].restart(t, "broker-unit-1", embedmq.LoseTail(4))
	report := runAudit(t, p.store, AuditOptions{settle: 200 * time.Millisecond})
	requireFound(t, report.Queues[0], map[FindingKind][]int64{Foreign: {26, 27, 28, 29}})
	require.EqualValues(t, 26, report.Queues[0].Compared)

	p.sites["unit-1"].produce(t, "SMS", 4)
	report = runAudit(t, p.store, AuditOptions{})
	require.EqualValues(t, 4, report.Count(AlteredProperty), "other messages under the same offsets")
}

func TestAuditRefusesWhatCannotBe(t *testing.T) {
	p := plant(t, 1)
	ctx := context.Background()
	_, err := Audit(ctx, "unit-9", p.store, nil)
	require.ErrorIs(t, err, msha.ErrNotFound)
	require.ErrorContains(t, err, "unit-1, unit-2")
	_, err = Audit(ctx, "unit-2", p.store, nil)
	require.ErrorIs(t, err, msha.ErrNotFound, "nothing was copied from there")
	_, err = Audit(ctx, "unit-1", p.store, &AuditOptions{Topics: []string{"SMS", "MAIL*"}})
	require.ErrorIs(t, err, msha.ErrNotFound)
	require.ErrorContains(t, err, "MAIL*")
	_, err = Audit(ctx, "unit-1", p.store, &AuditOptions{Targets: []string{}})
	require.ErrorIs(t, err, msha.ErrNotFound, "an audit of nothing is no success")
	_, err = Audit(ctx, "", nil, nil)
	require.ErrorIs(t, err, msha.ErrInvalid)
	_, err = Audit(ctx, "unit-1", p.store, &AuditOptions{Targets: []string{"unit-1"}, Topics: []string{"[a"},
		Ranges: map[msha.OriginQueue]AuditRange{{Unit: "unit-1"}: {From: 5, To: 5}}, Resume: &AuditReport{Origin: "unit-3"}})
	require.ErrorIs(t, err, msha.ErrInvalid)
	for _, want := range []string{"origin is among", `"[a"`, "range 5 to 5", "unit-3"} {
		require.ErrorContains(t, err, want)
	}
}
