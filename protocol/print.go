package protocol

import (
	"fmt"
	"strings"
)

// String shows a reply as redis-cli does on a terminal, without the last line end:
//
//  1. "a"
//  2. (integer) 3
//  3. (empty array)
func (v Value) String() string {
	var out strings.Builder
	v.print(&out, "")
	return strings.TrimSuffix(out.String(), "\n")
}

// print writes v and a line end. indent stands before every line of it but the first, which the caller has begun.
func (v Value) print(out *strings.Builder, indent string) {
	if v.Attr != nil {
		out.WriteString("(attribute)\n" + indent)
		Value{Kind: '%', Elems: v.Attr}.print(out, indent)
		out.WriteString(indent)
	}
	switch {
	case v.Null:
		out.WriteString("(nil)\n")
	case v.IsError():
		fmt.Fprintf(out, "(error) %s\n", v.Str)
	case v.Kind == '+':
		fmt.Fprintf(out, "%s\n", v.Str)
	case v.Kind == ':':
		fmt.Fprintf(out, "(integer) %d\n", v.Int)
	case v.Kind == ',':
		fmt.Fprintf(out, "(double) %s\n", v.Str)
	case v.Kind == '(':
		fmt.Fprintf(out, "(big number) %s\n", v.Str)
	case v.Kind == '#':
		fmt.Fprintf(out, "(%t)\n", v.Int != 0)
	case v.Kind == '=':
		fmt.Fprintf(out, "%s\n", v.Str[min(len("txt:"), len(v.Str)):])
	case v.Kind == '$':
		fmt.Fprintf(out, "%s\n", Quote(v.Str))
	default:
		v.printElems(out, indent)
	}
}

// printElems writes an aggregate, its members numbered.
func (v Value) printElems(out *strings.Builder, indent string) {
	name, mark, each := "array", ')', 1
	switch v.Kind {
	case '~':
		name, mark = "set", '~'
	case '%':
		name, mark, each = "hash", '#', 2
	case '>':
		name = "push"
	}
	if len(v.Elems) == 0 {
		fmt.Fprintf(out, "(empty %s)\n", name)
		return
	}
	width := len(fmt.Sprint(len(v.Elems) / each))
	inner := indent + strings.Repeat(" ", width+2)
	for i := 0; i < len(v.Elems); i += each {
		if i > 0 {
			out.WriteString(indent)
		}
		fmt.Fprintf(out, "%*d%c ", width, i/each+1, mark)
		if each == 1 {
			v.Elems[i].print(out, inner)
			continue
		}
		var key strings.Builder
		v.Elems[i].print(&key, inner)
		out.WriteString(strings.TrimSuffix(key.String(), "\n") + " => ")
		value := v.Elems[i+1]
		if value.multiline() {
			out.WriteString("\n" + inner)
		}
		value.print(out, inner)
	}
}

// multiline tells whether v takes more than one line.
func (v Value) multiline() bool {
	switch {
	case len(v.Elems) == 0:
		return false
	case v.Kind == '%':
		return len(v.Elems) > 2 || v.Elems[1].multiline()
	}
	return len(v.Elems) > 1 || v.Elems[0].multiline()
}

// Quote returns s in double quotes, with what is not printable ASCII escaped: a form that SplitLine takes back.
func Quote(s []byte) string {
	out := []byte{'"'}
	for _, c := range s {
		switch c {
		case '\\', '"':
			out = append(out, '\\', c)
		case '\n':
			out = append(out, `\n`...)
		case '\r':
			out = append(out, `\r`...)
		case '\t':
			out = append(out, `\t`...)
		case '\a':
			out = append(out, `\a`...)
		case '\b':
			out = append(out, `\b`...)
		default:
			if c >= ' ' && c <= '~' {
				out = append(out, c)
			} else {
				out = fmt.Appendf(out, `\x%02x`, c)
			}
		}
	}
	return string(append(out, '"'))
}
