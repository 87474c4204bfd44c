package replicate

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/metastore/memory"
)

// runAudit audits unit-1 quietly, and fails if that cannot begin.
func runAudit(t *testing.T, store msha.MetaStore, o AuditOptions) *AuditReport {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	o.Logger = slog.New(slog.DiscardHandler)
	report, err := Audit(ctx, "unit-1", store, &o)
	require.NoError(t, err)
	return report
}

func requireExactAudit(t *testing.T, report *AuditReport, compared int64) {
	t.Helper()
	require.True(t, report.Exact(), "%s", report.Verdict())
	n := int64(0)
	for _, q := range report.Queues {
		n += q.Compared
		require.Empty(t, q.Err)
		require.Empty(t, q.Findings[Repeated].List)
		require.Empty(t, q.Findings[Expired].List)
	}
	require.Equal(t, compared, n)
}

// planted is a replica queue that the test filled itself.
type planted struct {
	store  msha.MetaStore
	sites  map[string]*site
	origin remoting.Queue
	want   []*remoting.Message // what the origin has
}

func plant(t *testing.T, messages int) *planted {
	t.Helper()
	p := &planted{store: memory.New(), origin: remoting.Queue{Topic: "SMS", Broker: "broker-unit-1"}}
	p.sites = startSites(t, p.store, "unit-1", "unit-2")
	p.sites["unit-1"].createTopic(t, "SMS", 1)
	p.sites["unit-2"].createTopic(t, "SMS-from-unit-1", 1)
	p.layout(t, Assigned{p.origin, replicaQueue("SMS", 0)})
	p.sites["unit-1"].produce(t, "SMS", messages)
	p.want = p.sites["unit-1"].readAll(t, p.origin)
	return p
}

func (p *planted) layout(t *testing.T, queues ...Assigned) {
	t.Helper()
	value, err := json.Marshal(Layout{queues})
	require.NoError(t, err)
	_, err = p.store.Put(context.Background(), msha.LayoutKey+".unit-1.unit-2", value, 0)
	require.NoError(t, err)
}

// copies are what a replicator would store, to be tampered with.
func (p *planted) copies() []*remoting.Message {
	from := msha.OriginQueue{Unit: "unit-1", Broker: p.origin.Broker, Topic: "SMS"}
	var out []*remoting.Message
	for _, m := range p.want {
		out = append(out, copyOf(m, from, "SMS-from-unit-1"))
	}
	return out
}

func (p *planted) send(t *testing.T, ms []*remoting.Message) {
	t.Helper()
	p.sites["unit-2"].put(t, replicaQueue("SMS", 0), ms)
}

// put stores messages as they are, one by one.
func (s *site) put(t *testing.T, q remoting.Queue, ms []*remoting.Message) {
	t.Helper()
	for _, m := range ms {
		var err error
		if m.SysFlag == 0 {
			_, err = s.mq.SendBatch(context.Background(), q, "p", []*remoting.Message{m})
		} else {
			_, err = s.mq.Send(context.Background(), q, "p", m)
		}
		require.NoError(t, err)
	}
}

func TestAuditOfAReplicatorsWork(t *testing.T) {
	store := memory.New()
	sites := startSites(t, store, "unit-1", "unit-2", "unit-3")
	sites["unit-1"].createTopic(t, "SMS", 3)
	sites["unit-1"].produce(t, "SMS", 300)
	r, _ := run(t, "unit-1", store, nil)
	syncTopic(t, r, "SMS")
	report := runAudit(t, store, AuditOptions{Topics: []string{"SMS"}})
	requireExactAudit(t, report, 600)
	require.Len(t, report.Queues, 6)
	require.Zero(t, report.Queues[0].Pending)
	require.Equal(t, "SMS-from-unit-1/broker-unit-2/0", report.Queues[0].Replica)
	require.Contains(t, report.Verdict(), "audit: 600 compared, 0 missing, 0 doubled, 0 swapped, 0 altered, 0 foreign;")
	requireExactAudit(t, runAudit(t, store, AuditOptions{Targets: []string{"unit-3"}}), 300)
}

func TestAuditWhileTrafficFlows(t *testing.T) {
	store := memory.New()
	sites := startSites(t, store, "unit-1", "unit-2")
	sites["unit-1"].createTopic(t, "SMS", 2)
	sites["unit-1"].produce(t, "SMS", 100)
	r, _ := run(t, "unit-1", store, nil)
	syncTopic(t, r, "SMS")
	const audits = 5
	reports := make(chan *AuditReport, audits)
	go func() {
		defer close(reports)
		for range audits {
			report, err := Audit(context.Background(), "unit-1", store, &AuditOptions{Page: 20, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				return
			}
			reports <- report
		}
	}()
	done, compared := 0, int64(100)
	for open := true; open; {
		sites["unit-1"].produce(t, "SMS", 10)
		select {
		case report, ok := <-reports:
			if open = ok; !ok {
				break
			}
			done++
			require.True(t, report.Exact(), report.Verdict())
			n := report.Queues[0].Compared + report.Queues[1].Compared
			require.GreaterOrEqual(t, n, compared, "it goes as far as the copies")
			compared = n
		default:
		}
	}
	require.Equal(t, audits, done)
	require.Greater(t, compared, int64(100), "there was traffic")
	syncTopic(t, r, "SMS")
	end := sites["unit-1"].end(t, remoting.Queue{Topic: "SMS", Broker: "broker-unit-1"}) + sites["unit-1"].end(t, remoting.Queue{Topic: "SMS", Broker: "broker-unit-1", ID: 1})
	requireExactAudit(t, runAudit(t, store, AuditOptions{}), end)
}

func TestAuditEndsAtTheCopiesOfItsBeginning(t *testing.T) {
	p := plant(t, 30)
	p.send(t, p.copies())
	calls := 0
	report := runAudit(t, p.store, AuditOptions{Page: 7, Every: 1, Progress: func(*AuditReport) {
		if calls++; calls == 1 {
			p.send(t, []*remoting.Message{{Body: []byte("later")}})
		}
	}})
	requireExactAudit(t, report, 30)
	require.EqualValues(t, 1, runAudit(t, p.store, AuditOptions{}).Count(Foreign))
}

// tamper is a sequence of copies with each kind of fault, and what is to be found.
func (p *planted) tamper() ([]*remoting.Message, map[FindingKind][]int64) {
	c := p.copies()
	c[10].Body = append(slices.Clone(c[10].Body[:len(c[10].Body)-1]), '!')
	c[20].Properties["user"] = "another"
	delete(c[20].Properties, "KEYS")
	c[30].Flag = 77
	c[40], c[41] = c[41], c[40]
	c[63].Body[19_999] = 1
	out := slices.Concat(c[:50], c[53:70], c[65:70], c[70:80], []*remoting.Message{{Body: []byte("who?")}}, c[80:90], c[80:90], c[90:99])
	return out, map[FindingKind][]int64{AlteredBody: {10, 63}, AlteredProperty: {20}, AlteredFlag: {30}, Swapped: {40},
		Missing: {50, 51, 52}, Repeated: {65, 66, 67, 68, 69}, Doubled: seq(80, 90), Foreign: {-1}}
}

func TestAuditFindsPlantedFaults(t *testing.T) {
	p := plant(t, 100)
	copies, want := p.tamper()
	p.send(t, copies)
	report := runAudit(t, p.store, AuditOptions{Batch: 5, Page: 7})
	require.Len(t, report.Queues, 1)
	q := report.Queues[0]
	requireFound(t, q, want)
	require.False(t, report.Exact())
	require.True(t, report.Finished)
	require.EqualValues(t, 96, q.Compared)
	require.EqualValues(t, 1, q.Pending)
	require.Equal(t, "audit: 96 compared, 3 missing, 10 doubled, 1 swapped, 4 altered, 1 foreign; 5 repeated, 0 expired, 0 lost by the origin, 1 not copied yet, 0 of 1 queues not finished", report.Verdict())
	require.Equal(t, []Finding{{20, 21, 20, `"KEYS": "k", the copy has none; "user": "ü20", the copy has "another"`}}, q.Findings[AlteredProperty].List)
	require.Equal(t, []Finding{{40, 41, 41, "it stands behind offset 41"}}, q.Findings[Swapped].List)
	require.Equal(t, []Finding{{50, 53, -1, ""}}, q.Findings[Missing].List)
	require.Equal(t, []Finding{{65, 70, 67, ""}}, q.Findings[Repeated].List)
	require.Equal(t, "offsets 65 to 69", q.Findings[Repeated].List[0].String())
	require.Equal(t, []Finding{{-1, 0, 82, "it has no origin"}}, q.Findings[Foreign].List)
	require.Equal(t, "replica offset 82: it has no origin", q.Findings[Foreign].List[0].String())
}

func TestAuditResumedAnywhereGivesTheSame(t *testing.T) {
	p := plant(t, 100)
	copies, _ := p.tamper()
	p.send(t, copies)
	var stored [][]byte
	whole := runAudit(t, p.store, AuditOptions{Batch: 5, Page: 7, Every: 1, Progress: func(r *AuditReport) {
		b, err := json.Marshal(r)
		require.NoError(t, err)
		stored = append(stored, b)
	}})
	require.Greater(t, len(stored), 5)
	for i, b := range stored {
		var resume AuditReport
		require.NoError(t, json.Unmarshal(b, &resume))
		require.Equal(t, i == len(stored)-1, resume.Finished)
		before := resume.Queues[0].Position.Next
		pulled := p.sites["unit-2"].Inject(embedmq.Fault{Code: remoting.ReqPullMessage, Delay: time.Microsecond})
		again := runAudit(t, p.store, AuditOptions{Batch: 5, Page: 7, Resume: &resume})
		require.Equal(t, whole, again)
		require.LessOrEqual(t, pulled.Hits(), int(int64(len(copies))-before)/7+1, "what was read is not read again")
		pulled.Remove()
	}
	_, err := Audit(context.Background(), "unit-2", p.store, &AuditOptions{Resume: whole})
	require.ErrorIs(t, err, msha.ErrInvalid)
}

func TestAuditThatIsCutOffCanBeResumed(t *testing.T) {
	p := plant(t, 100)
	copies, _ := p.tamper()
	p.send(t, copies)
	ctx, cancel := context.WithCancel(context.Background())
	calls := 0
	report, err := Audit(ctx, "unit-1", p.store, &AuditOptions{Page: 10, Every: 1, Logger: slog.New(slog.DiscardHandler), Progress: func(*AuditReport) {
		if calls++; calls == 3 {
			cancel()
		}
	}})
	require.Equal(t, context.Canceled, err)
	require.False(t, report.Finished)
	require.False(t, report.Exact())
	require.Equal(t, context.Canceled.Error(), report.Queues[0].Err)
	require.EqualValues(t, 30, report.Queues[0].Position.Next)
	require.Equal(t, runAudit(t, p.store, AuditOptions{}), runAudit(t, p.store, AuditOptions{Resume: report}))
}

func TestAuditOfARangeReadsNoOtherOriginals(t *testing.T) {
	p := plant(t, 100)
	copies, _ := p.tamper()
	p.send(t, copies)
	q := msha.OriginQueue{Unit: "unit-1", Broker: "broker-unit-1", Topic: "SMS"}
	report := runAudit(t, p.store, AuditOptions{Ranges: map[msha.OriginQueue]AuditRange{q: {From: 41, To: 64}}})
	requireFound(t, report.Queues[0], map[FindingKind][]int64{AlteredBody: {63}, Missing: {50, 51, 52}, Foreign: {-1}})
	require.EqualValues(t, 20, report.Queues[0].Compared)
	require.EqualValues(t, 41, report.Queues[0].First)
	require.EqualValues(t, 63, report.Queues[0].Last)
}
