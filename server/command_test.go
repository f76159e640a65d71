package server

import (
	"bufio"
	"bytes"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/neargrid/neargrid/internal/testredis"
	"github.com/neargrid/neargrid/protocol"
)

// allRows are the rows of all commands and subcommands, by full name.
func allRows() map[string]*Row {
	rows := maps.Clone(table)
	maps.Copy(rows, subTable)
	return rows
}

// TestRowsAreComplete holds each row to what the rest of the program takes for granted.
func TestRowsAreComplete(t *testing.T) {
	for name, r := range allRows() {
		switch {
		case r.Name != strings.ToLower(r.Name), len(r.Name) > commandNameMax:
			t.Errorf("%s: bad name", name)
		case r.Run == nil && len(r.Subs) == 0:
			t.Errorf("%s: neither a handler nor subcommands", name)
		case r.Arity == 0, r.Since == "", r.Group == "":
			t.Errorf("%s: arity %d, since %q, group %q: none may be missing", name, r.Arity, r.Since, r.Group)
		case !strings.HasSuffix(r.Summary, "."):
			t.Errorf("%s: summary %q is no sentence", name, r.Summary)
		case (r.Deprecated == "") != (r.ReplacedBy == ""):
			t.Errorf("%s: deprecated %q, replaced by %q: both or none", name, r.Deprecated, r.ReplacedBy)
		}
	}
}

// ours are the commands that no Redis has, and that are left out of comparisons with one.
var ours = map[string]bool{
	"grid.drain": true, "grid.fill": true, "grid.lease": true, "grid.load": true, "grid.origin": true, "grid.pass": true, "grid.read": true,
	"grid.recover": true, "grid.status": true, "grid.table": true, "grid.undrain": true,
}

// sharedRows are the rows of all commands that a Redis has too.
func sharedRows() map[string]*Row {
	rows := allRows()
	for name := range ours {
		delete(rows, name)
	}
	return rows
}

// TestOursAreOurs: the list of what is not compared names rows, and nothing that a Redis has.
func TestOursAreOurs(t *testing.T) {
	theirs := dialResp3(t).Do(t, "COMMAND", "LIST").Strings()
	for name := range ours {
		if table[name] == nil {
			t.Errorf("%s is said to be a command of ours, and there is no such row", name)
		}
		if slices.Contains(theirs, name) {
			t.Errorf("%s is said to be ours alone, and Redis has it", name)
		}
	}
}

// TestCommandInfoAgreesWithRedis compares COMMAND INFO of every row with a real server's, where order means nothing.
func TestCommandInfoAgreesWithRedis(t *testing.T) {
	theirs := map[string]testredis.Value{}
	var collect func(list []testredis.Value)
	collect = func(list []testredis.Value) {
		for _, info := range list {
			theirs[info.Elems[0].Text] = info
			collect(info.Elems[9].Elems)
		}
	}
	collect(dialResp3(t).Do(t, "COMMAND").Elems)

	for name, row := range sharedRows() {
		info, ok := theirs[name]
		if !ok {
			t.Errorf("%s: Redis has no such command", name)
			continue
		}
		got := reply(t, 3, func(w *protocol.Writer) { writeInfo(w, row) })
		// Subcommands are compared on their own; the notes of key specs are prose.
		g, w := canonInfo(got), canonInfo(info)
		if g != w {
			t.Errorf("COMMAND INFO %s\ngot:\n%s\nwant:\n%s", name, g, w)
		}
	}
}

func canonInfo(info testredis.Value) string {
	info.Elems = slices.Clone(info.Elems[:9])
	for i := range info.Elems {
		info.Elems[i] = sortSets(without(info.Elems[i], "notes"))
	}
	return testredis.Format(info)
}

// TestCommandDocsAgreesWithRedis compares COMMAND DOCS of every row with a real server's: all but what is prose there.
func TestCommandDocsAgreesWithRedis(t *testing.T) {
	theirs := map[string]testredis.Value{}
	var collect func(docs []testredis.Value)
	collect = func(docs []testredis.Value) {
		for i := 0; i < len(docs); i += 2 {
			theirs[docs[i].Text] = docs[i+1]
			if subs, ok := field(docs[i+1], "subcommands"); ok {
				collect(subs.Elems)
			}
		}
	}
	collect(dialResp3(t).Do(t, "COMMAND", "DOCS").Elems)

	for name, row := range sharedRows() {
		docs, ok := theirs[name]
		if !ok {
			t.Errorf("%s: Redis has no such command", name)
			continue
		}
		got := reply(t, 3, func(w *protocol.Writer) { writeDocs(w, row) })
		g, w := canonDocs(got), canonDocs(docs)
		if g != w {
			t.Errorf("COMMAND DOCS %s, syntax %q\ngot:\n%s\nwant:\n%s", name, row.Syntax, g, w)
		}
		if order := complexity(docs); !strings.HasPrefix(row.Complexity, order) {
			t.Errorf("%s: complexity %q, want %s first", name, row.Complexity, order)
		}
	}
}

// canonDocs leaves out what is prose (we have our own, or none), the marks for Redis's own use, and versions of single
// arguments.
func canonDocs(docs testredis.Value) string {
	docs = without(docs, "summary", "complexity", "replaced_by", "history", "subcommands")
	if flags, ok := field(docs, "doc_flags"); ok && testredis.Format(flags) == "1~ syscmd" {
		docs = without(docs, "doc_flags")
	}
	if args, ok := field(docs, "arguments"); ok {
		at := slices.IndexFunc(docs.Elems, func(v testredis.Value) bool { return v.Text == "arguments" }) + 1
		docs.Elems[at] = without(args, "since", "deprecated_since")
	}
	return testredis.Format(sortSets(docs))
}

// complexity is the order that COMMAND DOCS gives first, as in "O(N) where N is ...": "O(N)".
func complexity(docs testredis.Value) string {
	v, _ := field(docs, "complexity")
	_, rest, found := strings.Cut(v.Text, "O(")
	if !found {
		return ""
	}
	depth := 1
	for i, c := range rest {
		switch c {
		case '(':
			depth++
		case ')':
			depth--
		}
		if depth == 0 {
			return "O(" + rest[:i+1]
		}
	}
	return ""
}

// TestAbsentCommands holds testdata/absent.txt to what a real server has and we have not.
func TestAbsentCommands(t *testing.T) {
	listed := map[string]bool{}
	data, err := os.ReadFile("testdata/absent.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || words[0] == "#":
		case len(words) != 2:
			t.Errorf("absent.txt: %q: want a command and what it waits for", line)
		case listed[words[0]]:
			t.Errorf("absent.txt: %s stands there twice", words[0])
		default:
			listed[words[0]] = true
		}
	}

	rows := allRows()
	for _, name := range dialResp3(t).Do(t, "COMMAND", "LIST").Strings() {
		switch {
		case rows[name] == nil && !listed[name]:
			t.Errorf("%s: neither is there a row, nor does absent.txt list it", name)
		case rows[name] != nil && listed[name]:
			t.Errorf("%s: absent.txt lists it, though there is a row", name)
		}
		delete(listed, name)
	}
	for name := range listed {
		t.Errorf("%s: absent.txt lists it, but Redis has no such command", name)
	}
}

// dialResp3 connects to a real server, speaking RESP3.
func dialResp3(t *testing.T) *testredis.Conn {
	t.Helper()
	conn := testredis.Start(t).Dial(t)
	conn.Do(t, "HELLO", "3")
	return conn
}

// reply is what write answers, in the given protocol version.
func reply(t *testing.T, resp int, write func(*protocol.Writer)) testredis.Value {
	t.Helper()
	w := protocol.Writer{Resp: resp}
	write(&w)
	r := bufio.NewReader(bytes.NewReader(w.Buf))
	v, err := testredis.Read(r)
	if err != nil || r.Buffered() > 0 {
		t.Fatalf("%q is not one reply: %v, %d bytes left over", w.Buf, err, r.Buffered())
	}
	return v
}

// field is the value of a map's key.
func field(v testredis.Value, name string) (testredis.Value, bool) {
	for i := 0; i+1 < len(v.Elems); i += 2 {
		if v.Elems[i].Text == name {
			return v.Elems[i+1], true
		}
	}
	return testredis.Value{}, false
}

// without is v without some keys in any map inside.
func without(v testredis.Value, names ...string) testredis.Value {
	elems := make([]testredis.Value, 0, len(v.Elems))
	for i := 0; i < len(v.Elems); i++ {
		if v.Kind == testredis.Map && slices.Contains(names, v.Elems[i].Text) {
			i++
			continue
		}
		elems = append(elems, without(v.Elems[i], names...))
		if v.Kind == testredis.Map {
			i++
			elems = append(elems, without(v.Elems[i], names...))
		}
	}
	if v.Elems != nil {
		v.Elems = elems
	}
	return v
}

// sortSets is v with all sets inside sorted.
func sortSets(v testredis.Value) testredis.Value {
	v.Elems = slices.Clone(v.Elems)
	for i := range v.Elems {
		v.Elems[i] = sortSets(v.Elems[i])
	}
	if v.Kind == testredis.Set {
		return testredis.Sorted(v, false)
	}
	return v
}
