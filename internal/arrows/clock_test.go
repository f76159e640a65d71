package arrows

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// leaseFiles are where it is decided for how long something counts: leases, what rests on them, and when copies expire. The rest of that is in
// cluster/core, which reads no clock at all.
var leaseFiles = []string{
	"nearcache/*.go", "client/near*.go", "sidecar/*.go", "cluster/*.go",
	"server/relay.go", "server/guest.go", "server/origin.go", "server/tracking.go", "server/push.go", "server/cmd_near.go", "server/away.go",
}

// wallClockFree are files that say times of the wall clock to people or to other libraries, and decide nothing by them.
var wallClockFree = []string{"cluster/raft_store.go"}

// wallClock are names by which a time loses what a clock that is set cannot change, or is made without it.
var wallClock = []string{
	"Unix", "UnixNano", "UnixMicro", "UnixMilli", "Date", "Parse", "ParseInLocation", "UTC", "Local", "In", "AddDate", "MarshalBinary", "wallMs",
}

// TestMonotonic: whatever is done to a machine's clock, no lease and no copy of a key counts for longer.
func TestMonotonic(t *testing.T) {
	seen := 0
	for _, pattern := range leaseFiles {
		files, err := filepath.Glob("../../" + pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no files, %v", pattern, err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") || slices.Contains(wallClockFree, strings.TrimPrefix(filepath.ToSlash(name), "../../")) {
				continue
			}
			seen++
			for _, use := range wallClockUses(t, name, nil) {
				t.Errorf("%s: of the wall clock; use time.Since, or the clock that the package has", use)
			}
		}
	}
	t.Logf("%d files", seen)
}

// TestMonotonicNotices: the check notices what it is for.
func TestMonotonicNotices(t *testing.T) {
	for source, want := range map[string]bool{
		`func f() int64 { return time.Now().UnixNano() }`:              true,
		`func f(ms int64) time.Time { return time.UnixMilli(ms) }`:     true,
		`func f(srv *Server) int64 { return srv.wallMs(srv.clock()) }`: true,
		`func f(c net.Conn) { c.SetDeadline(time.Unix(1, 0)) }`:        false, // the past
		`func f(at time.Time) time.Duration { return time.Since(at) }`: false,
	} {
		if got := wallClockUses(t, "x.go", "package x\n"+source); (len(got) > 0) != want {
			t.Errorf("%s: %v", source, got)
		}
	}
}

// wallClockUses are the places in a file, or in a source, that use the wall clock.
func wallClockUses(t *testing.T, name string, source any) (uses []string) {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if s, ok := n.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "SetDeadline" {
				return false // time.Unix(1, 0) is a time that is over
			}
		case *ast.SelectorExpr:
			if slices.Contains(wallClock, n.Sel.Name) {
				uses = append(uses, files.Position(n.Pos()).String()+": "+n.Sel.Name)
			}
		}
		return true
	})
	return uses
}
