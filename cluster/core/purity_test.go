package core

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// pureImports are all that the core may use. None of them does I/O; of time, only what does not ask the system.
var pureImports = []string{
	"bytes", "cmp", "errors", "fmt", "math", "slices", "strings", "time",
	"github.com/buraksezer/consistent", "github.com/cespare/xxhash", "github.com/cespare/xxhash/v2",
}

// pureTimeNames are what may be used of package time: durations, and nothing that reads a clock, waits or starts anything.
var pureTimeNames = []string{"Duration", "Nanosecond", "Microsecond", "Millisecond", "Second", "Minute", "Hour"}

// The core is pure: one seed replays a whole grid. Nothing in it asks the system, starts something or waits.
func TestPurity(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no source found: %v", err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, breach := range impurities(t, name, source) {
			t.Error(breach)
		}
	}
}

// What the check must notice, so that it is known to check.
func TestPurityNotices(t *testing.T) {
	tests := []struct{ source, want string }{
		{`import "net"`, `imports "net"`},
		{`import "math/rand/v2"`, `imports "math/rand/v2"`},
		{`import . "time"`, `imports "time" under the name .`},
		{`func f() { go f() }`, "starts a goroutine"},
		{`var c chan int`, "has a channel"},
		{`func f(c <-chan int) { <-c }`, "receives from a channel"},
		{`func f() { select {} }`, "selects"},
		{"import \"time\"\nfunc f() { time.Now() }", "uses time.Now"},
		{"import clock \"time\"\nvar f = clock.Since", "uses time.Since"},
		{"import \"time\"\nfunc f() { time.Sleep(time.Second) }", "uses time.Sleep"},
		{"import \"time\"\nvar t = time.NewTimer", "uses time.NewTimer"},
	}
	for _, tt := range tests {
		got := strings.Join(impurities(t, "x.go", []byte("package core\n"+tt.source)), "\n")
		if !strings.Contains(got, tt.want) {
			t.Errorf("%s\ngot  %q\nwant %q", tt.source, got, tt.want)
		}
	}
}

// impurities lists what a file must not have.
func impurities(t *testing.T, name string, source []byte) (found []string) {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	breach := func(at ast.Node, what string) { found = append(found, files.Position(at.Pos()).String()+": "+what) }
	timeName := ""
	for _, spec := range file.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(pureImports, path) {
			breach(spec, "imports "+spec.Path.Value)
		}
		if path == "time" {
			timeName = path
			if spec.Name != nil {
				timeName = spec.Name.Name
			}
		}
		if spec.Name != nil && (spec.Name.Name == "." || spec.Name.Name == "_") {
			breach(spec, "imports "+spec.Path.Value+" under the name "+spec.Name.Name)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			breach(n, "starts a goroutine")
		case *ast.ChanType:
			breach(n, "has a channel")
		case *ast.SelectStmt:
			breach(n, "selects")
		case *ast.SendStmt:
			breach(n, "sends to a channel")
		case *ast.UnaryExpr:
			if n.Op == token.ARROW {
				breach(n, "receives from a channel")
			}
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && timeName != "" && x.Name == timeName && !slices.Contains(pureTimeNames, n.Sel.Name) {
				breach(n, "uses time."+n.Sel.Name)
			}
		}
		return true
	})
	return found
}
