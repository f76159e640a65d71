package main

import (
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/neargrid/neargrid/"

// mayImport says which of our own packages a package may import (docs/ARCHITECTURE.md, "Packages").
var mayImport = map[string][]string{
	"protocol":     nil,
	"partition":    nil,
	"server":       {"partition", "protocol"},
	"cmd/neargrid": {"partition", "server"},
}

func TestPackagesImportWhatTheyMay(t *testing.T) {
	for dir, allowed := range mayImport {
		for _, file := range sourceFiles(t, dir) {
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, spec := range parsed.Imports {
				imported, _ := strconv.Unquote(spec.Path.Value)
				if ours, ok := strings.CutPrefix(imported, module); ok && !slices.Contains(allowed, ours) {
					t.Errorf("%s/%s imports %s", dir, filepath.Base(file), ours)
				}
			}
		}
	}
}

// A tour that leaves out a file misleads: doc.go names each, or a pattern such as cmd_*.go that it matches.
func TestToursNameEveryFile(t *testing.T) {
	for dir := range mayImport {
		tour, err := os.ReadFile(filepath.Join("../..", dir, "doc.go"))
		if err != nil {
			t.Fatal(err)
		}
		words := strings.FieldsFunc(string(tour), func(r rune) bool { return strings.ContainsRune(" \t\n(),;", r) })
		for _, file := range sourceFiles(t, dir) {
			name := filepath.Base(file)
			named := func(word string) bool { ok, _ := path.Match(word, name); return ok }
			if name != "doc.go" && !slices.ContainsFunc(words, named) {
				t.Errorf("%s/doc.go does not name %s", dir, name)
			}
		}
	}
}

// sourceFiles are a package's files without its tests.
func sourceFiles(t *testing.T, dir string) (files []string) {
	t.Helper()
	all, err := filepath.Glob(filepath.Join("../..", dir, "*.go"))
	if err != nil || len(all) == 0 {
		t.Fatalf("no files in %s: %v", dir, err)
	}
	for _, file := range all {
		if !strings.HasSuffix(file, "_test.go") {
			files = append(files, file)
		}
	}
	return files
}
