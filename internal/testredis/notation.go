package testredis

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
)

// Format writes a reply as redis-cli would, but so that every type of RESP2 and RESP3 can be told apart:
//
//	OK                      simple string         (nil)        null bulk of RESP2      1) "a"          array
//	"text"                  bulk                  (nil array)  null array of RESP2     1~ "a"          set
//	(integer) 3                                   (null)       null of RESP3           1# "k" => "v"   map
//	(error) ERR syntax error                      (true)                               1> "a"          push
//	(double) 1.5            (big number) 12       (verbatim) "txt:..."                 (empty array), (empty set) ...
//
// Lines are separated by newlines; nested aggregates are indented.
func Format(v Value) string {
	var b strings.Builder
	format(&b, v, "")
	return b.String()
}

func format(b *strings.Builder, v Value, indent string) {
	switch {
	case v.Nil && v.Kind == Bulk:
		b.WriteString("(nil)")
		return
	case v.Nil:
		b.WriteString("(nil array)")
		return
	case v.IsAggregate():
		formatElems(b, v, indent)
		return
	}
	switch v.Kind {
	case Simple:
		b.WriteString(v.Text)
	case Error:
		b.WriteString("(error) " + v.Text)
	case Integer:
		b.WriteString("(integer) " + v.Text)
	case Bulk:
		b.WriteString(Quote(v.Text))
	case Null:
		b.WriteString("(null)")
	case Double:
		b.WriteString("(double) " + v.Text)
	case Bool:
		b.WriteString(map[string]string{"t": "(true)", "f": "(false)"}[v.Text])
	case BigInt:
		b.WriteString("(big number) " + v.Text)
	case Verbatim:
		b.WriteString("(verbatim) " + Quote(v.Text))
	}
}

func formatElems(b *strings.Builder, v Value, indent string) {
	name, mark := "array", ")"
	switch v.Kind {
	case Map:
		name, mark = "map", "#"
	case Set:
		name, mark = "set", "~"
	case Push:
		name, mark = "push", ">"
	}
	if len(v.Elems) == 0 {
		b.WriteString("(empty " + name + ")")
		return
	}
	step := 1
	if v.Kind == Map {
		step = 2
	}
	width := len(strconv.Itoa(len(v.Elems) / step))
	for i := 0; i < len(v.Elems); i += step {
		if i > 0 {
			b.WriteString("\n" + indent)
		}
		head := fmt.Sprintf("%*d%s ", width, i/step+1, mark)
		b.WriteString(head)
		inner := indent + strings.Repeat(" ", len(head))
		format(b, v.Elems[i], inner)
		if step == 2 {
			if value := v.Elems[i+1]; value.IsAggregate() && len(value.Elems) > 0 {
				b.WriteString(" =>\n" + inner)
			} else {
				b.WriteString(" => ")
			}
			format(b, v.Elems[i+1], inner)
		}
	}
}

// Sorted returns an aggregate with its elements in an order of their own, for replies whose order means nothing. A map
// is sorted by its pairs; pairs asks for the same of an array of alternating fields and values.
func Sorted(v Value, pairs bool) Value {
	if !v.IsAggregate() {
		return v
	}
	step := 1
	if v.Kind == Map || pairs && len(v.Elems)%2 == 0 {
		step = 2
	}
	type group struct {
		text  string
		elems []Value
	}
	groups := make([]group, 0, len(v.Elems)/step)
	for i := 0; i < len(v.Elems); i += step {
		g := group{elems: v.Elems[i : i+step]}
		for _, e := range g.elems {
			g.text += Format(e) + "\n"
		}
		groups = append(groups, g)
	}
	sort.SliceStable(groups, func(i, j int) bool { return groups[i].text < groups[j].text })
	v.Elems = nil
	for _, g := range groups {
		v.Elems = append(v.Elems, g.elems...)
	}
	return v
}

// Quote writes bytes as redis-cli does: printable ones as they are, \xNN for the others.
func Quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '\\' || c == '"':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// Line writes a command as a line that Split reads back; words are quoted where they must be.
func Line(args []string) string {
	words := make([]string, len(args))
	for i, arg := range args {
		words[i] = arg
		if arg == "" || Quote(arg) != `"`+arg+`"` || strings.ContainsAny(arg, " '{") {
			words[i] = Quote(arg)
		}
	}
	return strings.Join(words, " ")
}

// Split reads a command line: words separated by blanks; "..." with \n \r \t \xNN \\ \" as redis-cli has them; '...'
// taken as it is. Two forms in braces at the start of a word, unquoted, save writing:
//
//	{5*ab}        the word ababababab
//	{1..3:f# v#}  the words f1 v1 f2 v2 f3 v3; {1..3} alone gives 1 2 3
func Split(line string) ([]string, error) {
	var words []string
	for {
		line = strings.TrimLeft(line, " \t")
		if line == "" {
			return words, nil
		}
		var more []string
		var err error
		switch line[0] {
		case '"':
			more, line, err = splitQuoted(line)
		case '\'':
			more, line, err = splitLiteral(line)
		case '{':
			more, line, err = splitBraces(line)
		default:
			end := strings.IndexAny(line, " \t")
			if end < 0 {
				end = len(line)
			}
			more, line = []string{line[:end]}, line[end:]
		}
		if err != nil {
			return nil, err
		}
		if line != "" && line[0] != ' ' && line[0] != '\t' {
			return nil, fmt.Errorf("no blank after a quoted word, before %q", line)
		}
		words = append(words, more...)
	}
}

func splitQuoted(line string) ([]string, string, error) {
	var word []byte
	for i := 1; i < len(line); i++ {
		c := line[i]
		if c == '"' {
			return []string{string(word)}, line[i+1:], nil
		}
		if c != '\\' {
			word = append(word, c)
			continue
		}
		if i++; i == len(line) {
			break
		}
		switch c := line[i]; c {
		case 'n':
			word = append(word, '\n')
		case 'r':
			word = append(word, '\r')
		case 't':
			word = append(word, '\t')
		case 'x':
			if i+2 >= len(line) {
				return nil, "", fmt.Errorf("unfinished \\x in %q", line)
			}
			n, err := strconv.ParseUint(line[i+1:i+3], 16, 8)
			if err != nil {
				return nil, "", fmt.Errorf("bad \\x%s", line[i+1:i+3])
			}
			word = append(word, byte(n))
			i += 2
		default:
			word = append(word, c)
		}
	}
	return nil, "", fmt.Errorf("no closing quote in %q", line)
}

func splitLiteral(line string) ([]string, string, error) {
	end := strings.IndexByte(line[1:], '\'')
	if end < 0 {
		return nil, "", fmt.Errorf("no closing quote in %q", line)
	}
	return []string{line[1 : 1+end]}, line[end+2:], nil
}

// wordsMax bounds what one pair of braces may grow to.
const wordsMax = 1 << 20

func splitBraces(line string) ([]string, string, error) {
	end := strings.IndexByte(line, '}')
	if end < 0 {
		return nil, "", fmt.Errorf("no closing brace in %q (quote a word that starts with one)", line)
	}
	inner, rest := line[1:end], line[end+1:]
	if times, text, ok := strings.Cut(inner, "*"); ok {
		if n, err := strconv.Atoi(times); err == nil && n >= 0 {
			return []string{strings.Repeat(text, n)}, rest, nil
		}
	}
	bounds, template, ok := strings.Cut(inner, ":")
	if !ok {
		template = "#"
	}
	from, to, ok := strings.Cut(bounds, "..")
	first, err1 := strconv.Atoi(from)
	last, err2 := strconv.Atoi(to)
	if !ok || err1 != nil || err2 != nil || last-first >= wordsMax {
		return nil, "", fmt.Errorf("{%s} is neither {times*text} nor {first..last:template} (quote a word that starts with a brace)", inner)
	}
	var words []string
	for i := first; i <= last; i++ {
		words = append(words, strings.Fields(strings.ReplaceAll(template, "#", strconv.Itoa(i)))...)
	}
	return words, rest, nil
}
