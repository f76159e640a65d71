package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// describeMachine answers what the figures depend on: processor, cores, memory, kernel, and how busy it was before.
func describeMachine() string {
	cpu := field("/proc/cpuinfo", "model name")
	memory := field("/proc/meminfo", "MemTotal")
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	loadText, _ := os.ReadFile("/proc/loadavg")
	load, _, _ := strings.Cut(string(loadText), " ")
	return fmt.Sprintf("%s, %d cores, %s memory, %s %s, load average before the run %s",
		cpu, runtime.NumCPU(), memory, runtime.GOOS, strings.TrimSpace(string(kernel)), load)
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

// versions answers the versions of both servers, the driver and the compiler.
func (l *lab) versions(ctx context.Context) string {
	node := l.programs[ours].name
	if node != standInName {
		node = "neargrid at commit " + commit(ctx)
	}
	return strings.Join([]string{node, output(ctx, "redis-server", "--version"), output(ctx, "redis-benchmark", "--version"), runtime.Version()}, "; ")
}

// commit names the tree measured, and says so when files differ from it. The report itself does not count.
func commit(ctx context.Context) string {
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
