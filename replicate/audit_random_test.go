package replicate

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/internal/remoting"
)

// judge says by definition what is to be found in a sequence of copied offsets.
func judge(offsets []int64, n int64, batch int) map[FindingKind][]int64 {
	want := map[FindingKind][]int64{}
	first := map[int64]bool{}
	high := int64(-1)
	var run []int64
	flush := func() {
		if len(run) > batch {
			want[Doubled] = append(want[Doubled], run...)
		} else if len(run) > 0 {
			want[Repeated] = append(want[Repeated], run...)
		}
		run = nil
	}
	for _, o := range offsets {
		again := first[o]
		if !again || len(run) > 0 && run[len(run)-1]+1 != o {
			flush()
		}
		switch {
		case again:
			run = append(run, o)
		case o < high:
			want[Swapped] = append(want[Swapped], o)
		}
		first[o] = true
		high = max(high, o)
	}
	flush()
	for o := range min(high, n) {
		if !first[o] {
			want[Missing] = append(want[Missing], o)
		}
	}
	return want
}

// mix disturbs the order 0 to n-1: deletes, repeats, exchanges and moves some.
func mix(r *rand.Rand, n int) []int64 {
	out := seq(0, int64(n))
	for range r.IntN(6) {
		if len(out) == 0 {
			break
		}
		i, k := r.IntN(len(out)), r.IntN(len(out))
		i, k = min(i, k), min(max(i, k), min(i, k)+5)
		switch r.IntN(4) {
		case 0:
			out = slices.Delete(out, i, k)
		case 1:
			out = slices.Insert(out, r.IntN(len(out)+1), slices.Clone(out[i:k])...)
		case 2:
			out[i], out[k] = out[k], out[i]
		case 3:
			part := slices.Clone(out[i:k])
			out = slices.Delete(out, i, k)
			out = slices.Insert(out, r.IntN(len(out)+1), part...)
		}
	}
	return out
}

func TestAuditOfAnyOrderIsWhatTheDefinitionSays(t *testing.T) {
	for seed := range uint64(1000) {
		r := rand.New(rand.NewPCG(seed, 1))
		n := 1 + r.IntN(40)
		offsets, batch := mix(r, n), 1+r.IntN(5)
		ms := originals(0, int64(n))
		all := copiesOf(ms)
		var replica []*remoting.Message
		for _, o := range offsets {
			replica = append(replica, all[o])
		}
		s := streams{origin: ms, replica: replica, batch: batch}
		q := s.compare(t, nil)
		want := judge(offsets, int64(n), batch)
		for _, list := range want {
			slices.Sort(list)
		}
		require.Equal(t, want, offsetsOf(q), "seed %d: %v", seed, offsets)
		require.Equal(t, q, s.compare(t, interrupted(t, r)), "seed %d", seed)
	}
}

// interrupted stores and loads the state before some copies.
func interrupted(t testing.TB, r *rand.Rand) func(*matcher) *matcher {
	return func(m *matcher) *matcher {
		if r.IntN(8) > 0 {
			return m
		}
		b, err := json.Marshal(m.QueueAudit)
		require.NoError(t, err)
		again := *m
		again.QueueAudit = &QueueAudit{}
		require.NoError(t, json.Unmarshal(b, again.QueueAudit))
		return &again
	}
}

// FuzzAuditFaults plants faults in zones of ten messages, one fault in each: a byte of the input chooses it.
func FuzzAuditFaults(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7})
	f.Add([]byte{15, 96, 47, 18, 20, 31, 0, 0, 5})
	r := rand.New(rand.NewPCG(7, 7))
	for range 200 {
		b := make([]byte, r.IntN(12))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, faults []byte) {
		if len(faults) > 50 {
			return
		}
		const zone = 10
		ms := originals(0, int64(zone*len(faults)+1))
		var replica []*remoting.Message
		want := map[FindingKind][]int64{}
		for z, b := range faults {
			base := int64(z * zone)
			part := copiesOf(ms[base : base+zone])
			at := int(b>>3) % (zone - 1)
			o := base + int64(at)
			switch b & 7 {
			case 0: // none
			case 1:
				want[Missing] = append(want[Missing], o)
				part = slices.Delete(part, at, at+1)
			case 2:
				want[Repeated] = append(want[Repeated], o, o+1)
				part = append(part, part[at:at+2]...)
			case 3:
				want[Swapped] = append(want[Swapped], o)
				part[at], part[at+1] = part[at+1], part[at]
			case 4:
				want[AlteredBody] = append(want[AlteredBody], o)
				part[at].Body = append(slices.Clone(part[at].Body), b)
			case 5:
				want[AlteredProperty] = append(want[AlteredProperty], o)
				part[at].Properties = maps.Clone(part[at].Properties)
				part[at].Properties["user"] += "!"
			case 6:
				want[Foreign] = append(want[Foreign], -1)
				part = slices.Insert(part, at, &remoting.Message{Body: []byte("who?")})
			case 7:
				want[AlteredFlag] = append(want[AlteredFlag], o)
				part[at].Flag++
			}
			replica = append(replica, part...)
		}
		replica = append(replica, copiesOf(ms[zone*len(faults):])...)
		for kind, list := range want {
			if slices.Sort(list); len(list) == 0 {
				delete(want, kind)
			}
		}
		s := streams{origin: ms, replica: replica}
		q := s.compare(t, nil)
		require.Equal(t, want, offsetsOf(q))
		require.Equal(t, q, s.compare(t, interrupted(t, rand.New(rand.NewPCG(uint64(len(replica)), 1)))))
	})
}
