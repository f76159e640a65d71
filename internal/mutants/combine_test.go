package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestCombine: of the functions that bugs change each has a copy for every bug, only the one awake is called, and what changes more than
// functions is left out.
func TestCombine(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	write(t, "go.mod", "module example.com/m\n\ngo 1.26\n")
	write(t, "main.go", `package main

import (
	"fmt"
	"strings"
)

const size = 3

type list[T any] struct{ all []T }

func (l *list[T]) add(_ int, more ...T) { l.all = append(l.all, more...) }

func (list[T]) kind() string { return strings.ToUpper("list") }

func twice[T, U any](a T, _ U) (x, y T) { return a, a }

func main() {
	var l list[int]
	l.add(0, 1, 2)
	x, y := twice("a", 1)
	fmt.Print(l.all, l.kind(), x, y, size)
}
`)
	tests := []struct{ bug, want string }{
		{"", "[1 2]LISTaa3"},
		{"- l.all = append(l.all, more...)\n+ l.all = more[:1]", "[1]LISTaa3"},
		{"- { return strings.ToUpper(\"list\") }\n+ { return \"none\" }\n- \"strings\"\n+", "[1 2]noneaa3"},
		{"- return a, a\n+ var none T; return a, none", "[1 2]LISTa3"},
		{"- l.add(0, 1, 2)\n+", "[]LISTaa3"},
		{"- l.all = append(l.all, more...)\n+", "[]LISTaa3"},
		{"- size = 3\n+ size = 4", ""},
		{"- \"fmt\"\n+ \"fmt\"; \"os\"\n- var l list[int]\n+ var l list[int]; os.Exit(0)", ""},
	}
	source, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	var mutants []*mutant
	var wantAlone []string
	for i, test := range tests[1:] {
		changed := string(source)
		lines := strings.Split(test.bug, "\n")
		for j := 0; j < len(lines); j += 2 {
			old, with := strings.TrimPrefix(lines[j], "- "), strings.TrimPrefix(strings.TrimPrefix(lines[j+1], "+"), " ")
			if strings.Count(changed, old) != 1 {
				t.Fatalf("%q stands in the source %d times", old, strings.Count(changed, old))
			}
			changed = strings.Replace(changed, old, with, 1)
		}
		m := &mutant{name: test.bug, number: i + 1, files: map[string]string{"main.go": changed}}
		mutants = append(mutants, m)
		if test.want == "" {
			wantAlone = append(wantAlone, m.name)
		}
	}
	files, alone, err := combine(mutants)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range alone {
		names = append(names, m.name)
	}
	if got, want := strings.Join(names, "\n"), strings.Join(wantAlone, "\n"); got != want {
		t.Errorf("these have to be planted alone:\n%s\nwant\n%s", got, want)
	}
	for path, content := range files {
		write(t, path, content)
	}
	if out, err := exec.Command("go", "build", "-o", "program", ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, files["main.go"])
	}
	for i, test := range tests {
		if test.want == "" {
			continue
		}
		t.Setenv(awake, string(rune('0'+i)))
		if out, err := exec.Command("./program").CombinedOutput(); err != nil || string(out) != test.want {
			t.Errorf("with bug %q: %q, %v; want %q", test.bug, out, err, test.want)
		}
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
