package testgrid

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// DescribeMachine answers what the figures depend on.
func DescribeMachine() string {
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	loadText, _ := os.ReadFile("/proc/loadavg")
	load, _, _ := strings.Cut(string(loadText), " ")
	return fmt.Sprintf("%s, %d cores, %s memory, %s %s, load average before the run %s", field("/proc/cpuinfo", "model name"), runtime.NumCPU(),
		field("/proc/meminfo", "MemTotal"), runtime.GOOS, strings.TrimSpace(string(kernel)), load)
}

// field answers the first value of a file of lines "name : value".
func field(path, name string) string {
	text, _ := os.ReadFile(path)
	for line := range strings.Lines(string(text)) {
		key, value, found := strings.Cut(line, ":")
		if found && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown " + name
}

// Commit names the tree that was tried, and says so when files differ from it. The report itself does not count.
func Commit(ctx context.Context) string {
	id := output(ctx, "git", "rev-parse", "--short=12", "HEAD")
	if output(ctx, "git", "status", "--porcelain", "--", ".", ":!docs/bench") != "" {
		id += " with uncommitted changes"
	}
	return id
}

func output(ctx context.Context, name string, args ...string) string {
	text, err := exec.CommandContext(ctx, name, args...).Output()
	if err != nil {
		return fmt.Sprintf("%s: %v", name, err)
	}
	return strings.TrimSpace(string(text))
}
