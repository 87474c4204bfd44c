package lease

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

var t0 = time.Unix(1000, 0)

func TestTrustEndsMarginBeforeTheTTLOfTheStart(t *testing.T) {
	require.Equal(t, t0.Add(12*time.Second), trust(t0, t0.Add(5*time.Second), 15*time.Second, 3*time.Second))
}

func TestWait(t *testing.T) {
	const ttl, margin = 10 * time.Second, 2 * time.Second
	other := document{Holder: "a", Session: "other", Generation: 1, TTL: duration(ttl)}
	released, own := other, other
	released.Released, own.Session = true, "own"
	for name, c := range map[string]struct {
		seen  sighting
		after time.Duration
		want  time.Duration
	}{
		"there is no document":            {sighting{reading{}, t0}, 0, 0},
		"seen just now":                   {sighting{reading{doc: other, revision: 1}, t0}, 0, 12 * time.Second},
		"seen for the TTL":                {sighting{reading{doc: other, revision: 1}, t0}, ttl, margin},
		"seen for the TTL and the margin": {sighting{reading{doc: other, revision: 1}, t0}, ttl + margin, 0},
		"released":                        {sighting{reading{doc: released, revision: 1}, t0}, 0, 0},
		"written by the same session":     {sighting{reading{doc: own, revision: 1}, t0}, 0, 0},
	} {
		require.Equal(t, c.want, wait(c.seen, "own", t0.Add(c.after), margin), name)
	}
}

func TestObserve(t *testing.T) {
	five := sighting{reading{revision: 5}, t0}
	later := t0.Add(time.Second)
	for name, c := range map[string]struct {
		before sighting
		got    reading
		want   sighting
	}{
		"the first read":                       {sighting{}, reading{}, sighting{reading{}, later}},
		"the same revision":                    {five, reading{revision: 5}, five},
		"a newer revision":                     {five, reading{revision: 6}, sighting{reading{revision: 6}, later}},
		"an older revision is a stale read":    {five, reading{revision: 4}, five},
		"but not if the read was linearizable": {five, reading{revision: 4, fresh: true}, sighting{reading{revision: 4, fresh: true}, later}},
		"no document, in a plain read":         {five, reading{}, five},
		"no document":                          {five, reading{fresh: true}, sighting{reading{fresh: true}, later}},
	} {
		require.Equal(t, c.want, observe(c.before, c.got, later), name)
	}
}

func TestSettle(t *testing.T) {
	own, other := document{Session: "own"}, document{Session: "other"}
	for name, c := range map[string]struct {
		got  reading
		want verdict
	}{
		"a newer one of its own":            {reading{doc: own, revision: 6}, stored},
		"nothing new":                       {reading{doc: own, revision: 5, fresh: true}, unknown},
		"a newer one of another":            {reading{doc: other, revision: 6}, lost},
		"an older one may be a stale read":  {reading{doc: other, revision: 4}, unknown},
		"nothing may be a stale read":       {reading{}, unknown},
		"the store lost it":                 {reading{doc: other, revision: 4, fresh: true}, lost},
		"the store lost a write of its own": {reading{doc: own, revision: 4, fresh: true}, lost},
		"the document was deleted":          {reading{fresh: true}, lost},
	} {
		require.Equal(t, c.want, settle("own", 5, c.got), name)
	}
}

func TestDocument(t *testing.T) {
	d := document{Holder: "h", Session: "s", Generation: 3, Attempt: 4, TTL: duration(15 * time.Second)}
	require.JSONEq(t, `{"holder":"h","session":"s","generation":3,"attempt":4,"ttl":"15s"}`, string(d.encode()))
	got, err := decode("k", d.encode())
	require.NoError(t, err)
	require.Equal(t, d, got)
	for _, bad := range []string{"", "null", "{}", "[]", `{"session":"s","generation":1,"ttl":"x"}`, `{"session":"s","generation":1,"ttl":"0s"}`, `{"session":"s","ttl":"1s"}`} {
		_, err := decode("k", []byte(bad))
		require.ErrorIs(t, err, msha.ErrInvalid, bad)
		require.ErrorContains(t, err, "do not delete it")
	}
}
