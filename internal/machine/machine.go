// Package machine says where and of what a measurement was made: for the heads of the reports in docs/bench.
package machine

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// Describe answers what the figures depend on: processor, cores, memory, kernel, and how busy it was before.
func Describe() string {
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
	id := Output(ctx, "git", "rev-parse", "--short=12", "HEAD")
	if Output(ctx, "git", "status", "--porcelain", "--", ".", ":!docs/bench") != "" {
		id += " with uncommitted changes"
	}
	return id
}

// Output is what a program prints, without the space around it, or why it did not.
func Output(ctx context.Context, name string, args ...string) string {
	text, err := exec.CommandContext(ctx, name, args...).Output()
	if err != nil {
		return fmt.Sprintf("%s: %v", name, err)
	}
	return strings.TrimSpace(string(text))
}
