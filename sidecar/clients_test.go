package sidecar

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// need skips a test where a program is missing; in CI (CI=true) that fails, since there nothing may be left out.
func need(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		leaveOut(t, name+" is not installed")
	}
	return path
}

func leaveOut(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s: CI may not leave this out", why)
	}
	t.Skipf("left out: %s", why)
}

func run(t *testing.T, dir, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestNode uses a sidecar from Node.js.
func TestNode(t *testing.T) {
	node, npm := need(t, "node"), need(t, "npm")
	dir := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json", "use.js"} {
		content, err := os.ReadFile(filepath.Join("testdata/node", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if out, err := run(t, dir, npm, "ci", "--no-audit", "--no-fund", "--prefer-offline"); err != nil {
		leaveOut(t, "npm ci fails, as it does without a network: "+strings.TrimSpace(out))
	}
	r := started(t, nil)
	if out, err := run(t, dir, node, "use.js", r.socket); err != nil || out != "ok\n" {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestRedisCLI uses a sidecar by redis-cli, over its Unix socket.
func TestRedisCLI(t *testing.T) {
	cli := need(t, "redis-cli")
	r := started(t, nil)
	for _, test := range []struct{ args, want string }{
		{"SET cli:k value", "OK"}, {"GET cli:k", "value"}, {"GET cli:k", "value"}, {"-3 HSET cli:h f 1", "1"}, {"-3 HGETALL cli:h", "f 1"},
		{"MGET cli:k cli:none", "value"}, {"DEL cli:k", "1"}, {"GET cli:k", ""}, {"NOSUCH", "ERR unknown command 'NOSUCH', with args beginning with:"},
	} {
		args := append([]string{"-s", r.socket}, strings.Fields(test.args)...)
		if out, err := run(t, ".", cli, args...); err != nil || strings.TrimSpace(out) != test.want {
			t.Errorf("redis-cli %s: %q, %v, want %q", test.args, out, err, test.want)
		}
	}
}
