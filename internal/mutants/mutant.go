package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// mutant is one bug, ready to be planted.
type mutant struct {
	name   string
	number int // from 1, its place among those planted together
	tests  []testName
	files  map[string]string // by path from the module's root: the content with the bug
}

// testName is a test, with flags of its own.
type testName struct {
	pkg, name string
	flags     []string
}

// readAll reads every mutant in a directory, and the files they change from the working directory.
func readAll(dir string) ([]*mutant, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("%s holds no mutant", dir)
	}
	var all []*mutant
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		m, err := parse(string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		m.name, m.number = strings.TrimSuffix(filepath.Base(path), ".txt"), len(all)+1
		all = append(all, m)
	}
	return all, nil
}

// parse reads one mutant; package main's comment has the format.
func parse(text string) (*mutant, error) {
	m := &mutant{files: map[string]string{}}
	var path string
	var old, changed strings.Builder
	apply := func() error {
		if path == "" {
			return nil
		}
		content, changedBefore := m.files[path]
		if !changedBefore {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			content = string(b)
		}
		if n := strings.Count(content, old.String()); n != 1 || old.Len() == 0 {
			return fmt.Errorf("these lines stand in %s %d times, not once:\n%s", path, n, &old)
		}
		m.files[path] = strings.Replace(content, old.String(), changed.String(), 1)
		old.Reset()
		changed.Reset()
		return nil
	}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		switch {
		case line[0] == '#' || len(words) == 0:
		case line[0] == ' ':
			old.WriteString(line[1:])
			changed.WriteString(line[1:])
		case line[0] == '-':
			old.WriteString(line[1:])
		case line[0] == '+':
			changed.WriteString(line[1:])
		case words[0] == "test" && len(words) >= 3:
			m.tests = append(m.tests, testName{words[1], words[2], words[3:]})
		case words[0] == "file" && len(words) == 2:
			if err := apply(); err != nil {
				return nil, err
			}
			path = words[1]
		default:
			return nil, fmt.Errorf("cannot read the line %q", line)
		}
	}
	if err := apply(); err != nil {
		return nil, err
	}
	if len(m.tests) == 0 || len(m.files) == 0 {
		return nil, fmt.Errorf("%d tests and %d files: neither may be missing", len(m.tests), len(m.files))
	}
	return m, nil
}
