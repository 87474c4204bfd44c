package nacos

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

func TestEnvelopeKeepsEveryValue(t *testing.T) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	plain := map[string]bool{"": true, "text": true, "two\nlines\n": true, "\n": true, " \t ": true, "北京 ключ": true, `{"a":"<&>"}`: true,
		"a\r\nb": false, "\x00": false, string(all): false, "\xff": false, "😀": false, "\ufeffa": false, "\ufffd": false}
	for value, readable := range plain {
		s := encode(7, []byte(value), true)
		got, err := decode(s.raw)
		require.NoError(t, err, "%q", value)
		require.True(t, got.live)
		require.Equal(t, uint64(7), got.revision)
		require.Equal(t, value, string(got.value))
		require.Equal(t, s.md5, got.md5)
		if readable {
			require.True(t, strings.HasSuffix(s.raw, "\n"+value), "%q can be read in the console: %q", value, s.raw)
		} else {
			require.True(t, isPlain([]byte(s.raw)), "%q is hidden from what may damage it", value)
		}
	}
	gone, err := decode(encode(8, nil, false).raw)
	require.NoError(t, err)
	require.False(t, gone.live)
	require.Equal(t, uint64(8), gone.revision)
	planted, err := decode(seed.raw)
	require.NoError(t, err)
	require.Equal(t, seed, planted)
}

// TestEnvelopeStays: documents of earlier versions must stay readable, and equal ones must have one md5.
func TestEnvelopeStays(t *testing.T) {
	require.Equal(t, `{"msha":1,"revision":7,"crc32":"cbf43926"}`+"\n123456789", encode(7, []byte("123456789"), true).raw)
	require.Equal(t, `{"msha":1,"revision":7,"encoding":"base64","crc32":"d202ef8d"}`+"\nAA==", encode(7, []byte{0}, true).raw)
	require.Equal(t, `{"msha":1,"revision":8,"deleted":true}`, encode(8, nil, false).raw)
	require.Equal(t, `{"msha":1,"revision":0,"deleted":true}`, seed.raw)
}

func TestEnvelopeRefusesWhatIsDamaged(t *testing.T) {
	good := encode(7, []byte("value"), true).raw
	for _, raw := range []string{
		"", "value", "\n", "{}", "{}\nvalue", "null\nvalue", good + "x", strings.Replace(good, "value", "v?lue", 1), strings.Replace(good, `"msha":1`, `"msha":2`, 1),
		strings.Replace(good, `"revision":7`, `"revision":0`, 1), strings.Replace(good, `"revision":7`, `"revision":-7`, 1),
		strings.Replace(good, `"revision":7`, `"revision":7,"deleted":true`, 1), strings.Replace(good, `"revision":7`, `"revision":7,"encoding":"base64"`, 1),
		strings.Replace(good, `"revision":7`, `"revision":7,"encoding":"zip"`, 1), strings.SplitN(good, "\n", 2)[0],
	} {
		_, err := decode(raw)
		require.ErrorIs(t, err, msha.ErrInvalid, "%q", raw)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encode(7, []byte("value"), true).raw)
	f.Add(encode(7, []byte{0, 1}, true).raw)
	f.Add(encode(8, nil, false).raw)
	f.Fuzz(func(t *testing.T, raw string) {
		s, err := decode(raw)
		if err != nil {
			require.ErrorIs(t, err, msha.ErrInvalid)
			return
		}
		again, err := decode(encode(s.revision, s.value, s.live).raw)
		if s.revision == 0 && !s.live {
			return // the seed has one form only
		}
		require.NoError(t, err)
		require.Equal(t, s.revision, again.revision)
		require.True(t, bytes.Equal(s.value, again.value))
	})
}

func TestNamesAreLegalAndToldApart(t *testing.T) {
	keys := []string{"metadata.routers", "a.b", ".b", "..", ".", "a_b", "a-b", "a_2Fb", "a/b", "a%2Fb", "a:b", "a b", "A", "a", "北京", "é", "e\u0301", "cipher-a", "_h", "\x00"}
	for _, n := range []int{255, 256, 257, 300, 1000} {
		keys = append(keys, strings.Repeat("n", n), strings.Repeat("n", n-1)+"m", strings.Repeat("/", n))
	}
	seen := map[string]string{}
	for _, k := range keys {
		name := encodeName(k)
		require.Regexp(t, `^[a-zA-Z0-9_:.-]{1,256}$`, name)
		require.False(t, strings.HasPrefix(name, ".") || strings.HasPrefix(name, "cipher-"), name)
		require.Empty(t, seen[name], "%q and %q", k, seen[name])
		seen[name] = k
	}
	require.Equal(t, "metadata.routers", encodeName("metadata.routers"), "readable in the console")
	require.Equal(t, "agents_2Funit-1", encodeName("agents/unit-1"))
}

func TestOptionsReportEveryProblem(t *testing.T) {
	_, err := (Options{Namespace: "a b", Group: "g@", User: "u", Token: "t"}).check("one,host:http,:1,host:70000,host:8848")
	require.ErrorIs(t, err, msha.ErrInvalid)
	for _, part := range []string{`"one"`, `"host:http"`, `":1"`, `"host:70000"`, `"a b"`, `"g@"`, "either a user or a token"} {
		require.ErrorContains(t, err, part)
	}
	require.NotContains(t, err.Error(), "8848\" is not")
	servers, err := (*Options)(nil).withDefaults().check("a:8848, [::1]:80")
	require.NoError(t, err)
	require.Equal(t, "[{a:8848 a:9848} {[::1]:80 [::1]:1080}]", fmt.Sprint(servers))
}
