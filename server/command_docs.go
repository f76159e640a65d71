package server

import (
	"slices"
	"strings"
	"unicode"
)

// argument is one argument of a command, as COMMAND DOCS describes it.
type argument struct {
	name  string
	kind  string // its type: "string", "integer", "key", "pure-token", "oneof", "block" ...
	token string // the word before its value; of a pure token the word itself
	key   int    // which of the row's key specs it belongs to; -1 = none

	optional      bool
	multiple      bool // may be repeated
	multipleToken bool // and its token with it

	args []*argument // the choices of a oneof, the members of a block
}

// argumentFlagNames gives the flags' names, in bit order.
var argumentFlagNames = [...]string{"optional", "multiple", "multiple_token"}

func (a *argument) flags() (set uint8) {
	for i, on := range []bool{a.optional, a.multiple, a.multipleToken} {
		if on {
			set |= 1 << i
		}
	}
	return set
}

// arguments parses a row's syntax, once, when it is first asked for.
//
// Syntax is written like redis-cli's help, with a few annotations, since help texts do not tell all of the tree:
//
//	word                  a value of that name; its type is that of argumentTypes, or word:type
//	WORD                  a token; with values behind it theirs: COUNT count, LIMIT offset count
//	[a]  [a b]  [a | b]   optional: one argument, a block, a choice
//	<a | b>               a choice that must be made
//	{a b}                 a block that is not optional, or has one member
//	a b [a b ...]         what stands before may be repeated; [...] repeats one argument, however long
//	name:[a | b]          names the argument; a choice's or block's name is else made of its members' names
//	word@1                belongs to key spec 1; keys take the row's specs one by one
//
// Repeating the token too, as in [GET pattern [GET pattern ...]], says that each value comes with it.
func (r *Row) arguments() []*argument {
	r.parseSyntax.Do(func() {
		p := syntaxParser{words: syntaxWords(r.Syntax), row: r}
		r.args = p.sequence()
		if p.next() != "" {
			p.fail("unexpected " + p.next())
		}
	})
	return r.args
}

// argumentTypes gives the types of values that are not strings, by their names.
var argumentTypes = func() map[string]string {
	types := map[string]string{}
	for kind, names := range map[string]string{
		"integer": "bit client-id count cursor db decrement destination-db end increment index index1 index2 len limit " +
			"milliseconds num-matches numkeys offset protover rank seconds start stop timeout weight",
		"double":    "score",
		"key":       "destination destkey dst key key1 key2 newkey source src",
		"pattern":   "pattern",
		"unix-time": "unix-time-milliseconds unix-time-seconds",
		"string":    "",
	} {
		types[":"+kind] = kind // as an annotation
		for _, name := range strings.Fields(names) {
			types[name] = kind
		}
	}
	return types
}()

// syntaxWords splits a syntax into words and brackets.
func syntaxWords(syntax string) []string {
	for _, bracket := range []string{"[", "]", "<", ">", "{", "}", "|"} {
		syntax = strings.ReplaceAll(syntax, bracket, " "+bracket+" ")
	}
	return strings.Fields(syntax)
}

// syntaxParser reads a row's syntax. It panics on one it cannot read: a test parses those of all rows.
type syntaxParser struct {
	words []string
	row   *Row
	keys  int // arguments of type key so far
}

func (p *syntaxParser) fail(what string) {
	panic("syntax of " + p.row.fullName() + ": " + what)
}

// next is the word to be read next; empty at the end.
func (p *syntaxParser) next() string {
	if len(p.words) == 0 {
		return ""
	}
	return p.words[0]
}

func (p *syntaxParser) take() string {
	word := p.next()
	if word == "" {
		p.fail("ends too early")
	}
	p.words = p.words[1:]
	return word
}

func (p *syntaxParser) expect(word string) {
	if p.next() != word {
		p.fail("found '" + p.next() + "' for '" + word + "'")
	}
	p.take()
}

// sequence reads arguments up to a closing bracket, a bar or the end.
func (p *syntaxParser) sequence() []*argument {
	var args []*argument
	for !slices.Contains([]string{"", "]", ">", "}", "|", "..."}, p.next()) {
		if p.atRepetition() {
			args = p.repetition(args)
		} else {
			args = append(args, p.argument())
		}
	}
	return args
}

// atRepetition tells whether the next words are a bracket that ends in "...".
func (p *syntaxParser) atRepetition() bool {
	depth := 0
	for i, word := range p.words {
		switch word {
		case "[":
			depth++
		case "]":
			depth--
		}
		if depth == 0 {
			return i > 0 && p.words[i-1] == "..."
		}
	}
	return false
}

// repetition reads [a b ...], and marks the arguments before it, which it repeats.
func (p *syntaxParser) repetition(args []*argument) []*argument {
	keys := p.keys
	p.expect("[")
	repeated := p.sequence()
	p.expect("...")
	p.expect("]")
	p.keys = keys

	first := len(args) - max(1, len(repeated))
	if first < 0 {
		p.fail("more is repeated than stands before it")
	}
	again := args[first]
	if len(repeated) > 1 {
		again = group("block", slices.Clone(args[first:]))
	}
	again.multiple = true
	again.multipleToken = len(repeated) == 1 && repeated[0].token != ""
	return append(args[:first], again)
}

// argument reads one argument.
func (p *syntaxParser) argument() *argument {
	word := p.take()
	name, rest, named := strings.Cut(word, ":")
	if named = named && (rest == "" || isToken(rest)); named {
		if word = rest; word == "" {
			word = p.take()
		}
	}
	var a *argument
	switch {
	case word == "[":
		if choices := p.alternatives("]"); len(choices) == 1 {
			a = choices[0]
		} else {
			a = group("oneof", choices)
		}
		a.optional = true
	case word == "<":
		a = group("oneof", p.alternatives(">"))
	case word == "{":
		a = group("block", p.sequence())
		p.expect("}")
	case isToken(word):
		a = p.afterToken(word)
	default:
		a = p.value(word)
	}
	if named {
		a.name = name
	}
	return a
}

// alternatives reads what bars separate; each is one argument, or several as a block.
func (p *syntaxParser) alternatives(closing string) []*argument {
	var list []*argument
	for {
		switch args := p.sequence(); len(args) {
		case 0:
			p.fail("nothing to choose")
		case 1:
			list = append(list, args[0])
		default:
			list = append(list, group("block", args))
		}
		if p.next() != "|" {
			p.expect(closing)
			return list
		}
		p.take()
	}
}

// afterToken reads what a token introduces: a bracket, or the values behind it, or nothing.
func (p *syntaxParser) afterToken(token string) *argument {
	var a *argument
	switch next := p.next(); {
	case next == "<", next == "{":
		a = p.argument()
	default:
		var values []*argument
		for isValue(p.next()) {
			values = append(values, p.value(p.take()))
		}
		switch len(values) {
		case 0:
			a = &argument{name: strings.ToLower(token), kind: "pure-token", key: -1}
		case 1:
			a = values[0]
		default:
			a = group("block", values)
		}
	}
	a.token = token
	return a
}

// value reads a word that stands for a value.
func (p *syntaxParser) value(word string) *argument {
	a := &argument{kind: "string", key: -1}
	spec := ""
	a.name, spec, _ = strings.Cut(word, "@")
	if kind, ok := argumentTypes[a.name]; ok {
		a.kind = kind
	}
	if i := strings.LastIndexByte(a.name, ':'); i > 0 {
		if kind, ok := argumentTypes[a.name[i:]]; ok {
			a.name, a.kind = a.name[:i], kind
		}
	}
	if a.kind == "key" {
		a.key = min(p.keys, len(p.row.Keys)-1)
		p.keys++
	}
	if spec != "" {
		a.key = int(spec[0] - '0')
	}
	return a
}

// isToken tells whether a word is a token: these are written in capitals.
func isToken(word string) bool {
	return word != "" && unicode.IsUpper(rune(word[0]))
}

// isValue tells whether a word stands for a value, and not for a token or an argument in brackets.
func isValue(word string) bool {
	return word != "" && unicode.IsLower(rune(word[0])) && !strings.HasSuffix(word, ":")
}

// group makes a oneof or a block, named after its members.
func group(kind string, args []*argument) *argument {
	names := make([]string, len(args))
	for i, a := range args {
		names[i] = a.name
	}
	return &argument{name: strings.Join(names, "_"), kind: kind, key: -1, args: args}
}

// usage is a row's syntax without the annotations, for people.
func (r *Row) usage() string { return usage(r.arguments()) }

func usage(args []*argument) string {
	words := make([]string, len(args))
	for i, a := range args {
		words[i] = a.usage()
	}
	return strings.Join(words, " ")
}

func (a *argument) usage() string {
	body := a.name
	switch a.kind {
	case "pure-token":
		body = ""
	case "block":
		body = usage(a.args)
	case "oneof":
		choices := make([]string, len(a.args))
		for i, choice := range a.args {
			choices[i] = choice.usage()
		}
		body = strings.Join(choices, " | ")
		if !a.optional || a.token != "" || a.multiple {
			body = "<" + body + ">"
		}
	}
	again := body
	if a.token != "" {
		body = strings.TrimSpace(a.token + " " + body)
	}
	if a.multipleToken {
		again = body
	}
	if a.multiple {
		if a.kind == "oneof" {
			again = ""
		}
		body += " [" + strings.TrimSpace(again+" ...") + "]"
	}
	if a.optional {
		body = "[" + body + "]"
	}
	return body
}
