package main

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// toured are the packages whose doc.go leads through their files.
var toured = []string{"protocol", "partition", "server", "cluster", "cluster/core", "loadtest", "cmd/neargrid"}

// A tour that leaves out a file misleads: doc.go names each, or a pattern such as cmd_*.go that it matches.
func TestToursNameEveryFile(t *testing.T) {
	for _, dir := range toured {
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
