//go:build real

package copychaos

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/realmq"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/metastore/memory"
	"github.com/go-msha/msha/replicate"
)

const secret = "secret key"

// rights are those of a replicator's account at one cluster, and where: "topic SMS" -> "SUB|GET".
type rights map[string]string

// asOrigin are what it needs of the topics it reads, asTarget of those it writes; "channel" is a consumer group there.
func asOrigin() rights {
	return rights{"topic SMS": "SUB|GET", "group MSHA_REPLICATOR": "SUB"}
}

func asTarget(origin string) rights {
	return rights{"topic SMS-from-" + origin: "PUB|SUB|GET", "group MSHA_REPLICATOR": "SUB", "group channel": "SUB"}
}

func (r rights) without(where, right string) rights {
	out := maps.Clone(r)
	out[where] = strings.Join(strings.FieldsFunc(strings.ReplaceAll("|"+r[where]+"|", "|"+right+"|", "|"), func(c rune) bool { return c == '|' }), "|")
	if out[where] == "" {
		delete(out, where)
	}
	return out
}

func (r rights) account(name string) realmq.Account {
	a := realmq.Account{AccessKey: name, SecretKey: secret, Topics: map[string]string{}, Groups: map[string]string{}}
	for where, actions := range r {
		kind, of, _ := strings.Cut(where, " ")
		into := a.Topics
		if kind == "group" {
			into = a.Groups
		}
		into[of] = actions
	}
	return a
}

// lacking is an account without one right.
type lacking struct {
	unit, where, right string
	only               string // the version that asks for it; empty: both
	fresh              bool   // it is needed where nothing is copied yet
}

func (l lacking) account() string {
	return "without-" + strings.NewReplacer(" ", "-").Replace(l.where) + "-" + l.right
}

// lacks are the rights that a replicator from unit-1 to unit-2 or the other way round is refused without.
func lacks(origin, target string) []lacking {
	return []lacking{
		{unit: origin, where: "topic SMS", right: "SUB"},
		{unit: origin, where: "topic SMS", right: "GET", only: realmq.V5},
		{unit: origin, where: "group MSHA_REPLICATOR", right: "SUB"},
		{unit: target, where: "topic SMS-from-" + origin, right: "PUB"},
		{unit: target, where: "topic SMS-from-" + origin, right: "SUB"},
		{unit: target, where: "topic SMS-from-" + origin, right: "GET", only: realmq.V5},
		{unit: target, where: "group channel", right: "SUB", fresh: true},
	}
}

var administrator = msha.Credentials{AccessKey: "administrator", SecretKey: secret}

// TestLeastPermissions: a cluster of either version copies to the other one; neither creates topics by itself.
func TestLeastPermissions(t *testing.T) {
	t.Parallel()
	names, versions := []string{"unit-1", "unit-2"}, map[string]string{"unit-1": realmq.V5, "unit-2": realmq.V4}
	var options []*realmq.Options
	no := false
	for i, name := range names {
		other := names[1-i]
		o := &realmq.Options{Version: versions[name], AutoCreateTopics: &no, Brokers: []string{"broker-" + name},
			Accounts: []realmq.Account{
				{AccessKey: administrator.AccessKey, SecretKey: secret, Admin: true},
				asOrigin().account("as-origin"), asTarget(other).account("as-target"), creator(versions[name], other),
			}}
		for _, l := range append(lacks(name, other), lacks(other, name)...) {
			if l.unit != name {
				continue
			}
			all := asTarget(other)
			if all[l.where] == "" || l.where == "group MSHA_REPLICATOR" {
				all = asOrigin()
			}
			o.Accounts = append(o.Accounts, all.without(l.where, l.right).account(l.account()))
		}
		options = append(options, o)
	}
	cs := clusters(t, options...)
	units := []*unit{on(names[0], cs[0]), on(names[1], cs[1])}
	for _, u := range units {
		u.account = administrator
	}
	for i, origin := range units {
		t.Run("from "+origin.version(), func(t *testing.T) { leastPermissions(t, origin, units[1-i], units) })
	}
}

func leastPermissions(t *testing.T, origin, target *unit, units []*unit) {
	w := newWorld(t, within(t, 20*time.Minute), memory.New(), units...)
	w.createTopic(origin, "SMS", 2)
	w.createTopic(target, "SMS-from-"+origin.name, 2)
	w.createGroup(target, "channel")
	send := func(n int) {
		for _, q := range w.queues(origin, "SMS") {
			for i := range n {
				m := &remoting.Message{Body: fmt.Append(nil, i), Properties: map[string]string{"TAGS": "t"}}
				if i == 0 { // compressed, so it is copied by itself: version 4 lets anybody send batches
					m.SysFlag = remoting.SysCompressed
				}
				_, err := origin.mq.Send(w.ctx, q, "mtr", m)
				require.NoError(t, err)
			}
		}
	}
	send(20)
	refusals := func(fresh bool) {
		for _, l := range lacks(origin.name, target.name) {
			if at := w.unit(l.unit); l.fresh == fresh && (l.only == "" || l.only == at.version()) {
				t.Run(l.account(), func(t *testing.T) { refused(t, origin, target, l) })
			}
		}
	}
	refusals(true)
	access := accounts(map[string]string{origin.name: "as-origin", target.name: "as-target"})
	_, stop := w.replicate(origin, replicate.Options{Topics: []string{"SMS"}, Targets: []string{target.name}, Access: access})
	report := w.audited(origin, target, replicate.AuditOptions{Access: access}, "SMS")
	stop()
	require.EqualValues(t, 40, compared(report))
	require.Zero(t, report.Count(replicate.Repeated))
	for _, q := range w.layout(origin, target) {
		at, err := target.mq.CommittedOffset(w.ctx, "channel", q)
		require.NoError(t, err)
		require.Zero(t, at)
	}
	send(1)
	refusals(false)
	t.Run("creates", func(t *testing.T) { creates(w.sub(t), origin, target) })
}

// creator is an account that may create the replica topic of MAIL: version 4 leaves that to administrators.
func creator(version, origin string) realmq.Account {
	r := asTarget(origin)
	r["topic MAIL-from-"+origin] = "PUB|SUB|GET|CREATE"
	a := r.account("creator")
	a.Admin = version == realmq.V4
	return a
}

// creates: a replica topic that is not there is created, by an account that may.
func creates(w *world, origin, target *unit) {
	w.ctx = within(w.T, time.Minute)
	w.createTopic(origin, "MAIL", 1)
	w.fill(origin, "MAIL", 10)
	access := accounts(map[string]string{origin.name: administrator.AccessKey, target.name: "as-target"})
	o := replicate.Options{Topics: []string{"MAIL"}, Targets: []string{target.name}, Access: access}
	_, stop := w.replicate(origin, o)
	w.eventually("the refusal is said", func() bool {
		return w.log.Contains("account as-target needs CREATE on topic MAIL-from-" + origin.name)
	})
	stop()
	o.Access = accounts(map[string]string{origin.name: administrator.AccessKey, target.name: "creator"})
	_, stop = w.replicate(origin, o)
	report := w.audited(origin, target, replicate.AuditOptions{Access: o.Access}, "MAIL")
	stop()
	require.EqualValues(w, 10, compared(report))
}

// accounts gives each unit one.
func accounts(names map[string]string) msha.AccessFunc {
	return func(_ context.Context, u msha.UnitInfo) (msha.Access, error) {
		return msha.Access{Credentials: msha.Credentials{AccessKey: names[u.Name], SecretKey: secret}}, nil
	}
}

// refused: without the right the queues stand still with an error that names it.
func refused(t *testing.T, origin, target *unit, l lacking) {
	ctx := within(t, time.Minute)
	w := newWorld(t, ctx, memory.New(), &unit{name: origin.name, servers: origin.servers}, &unit{name: target.name, servers: target.servers})
	use := map[string]string{origin.name: "as-origin", target.name: "as-target"}
	use[l.unit] = l.account()
	r, _ := w.replicate(origin, replicate.Options{Topics: []string{"SMS"}, Targets: []string{target.name}, Access: accounts(use)})
	var refusal error
	w.eventually("a queue is refused", func() bool {
		lags, err := r.Lag(ctx)
		if err != nil {
			refusal = err
		}
		for _, lag := range lags {
			if lag.Err != nil {
				refusal = lag.Err
			}
		}
		return refusal != nil
	})
	require.ErrorIs(t, refusal, msha.ErrDenied)
	require.ErrorContains(t, refusal, "account "+l.account()+" needs ")
	require.ErrorContains(t, refusal, l.right)
	t.Log(refusal)
}
