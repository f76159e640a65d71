package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// combine puts bugs into one tree, each asleep until its number is woken: a function that n bugs change stands there n+1 times, and the one
// that keeps the name looks first which of them is awake. It returns the changed files by path, those that say which bug is awake
// among them, and the bugs that change more than what is inside functions: those need a tree of their own.
func combine(mutants []*mutant) (files map[string]string, alone []*mutant, err error) {
	files = map[string]string{}
	changed := map[string]*combined{}
	for _, m := range mutants {
		fits := true
		bodies := map[string][]body{}
		for path, content := range m.files {
			c := changed[path]
			if c == nil {
				if c, err = newCombined(path); err != nil {
					return nil, nil, err
				}
				changed[path] = c
			}
			found, ok, err := c.bodies(content)
			if err != nil {
				return nil, nil, fmt.Errorf("%s: %s with the bug: %w", m.name, path, err)
			}
			fits = fits && ok
			bodies[path] = found
		}
		if !fits {
			alone = append(alone, m)
			continue
		}
		for path, found := range bodies {
			changed[path].add(m.number, found)
		}
	}
	for path, c := range changed {
		if len(c.copies) == 0 {
			continue
		}
		files[path] = c.withCopies()
		files[filepath.Join(filepath.Dir(path), "planted_bug.go")] = fmt.Sprintf(wakes, c.syntax.Name)
	}
	return files, alone, nil
}

// awake is the name of the environment variable that says which bug is awake.
const awake = "NEARGRID_PLANTED_BUG"

// wakes is the file, one in each changed package, that says which bug is awake.
const wakes = `package %s

import (
	"os"
	"strconv"
)

var plantedBug, _ = strconv.Atoi(os.Getenv("` + awake + `"))
`

// combined is one file and the bodies that bugs give to its functions.
type combined struct {
	parsed
	copies map[string][]body // by function
}

// body is what a bug makes of a function: its text from brace to brace.
type body struct {
	function string
	number   int
	text     string
}

// parsed is a Go file with its functions.
type parsed struct {
	source    string
	syntax    *ast.File
	functions map[string]*ast.FuncDecl
}

func newCombined(path string) (*combined, error) {
	source, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	p, err := parseSource(string(source))
	return &combined{parsed: p, copies: map[string][]body{}}, err
}

func parseSource(source string) (parsed, error) {
	set := token.NewFileSet()
	syntax, err := parser.ParseFile(set, "", source, parser.SkipObjectResolution)
	if err != nil {
		return parsed{}, err
	}
	p := parsed{source, syntax, map[string]*ast.FuncDecl{}}
	for _, d := range syntax.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil && f.Name.Name != "init" && f.Name.Name != "_" {
			p.functions[p.name(f)] = f
		}
	}
	return p, nil
}

// name tells functions of a file apart: the receiver as it is written, and the name.
func (p parsed) name(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return f.Name.Name
	}
	return p.text(f.Recv.List[0].Type) + "." + f.Name.Name
}

// between is the source from one place to another. The places of a file set's first file begin at 1.
func (p parsed) between(from, to token.Pos) string { return p.source[from-1 : to-1] }

func (p parsed) text(n ast.Node) string { return p.between(n.Pos(), n.End()) }

// bodies returns the functions whose bodies differ in content, and whether nothing else does but imports that are gone.
func (c *combined) bodies(content string) (found []body, ok bool, err error) {
	other, err := parseSource(content)
	if err != nil {
		return nil, false, err
	}
	if c.skeleton() != other.skeleton() {
		return nil, false, nil
	}
	for _, i := range other.syntax.Imports {
		if !slices.ContainsFunc(c.syntax.Imports, func(own *ast.ImportSpec) bool {
			return other.text(i) == c.text(own)
		}) {
			return nil, false, nil
		}
	}
	for name, f := range c.functions {
		text := other.text(other.functions[name].Body)
		if c.text(f.Body) != text {
			found = append(found, body{function: name, text: text})
		}
	}
	return found, true, nil
}

// skeleton is the source without imports and without what stands in functions.
func (p parsed) skeleton() string {
	var b strings.Builder
	last := p.syntax.FileStart
	for _, d := range p.syntax.Decls {
		f, isFunc := d.(*ast.FuncDecl)
		g, isGen := d.(*ast.GenDecl)
		switch {
		case isFunc && p.functions[p.name(f)] == f:
			b.WriteString(p.between(last, f.Body.Pos()))
			last = f.Body.End()
		case isGen && g.Tok == token.IMPORT:
			b.WriteString(p.between(last, g.Pos()))
			last = g.End()
		}
	}
	b.WriteString(p.between(last, p.syntax.FileEnd))
	return b.String()
}

func (c *combined) add(number int, bodies []body) {
	for _, b := range bodies {
		b.number = number
		c.copies[b.function] = append(c.copies[b.function], b)
	}
}

// withCopies is the source with every copy, and each changed function choosing among its own.
func (c *combined) withCopies() string {
	var edits []edit
	var copies strings.Builder
	for _, name := range slices.Sorted(maps.Keys(c.copies)) {
		f := c.functions[name]
		call, named := forward(f)
		edits = append(edits, named...)
		var choice strings.Builder
		for _, b := range c.copies[name] {
			copyName := fmt.Sprintf("%s__%d", f.Name.Name, b.number)
			fmt.Fprintf(&choice, "\nif plantedBug == %d {\n"+call+"\n}\n", b.number, copyName)
			fmt.Fprintf(&copies, "\n%s%s%s%s\n", c.between(f.Type.Func, f.Name.Pos()), copyName, c.between(f.Name.End(), f.Body.Pos()), b.text)
		}
		edits = append(edits, edit{f.Body.Lbrace + 1, f.Body.Lbrace + 1, choice.String()})
	}
	slices.SortFunc(edits, func(a, b edit) int { return int(a.from - b.from) })
	var text strings.Builder
	last := token.Pos(1)
	for _, e := range edits {
		text.WriteString(c.between(last, e.from) + e.text)
		last = e.to
	}
	return text.String() + c.source[last-1:] + copies.String()
}

// edit replaces what stands between two places of a file.
type edit struct {
	from, to token.Pos
	text     string
}

// forward is the statement by which a function has a copy of itself, %s, do its work, and the edits that name those of its parameters that
// have no name.
func forward(f *ast.FuncDecl) (statement string, named []edit) {
	var types, values []string
	statement = "%s"
	for _, field := range list(f.Recv) {
		names, edits := name(field, "plantedReceiver")
		named = append(named, edits...)
		statement = names[0] + ".%s"
	}
	for _, field := range list(f.Type.TypeParams) {
		for _, n := range field.Names {
			types = append(types, n.Name)
		}
	}
	for _, field := range list(f.Type.Params) {
		names, edits := name(field, fmt.Sprintf("planted%d_", len(values)))
		named = append(named, edits...)
		if _, variadic := field.Type.(*ast.Ellipsis); variadic {
			names[0] += "..."
		}
		values = append(values, names...)
	}
	if len(types) > 0 {
		statement += "[" + strings.Join(types, ", ") + "]"
	}
	statement += "(" + strings.Join(values, ", ") + ")"
	if f.Type.Results != nil {
		return "return " + statement, named
	}
	return statement + "\nreturn", named
}

func list(l *ast.FieldList) []*ast.Field {
	if l == nil {
		return nil
	}
	return l.List
}

// name returns the names of a field of a parameter list, and the edits that give it some where it has none.
func name(field *ast.Field, prefix string) (names []string, edits []edit) {
	if len(field.Names) == 0 {
		return []string{prefix}, []edit{{field.Pos(), field.Pos(), prefix + " "}}
	}
	for i, n := range field.Names {
		if n.Name == "_" {
			edits = append(edits, edit{n.Pos(), n.End(), fmt.Sprint(prefix, i)})
			names = append(names, fmt.Sprint(prefix, i))
			continue
		}
		names = append(names, n.Name)
	}
	return names, edits
}
