package realmq

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Admin runs a command of mqadmin, the server's own tool, and returns what it printed. It blocks for about the time a JVM needs.
func (c *Cluster) Admin(ctx context.Context, command string, args ...string) (string, error) {
	java, err := tool("java")
	if err != nil {
		return "", err
	}
	home := filepath.Join(c.dir, "tools")
	if err := makeHome(home); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(home, "conf", "logback_tools.xml"), []byte(logback), 0o644); err != nil { // 4.9.7 wants it
		return "", fmt.Errorf("realmq: %w", err)
	}
	cmd := exec.CommandContext(ctx, java, append([]string{"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx128m", "-Drocketmq.home.dir=" + home, "-Duser.home=" + home,
		"-cp", filepath.Join(c.lib, "*"), "org.apache.rocketmq.tools.command.MQAdminStartup", command, "-n", c.nameServer}, args...)...)
	cmd.Dir = home
	out, err := cmd.CombinedOutput()
	if err == nil && strings.Contains(string(out), "Exception") { // it ends with status 0 all the same
		err = fmt.Errorf("it failed")
	}
	if err != nil {
		return "", fmt.Errorf("realmq: mqadmin %s: %w: %s", command, err, out)
	}
	return string(out), nil
}
