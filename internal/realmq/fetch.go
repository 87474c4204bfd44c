package realmq

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/go-msha/msha/internal/child"
)

// The server versions the product is tested against.
const (
	V5 = "5.4.0"
	V4 = "4.9.7"
)

// Versions lists the tested server versions, newest first.
func Versions() []string { return []string{V5, V4} }

// ErrMissingTool means that java or mvn is not in PATH.
var ErrMissingTool = child.ErrMissing

const pom = `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>msha</groupId>
  <artifactId>rocketmq-server</artifactId>
  <version>%[1]s</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.rocketmq</groupId><artifactId>rocketmq-namesrv</artifactId><version>%[1]s</version></dependency>
    <dependency><groupId>org.apache.rocketmq</groupId><artifactId>rocketmq-broker</artifactId><version>%[1]s</version></dependency>
  </dependencies>
</project>
`

// Fetch returns the folder with the jars of a server version, downloading them first if they are not in the cache. It blocks for
// the download. Concurrent calls, also of several processes, are safe: the folder appears complete or not at all.
func Fetch(ctx context.Context, version string) (lib string, err error) {
	cache, err := child.CacheDir()
	if err != nil {
		return "", fmt.Errorf("realmq: %w", err)
	}
	home := filepath.Join(cache, "rocketmq", version)
	lib = filepath.Join(home, "lib")
	if complete(lib) {
		return lib, nil
	}
	mvn, err := tool("mvn")
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(home), 0o755); err != nil {
		return "", fmt.Errorf("realmq: %w", err)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(home), ".fetch-*")
	if err != nil {
		return "", fmt.Errorf("realmq: %w", err)
	}
	defer os.RemoveAll(tmp) //nolint:errcheck // nothing is left there once it was renamed
	if err := os.WriteFile(filepath.Join(tmp, "pom.xml"), fmt.Appendf(nil, pom, version), 0o644); err != nil {
		return "", fmt.Errorf("realmq: %w", err)
	}
	cmd := exec.CommandContext(ctx, mvn, "-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime",
		"-DoutputDirectory="+filepath.Join(tmp, "lib"))
	cmd.Dir = tmp
	if out, err := cmd.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", fmt.Errorf("realmq: fetch RocketMQ %s with Maven: %w\n%s", version, err, bytes.TrimSpace(child.LastLines(out, 20)))
	}
	if !complete(filepath.Join(tmp, "lib")) {
		return "", fmt.Errorf("realmq: Maven ended well but left no rocketmq-broker jar for version %s", version)
	}
	if err := os.Rename(tmp, home); err != nil && !complete(lib) { // another process may have been first
		return "", fmt.Errorf("realmq: %w", err)
	}
	return lib, nil
}

func complete(lib string) bool {
	jars, _ := filepath.Glob(filepath.Join(lib, "rocketmq-broker-*.jar"))
	return len(jars) > 0
}

func tool(name string) (string, error) {
	path, err := child.Find(name, "run 'make deps'")
	if err != nil {
		return "", fmt.Errorf("realmq: %w", err)
	}
	return path, nil
}
