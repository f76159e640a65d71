package server

import (
	"cmp"
	"maps"
	"math/bits"
	"slices"
	"sync"

	"github.com/neargrid/neargrid/protocol"
)

var commandRows = []*Row{
	{Name: "command", Arity: -1, Flags: Loading | Stale, ACL: CatConnection, Group: "server",
		Tips: []string{"nondeterministic_output_order"}, Since: "2.8.13", Complexity: "O(N)",
		Summary: "Describes all commands.", Run: cmdCommand,
		Subs: []*Row{
			{Name: "count", Arity: 2, Flags: Loading | Stale, ACL: CatConnection, Group: "server",
				Since: "2.8.13", Complexity: "O(1)",
				Summary: "Counts the commands.", Run: cmdCommandCount},
			{Name: "docs", Arity: -2, Flags: Loading | Stale, ACL: CatConnection, Group: "server",
				Tips: []string{"nondeterministic_output_order"}, Since: "7.0.0", Complexity: "O(N)",
				Summary: "Documents commands.",
				Syntax:  "[command-name [command-name ...]]", Run: cmdCommandDocs},
			{Name: "getkeys", Arity: -4, Flags: Loading | Stale, ACL: CatConnection, Group: "server",
				Since: "2.8.13", Complexity: "O(N)",
				Summary: "Finds the keys of a command line.", Run: cmdCommandGetKeys},
			{Name: "getkeysandflags", Arity: -4, Flags: Loading | Stale, ACL: CatConnection, Group: "server",
				Since: "7.0.0", Complexity: "O(N)",
				Summary: "Finds the keys of a command line and what it does with them.", Run: cmdCommandGetKeysAndFlags},
			{Name: "help", Arity: 2, Flags: Loading | Stale, ACL: CatConnection, Group: "server",
				Since: "5.0.0", Complexity: "O(1)",
				Summary: "Lists the subcommands of COMMAND.", Run: cmdCommandHelp},
			{Name: "info", Arity: -2, Flags: Loading | Stale, ACL: CatConnection, Group: "server",
				Tips: []string{"nondeterministic_output_order"}, Since: "2.8.13", Complexity: "O(N)",
				Summary: "Describes commands.",
				Syntax:  "[command-name [command-name ...]]", Run: cmdCommandInfo},
			{Name: "list", Arity: -2, Flags: Loading | Stale, ACL: CatConnection, Group: "server",
				Tips: []string{"nondeterministic_output_order"}, Since: "7.0.0", Complexity: "O(N)",
				Summary: "Lists the commands' names.",
				Syntax:  "filterby:[FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]", Run: cmdCommandList},
		}},
}

// sortedRows are the rows of all commands, by name.
var sortedRows = sync.OnceValue(func() []*Row {
	return slices.SortedFunc(maps.Values(table), func(a, b *Row) int { return cmp.Compare(a.Name, b.Name) })
})

func cmdCommand(c *Call) {
	rows := sortedRows()
	c.W.Array(len(rows))
	for _, row := range rows {
		writeInfo(c.W, row)
	}
}

func cmdCommandCount(c *Call) { c.W.Int(int64(len(table))) }

func cmdCommandInfo(c *Call) {
	if len(c.Args) == 2 {
		cmdCommand(c)
		return
	}
	c.W.Array(len(c.Args) - 2)
	for _, name := range c.Args[2:] {
		if row := lookupName(string(name)); row != nil {
			writeInfo(c.W, row)
		} else {
			c.W.Null()
		}
	}
}

func cmdCommandDocs(c *Call) {
	rows := sortedRows()
	if len(c.Args) > 2 {
		rows = nil
		for _, name := range c.Args[2:] {
			if row := lookupName(string(name)); row != nil {
				rows = append(rows, row)
			}
		}
	}
	c.W.Map(len(rows))
	for _, row := range rows {
		c.W.BulkString(row.fullName())
		writeDocs(c.W, row)
	}
}

func cmdCommandList(c *Call) {
	accept := func(*Row) bool { return true }
	switch {
	case len(c.Args) == 2:
	case len(c.Args) != 5 || !is(c.Args[2], "filterby"):
		c.W.Error(protocol.ErrSyntax)
		return
	case is(c.Args[3], "module"): // there are no modules
		accept = func(*Row) bool { return false }
	case is(c.Args[3], "aclcat"):
		category := categoryByName(c.Args[4])
		accept = func(r *Row) bool { return r.categories()&category != 0 }
	case is(c.Args[3], "pattern"):
		accept = func(r *Row) bool { return protocol.Match(c.Args[4], []byte(r.fullName()), true) }
	default:
		c.W.Error(protocol.ErrSyntax)
		return
	}
	var names []string
	for _, row := range sortedRows() {
		for _, r := range append([]*Row{row}, row.Subs...) {
			if accept(r) {
				names = append(names, r.fullName())
			}
		}
	}
	c.W.Array(len(names))
	for _, name := range names {
		c.W.BulkString(name)
	}
}

func cmdCommandGetKeys(c *Call) {
	args := c.Args[2:]
	refs, ok := c.keyRefsOf(args)
	if !ok {
		return
	}
	c.W.Array(len(refs))
	for _, ref := range refs {
		c.W.Bulk(args[ref.at])
	}
}

func cmdCommandGetKeysAndFlags(c *Call) {
	args := c.Args[2:]
	refs, ok := c.keyRefsOf(args)
	if !ok {
		return
	}
	c.W.Array(len(refs))
	for _, ref := range refs {
		c.W.Array(2)
		c.W.Bulk(args[ref.at])
		writeBits(c.W, ref.flags, keyFlagNames[:], "")
	}
}

// keyRefsOf finds the keys of a command line that is an argument; where it has none it answers why.
func (c *Call) keyRefsOf(args [][]byte) (refs []keyRef, ok bool) {
	row := lookup(args)
	switch {
	case row == nil:
		c.W.Error("ERR Invalid command specified")
	case !row.hasKeys():
		c.W.Error("ERR The command has no key arguments")
	case !row.arityFits(len(args)):
		c.W.Error("ERR Invalid number of arguments specified for command")
	default:
		if refs, ok = row.keyRefs(args); !ok {
			c.W.Error("ERR Invalid arguments specified for command")
		}
	}
	return refs, ok
}

func cmdCommandHelp(c *Call) { c.help() }

// writeInfo is a command as COMMAND INFO tells it.
func writeInfo(w *protocol.Writer, r *Row) {
	first, last, step := r.firstLastStep()
	w.Array(10)
	w.BulkString(r.fullName())
	w.Int(int64(r.Arity))
	writeBits(w, r.Flags&^hiddenFlags, flagNames[:], "")
	w.Int(int64(first))
	w.Int(int64(last))
	w.Int(int64(step))
	writeBits(w, r.categories(), categoryNames[:], "@")
	w.Set(len(r.Tips))
	for _, tip := range r.Tips {
		w.BulkString(tip)
	}
	w.Set(len(r.Keys))
	for i := range r.Keys {
		writeKeySpec(w, &r.Keys[i])
	}
	if len(r.Subs) == 0 {
		w.Set(0)
		return
	}
	w.Array(len(r.Subs))
	for _, sub := range r.Subs {
		writeInfo(w, sub)
	}
}

func writeKeySpec(w *protocol.Writer, k *KeySpec) {
	// Each half is a type and what that type needs.
	half := func(name, kind string, fields int) {
		w.BulkString(name)
		w.Map(2)
		w.BulkString("type")
		w.BulkString(kind)
		w.BulkString("spec")
		w.Map(fields)
	}
	number := func(name string, n int) {
		w.BulkString(name)
		w.Int(int64(n))
	}

	w.Map(3)
	w.BulkString("flags")
	writeBits(w, k.Flags, keyFlagNames[:], "")
	switch {
	case k.Unknown:
		half("begin_search", "unknown", 0)
	case k.Keyword != "":
		half("begin_search", "keyword", 2)
		w.BulkString("keyword")
		w.BulkString(k.Keyword)
		number("startfrom", k.From)
	default:
		half("begin_search", "index", 1)
		number("index", k.Index)
	}
	switch {
	case k.Unknown:
		half("find_keys", "unknown", 0)
	case k.NumKeys != nil:
		half("find_keys", "keynum", 3)
		number("keynumidx", k.NumKeys.KeyNum)
		number("firstkey", k.NumKeys.First)
		number("keystep", k.NumKeys.Step)
	default:
		half("find_keys", "range", 3)
		number("lastkey", k.Last)
		number("keystep", k.Step)
		number("limit", k.Limit)
	}
}

// writeDocs is a command as COMMAND DOCS tells it.
func writeDocs(w *protocol.Writer, r *Row) {
	fields := make([]docField, 0, 9)
	text := func(name, value string) {
		if value != "" {
			fields = append(fields, docField{name, func() { w.BulkString(value) }})
		}
	}
	text("summary", r.Summary)
	text("since", r.Since)
	text("group", r.Group)
	text("complexity", r.Complexity)
	if r.Deprecated != "" {
		fields = append(fields, docField{"doc_flags", func() {
			w.Set(1)
			w.Simple("deprecated")
		}})
	}
	text("deprecated_since", r.Deprecated)
	text("replaced_by", r.ReplacedBy)
	if args := r.arguments(); len(args) > 0 {
		fields = append(fields, docField{"arguments", func() { writeArguments(w, args) }})
	}
	if len(r.Subs) > 0 {
		fields = append(fields, docField{"subcommands", func() {
			w.Map(len(r.Subs))
			for _, sub := range r.Subs {
				w.BulkString(sub.fullName())
				writeDocs(w, sub)
			}
		}})
	}
	writeFields(w, fields)
}

// docField is one entry of a map of COMMAND DOCS; most maps leave some out.
type docField struct {
	name  string
	write func()
}

func writeFields(w *protocol.Writer, fields []docField) {
	w.Map(len(fields))
	for _, field := range fields {
		w.BulkString(field.name)
		field.write()
	}
}

func writeArguments(w *protocol.Writer, args []*argument) {
	w.Array(len(args))
	for _, a := range args {
		fields := []docField{
			{"name", func() { w.BulkString(a.name) }},
			{"type", func() { w.BulkString(a.kind) }},
		}
		if a.key >= 0 {
			fields = append(fields, docField{"key_spec_index", func() { w.Int(int64(a.key)) }})
		}
		if a.token != "" {
			fields = append(fields, docField{"token", func() { w.BulkString(a.token) }})
		}
		if flags := a.flags(); flags != 0 {
			fields = append(fields, docField{"flags", func() { writeBits(w, flags, argumentFlagNames[:], "") }})
		}
		if a.args != nil {
			fields = append(fields, docField{"arguments", func() { writeArguments(w, a.args) }})
		}
		writeFields(w, fields)
	}
}

// writeBits names the set bits of a flag set.
func writeBits[F ~uint8 | ~uint16 | ~uint32](w *protocol.Writer, set F, names []string, prefix string) {
	w.Set(bits.OnesCount32(uint32(set)))
	for i, name := range names {
		if set&(1<<i) != 0 {
			w.Simple(prefix + name)
		}
	}
}
