package remoting

import (
	"context"
	"fmt"
	"maps"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

// The answers were made with openssl dgst -sha1 -hmac over the values in the order of their names, then the body.
func TestSignatureKnownAnswers(t *testing.T) {
	c := &Command{Ext: map[string]string{"z": "zulu", "a": "alpha", ExtSecurityToken: "tok", ExtAccessKey: "keyA"}, Body: []byte("body")}
	require.Equal(t, "4hnclVGoK+Z3FBVltIWF+JCnSds=", Signature(c, "secret123"))
	require.Equal(t, "TrSWu+WK33Bdanbtk0+T1fHkQ3E=", Signature(&Command{Ext: map[string]string{ExtAccessKey: "AK-1", "a": "b", "b": "topic", ExtSignature: "old"}, Body: []byte("x")}, "sëcret"))
}

func TestRequestsAreSigned(t *testing.T) {
	got := make(chan *Command, 1)
	addr, _ := serve(t, "127.0.0.1:0", func(_ context.Context, _ *Conn, req *Command) *Command {
		got <- req
		return req.Reply(RespSuccess, "")
	})
	for _, s := range []Serialization{JSON, RocketMQ} {
		for _, token := range []string{"", "tok"} {
			c := newClient(t, &Options{Serialization: s, Credentials: msha.Credentials{AccessKey: "account", SecretKey: "hidden", SecurityToken: token}})
			req := NewRequest(codeEcho, map[string]string{"topic": "SMS", "broken": "a\xff\xfeb"}, []byte("body"))
			for range 2 { // a request sent again is signed again
				_, err := c.Call(testContext(t), addr, req)
				require.NoError(t, err)
				seen := <-got
				require.Equal(t, "account", seen.Ext[ExtAccessKey])
				require.Equal(t, token, seen.Ext[ExtSecurityToken])
				require.True(t, Signed(seen, "hidden"))
				require.False(t, Signed(seen, "hidden2"))
				require.NotContains(t, fmt.Sprint(seen.Ext), "hidden")
				for k := range seen.Ext {
					forged := *seen
					forged.Ext = maps.Clone(seen.Ext)
					forged.Ext[k] += "x"
					require.False(t, Signed(&forged, "hidden"), "changed %s", k)
				}
				seen.Body = append(seen.Body, 'x')
				require.False(t, Signed(seen, "hidden"), "changed body")
			}
			_, err := c.Call(testContext(t), addr, NewRequest(codeEcho, nil, nil))
			require.NoError(t, err)
			require.True(t, Signed(<-got, "hidden"), "without a header")
		}
	}
	_, err := newClient(t, nil).Call(testContext(t), addr, NewRequest(codeEcho, nil, nil))
	require.NoError(t, err)
	require.Empty(t, (<-got).Ext)
}

func FuzzSign(f *testing.F) {
	f.Add("k", "v\xff", "l", "\u2028<>&", []byte("body"), true)
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2 string, body []byte, binary bool) {
		for _, k := range []string{k1, k2} {
			if len(k) > 100 || !utf8.ValidString(k) { // names of fields are the program's own
				return
			}
		}
		c := NewRequest(codeEcho, map[string]string{k1: v1, k2: v2}, body)
		sign(c, msha.Credentials{AccessKey: "account", SecretKey: "hidden"})
		s := JSON
		if binary {
			s = RocketMQ
		}
		frame, err := AppendFrame(nil, c, s)
		require.NoError(t, err)
		back, _, err := DecodeFrame(frame[4:])
		require.NoError(t, err)
		require.True(t, Signed(back, "hidden"))
	})
}
