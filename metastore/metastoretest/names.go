package metastoretest

import (
	"fmt"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

// oddNames are pairs that a driver which escapes badly confuses.
var oddNames = []string{
	"a.b", "a/b", "a//b", "/a", "a/", "a b", "a+b", "a%2Fb", "a%20b", "a:b", "a|b", "a?b=c#d", "a\\b", "a\"b", "a*", "a?", "[a]", "{a}", "..", "a_b", "a-b", "A", "a",
	"ключ", "北京", "é", "e\u0301", strings.Repeat("n", 120),
}

var nameCases = []testCase{
	{"names", "documents with odd names are told apart", func(c *caseRun) {
		want := map[string]msha.Document{}
		for i, name := range oddNames {
			k := c.key(name)
			d := msha.Document{Key: k, Value: fmt.Appendf(nil, "value %d", i)}
			d.Revision = c.put(c.Store, k, string(d.Value), 0)
			want[k] = d
		}
		for _, d := range want {
			c.holds(c.Second, d)
		}
		for k, d := range want {
			require.NoError(c, c.Store.Delete(c.ctx, k, d.Revision))
			delete(want, k)
			break
		}
		for _, d := range want {
			c.holds(c.Store, d)
		}
	}, nil},
	{"names", "a watch of an odd name sees that document only", func(c *caseRun) {
		for _, name := range []string{"a/b", "a b", "a*", "北京"} {
			k := c.key(name)
			ch := c.watch(c.Store, k)
			r := c.put(c.Store, k, name, 0)
			require.Equal(c, msha.Document{Key: k, Value: []byte(name), Revision: r}, c.follow(ch, 0, r))
		}
	}, nil},
}
