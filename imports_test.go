package msha_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/go-msha/msha"

// composing packages put the others together; nothing else may import them, unless it composes too.
var composing = map[string]string{
	"agent":          "joins a unit: route, tagging and the consumer engine for an application",
	"manager":        "the switch and its console",
	"examples":       "programs",
	"bench":          "measures the composed parts",
	"internal/sim":   "plays the decision code of several packages against each other",
	"internal/e2e":   "tests of the composed parts",
	"internal/pair":  "clusters for programs that measure",
	"metastore/open": "picks a driver by URL",
}

// mayImport lists what a package may import besides the root, which all may; siblings meet through root interfaces. Test files may
// import anything.
var mayImport = []struct{ from, to, reason string }{
	{"consume", "filter", "the engine carries out what the pure start rule and facts decide"},
	{"consume", "internal/remoting", "the engine pulls, locks and commits by the wire protocol"},
	{"replicate", "internal/remoting", "the hot path of the pipes"},
	{"replicate", "internal/parting", "the simulation plays where copying goes on"},
	{"replicate", "internal/history", "those who copy a unit's queues and those who consume them agree on incarnations"},
	{"replicate", "metastore/lease", "processes share the pipes, and one whose lease ended must not send"},
	{"embedmq", "internal/remoting", "one codec for both sides"},
	{"embedmq/contract", "internal/remoting", "scenarios speak the wire protocol to the embedded and to the real server"},
	{"internal/chaos", "internal/spread", "a round tells pauses by the ranks that the benchmarks use"},
	{"internal/realmq", "internal/child", "servers are child processes"},
	{"internal/realmq", "internal/remoting", "version 5 learns its accounts by signed requests"},
	{"internal/realstore", "internal/child", "servers are child processes"},
	{"internal/realmq/fetch", "internal/realmq", "the command of the package"},
	{"metastore/etcd", "metastore/internal/follow", "the drivers share what turns reads and notices into watches"},
	{"metastore/redis", "metastore/internal/follow", "the same"},
	{"metastore/nacos", "metastore/internal/follow", "the same"},
	{"metastore/metastoretest", "metastore/lease", "the suite checks that a lease on the store is fenced"},
}

// outside lists packages that are used by others' tests or are the vocabulary, so they must not bring dependencies along.
var outside = map[string][]string{
	"":                        {},
	"metastore/metastoretest": {"github.com/stretchr/testify"},
}

func under(dir, parent string) bool { return dir == parent || strings.HasPrefix(dir, parent+"/") }

func composes(dir string) string {
	for parent := range composing {
		if under(dir, parent) {
			return parent
		}
	}
	return ""
}

// importsOf parses the imports of all packages' non-test files, by directory.
func importsOf(t *testing.T) map[string]map[string]bool {
	t.Helper()
	all := map[string]map[string]bool{}
	require.NoError(t, filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && file != "." && (strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata") {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		dir := strings.TrimPrefix(path.Dir(filepath.ToSlash(file)), ".")
		if all[dir] == nil {
			all[dir] = map[string]bool{}
		}
		for _, spec := range f.Imports {
			p, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			all[dir][p] = true
		}
		return nil
	}))
	return all
}

func TestImportTable(t *testing.T) {
	all := importsOf(t)
	require.Contains(t, all, "", "the root package is found")
	require.Greater(t, len(all), 10)
	used := map[string]bool{}
	for dir, imports := range all {
		for p := range imports {
			if p == module || !strings.HasPrefix(p, module+"/") {
				continue
			}
			to := strings.TrimPrefix(p, module+"/")
			require.NotEmpty(t, dir, "the root imports no package of the module, but it imports %s", to)
			require.NotEqual(t, "examples", composes(to), "%s imports the program %s", dir, to)
			if composes(dir) != "" {
				continue
			}
			require.Empty(t, composes(to), "%s is below %s and must not import it", dir, to)
			allowed := false
			for _, m := range mayImport {
				if m.from == dir && m.to == to {
					allowed, used[m.from+" "+m.to] = true, true
				}
			}
			require.True(t, allowed, "%s imports %s: siblings meet through root interfaces; a reasoned exception belongs into the table", dir, to)
		}
	}
	for _, m := range mayImport {
		require.NotEmpty(t, m.reason)
		require.True(t, used[m.from+" "+m.to], "%s no longer imports %s", m.from, m.to)
	}
}

func TestDependenciesFromOutside(t *testing.T) {
	all := importsOf(t)
	for dir, prefixes := range outside {
		for p := range all[dir] {
			first, _, _ := strings.Cut(p, "/")
			known := !strings.Contains(first, ".") || under(p, module)
			for _, prefix := range prefixes {
				known = known || under(p, prefix)
			}
			require.True(t, known, "%q imports %s", dir, p)
		}
	}
}
