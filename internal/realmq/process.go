package realmq

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"

	"github.com/go-msha/msha/internal/child"
)

// spawn starts a JVM and returns without waiting for it to serve.
func spawn(name, lib, home string, flags []string, class, config string) (*child.Process, error) {
	java, err := tool("java")
	if err != nil {
		return nil, err
	}
	args := append([]string{
		"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xss512k", "-XX:-UsePerfData",
		"--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED",
		"--add-opens=java.base/java.nio=ALL-UNNAMED",
		"--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
		"-Drocketmq.home.dir=" + home,
		"-Duser.home=" + home, // logs go below it
		"-Drocketmq.broker.diskSpaceWarningLevelRatio=0.99",
		"-Drocketmq.broker.diskSpaceCleanForciblyRatio=0.98",
	}, flags...)
	args = append(args, "-cp", filepath.Join(lib, "*"), class, "-c", config)
	p, err := child.Start(child.Spec{Name: name, Path: java, Args: args, Dir: home, Output: filepath.Join(home, name+".out")})
	if err != nil {
		return nil, fmt.Errorf("realmq: %w", err)
	}
	return p, nil
}

// await waits until the process serves. "boot success" is printed after the first registration: a registration left from before a
// restart does not count.
func await(ctx context.Context, p *child.Process, ready func(context.Context) bool) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	err := p.Await(ctx, func(ctx context.Context) bool {
		return bytes.Contains(p.Tail(), []byte("boot success")) && ready(ctx)
	})
	if err != nil {
		return fmt.Errorf("realmq: %w", err)
	}
	return nil
}
