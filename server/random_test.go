package server

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// commandMaker makes random commands from the syntax of their rows. Its keys, fields and members are few, so that
// commands meet what earlier ones have left; its expiries are short, and pass.
type commandMaker struct {
	*rand.Rand
	now func() int64 // ms since 1970

	row    *Row
	keys   int         // that numkeys has announced; 0 = it was not there
	tokens [][2]string // of GRID.LOAD, the last ones: key and token
}

const (
	databasesUsed = 3
	keysOfKind    = 5

	optionalPercent  = 35
	foreignPercent   = 8  // of keys are of another kind than the command works on
	repeatedMax      = 4  // of what may be repeated
	manyPercent      = 3  // of repetitions are long: past the limits of small encodings
	repeatedManyMax  = 40 //
	largeValuePerMil = 2  // of values are beyond what a record holds
)

func (m *commandMaker) chance(percent int) bool { return m.IntN(100) < percent }

func (m *commandMaker) pick(words ...string) string { return words[m.IntN(len(words))] }

func (m *commandMaker) number(first, last int) string {
	return strconv.Itoa(first + m.IntN(last-first+1))
}

// make makes one command of a row.
func (m *commandMaker) make(r *Row) []string {
	m.row, m.keys = r, 0
	words := strings.Split(r.fullName(), "|")
	if arguments := argumentsOf[r.fullName()]; arguments != nil {
		return append(words, arguments(m)...)
	}
	return m.list(words, r.arguments())
}

func (m *commandMaker) list(words []string, args []*argument) []string {
	for _, a := range args {
		if a.optional && !m.chance(optionalPercent) {
			continue
		}
		for i := range m.repeats(a) {
			if a.token != "" && (i == 0 || a.multipleToken) {
				words = append(words, a.token)
			}
			words = m.argument(words, a)
		}
	}
	return words
}

func (m *commandMaker) repeats(a *argument) int {
	switch {
	case !a.multiple:
		return 1
	case m.keys > 0 && (a.kind == "key" || a.name == "weight"):
		return m.keys
	case m.chance(manyPercent):
		return 1 + m.IntN(repeatedManyMax)
	}
	return 1 + m.IntN(repeatedMax)
}

func (m *commandMaker) argument(words []string, a *argument) []string {
	switch a.kind {
	case "oneof":
		return m.list(words, []*argument{required(a.args[m.IntN(len(a.args))])})
	case "block":
		return m.list(words, a.args)
	case "pure-token":
		return words
	case "key":
		return append(words, m.key(m.row))
	}
	return append(words, m.value(a))
}

// required is a choice that has been made.
func required(a *argument) *argument {
	made := *a
	made.optional = false
	return &made
}

// key is one of the kind of keys that the command's group works on, most often.
func (m *commandMaker) key(r *Row) string {
	kinds := "sbhltz"
	if kind := strings.Index("string bitmap hash list set sorted-set", r.Group); kind >= 0 && !m.chance(foreignPercent) {
		kinds = map[string]string{"string": "sssb", "bitmap": "b", "hash": "h", "list": "l", "set": "t", "sorted-set": "z"}[r.Group]
	}
	return string(kinds[m.IntN(len(kinds))]) + m.number(1, keysOfKind)
}

// value makes a value by its name, or else by its kind.
func (m *commandMaker) value(a *argument) string {
	switch a.name {
	case "numkeys":
		m.keys = 1 + m.IntN(3)
		return strconv.Itoa(m.keys)
	case "value", "element", "pivot", "member":
		switch {
		case m.row.Name == "setbit":
			return m.number(0, 1)
		case a.kind == "integer":
			return m.number(-2, 20)
		}
		if a.name == "value" || m.chance(10) {
			return m.text()
		}
		return m.member()
	case "field":
		return "f" + m.number(0, 20)
	case "seconds":
		return m.number(-1, 20)
	case "milliseconds":
		return m.number(-1, 20_000)
	case "unix-time-seconds":
		return strconv.FormatInt(m.now()/1000+int64(m.IntN(20)), 10)
	case "unix-time-milliseconds":
		return strconv.FormatInt(m.now()+int64(m.IntN(20_000)), 10)
	case "index", "start", "stop", "end", "rank":
		return m.number(-6, 12)
	case "offset":
		return m.number(0, 300)
	case "bit":
		return m.number(0, 1)
	case "cursor":
		return "0"
	case "db", "destination-db", "index1", "index2":
		return m.number(0, databasesUsed-1)
	case "encoding":
		return m.pick("u", "i") + m.number(1, 63)
	case "min", "max":
		if strings.Contains(m.row.Name, "lex") {
			return m.pick("-", "+", "[m1", "(m2", "[m3", "(m")
		}
		return m.pick("-inf", "+inf", "("+m.number(0, 10), m.number(0, 20))
	case "operation":
		return m.pick("AND", "OR", "XOR", "NOT")
	case "protover":
		return m.number(2, 3)
	case "type":
		return m.pick("string", "hash", "list", "set", "zset")
	}
	switch a.kind {
	case "integer":
		return m.number(-2, 20)
	case "double":
		return m.pick("", "", "-") + m.number(0, 20) + m.pick("", "", ".5", ".125", "e3")
	case "pattern":
		return m.pick("*", "s*", "?1", "h*->f1", "[a-m]*")
	}
	return m.pick("x", "y", "z")
}

func (m *commandMaker) member() string {
	if m.chance(10) {
		return m.pick("-", "1000000", "12345678901", "m") + m.number(0, 40)
	}
	return m.pick("m", "") + m.number(0, 9)
}

// text is what a string or a field holds.
func (m *commandMaker) text() string {
	if m.IntN(1000) < largeValuePerMil {
		return strings.Repeat("big!", []int{1 << 10, 300 << 10}[m.IntN(2)])
	}
	switch m.IntN(6) {
	case 0:
		return strings.Repeat("long ", 1+m.IntN(60))
	case 1:
		return m.pick("", "\x00\xff\r\n", "3.25", "9223372036854775807", "-0")
	case 2:
		return m.pick("a", "b", "ohmytext", "mynewtext")
	default:
		return m.number(-50, 50)
	}
}

// argumentsOf makes the arguments of rows whose syntax says too little.
var argumentsOf = map[string]func(m *commandMaker) []string{
	"config|set": func(m *commandMaker) []string {
		limit := m.pick("2", "8", "30", "128")
		switch m.IntN(4) {
		case 0:
			return []string{"hash-max-listpack-entries", limit, "hash-max-listpack-value", m.pick("8", "64")}
		case 1:
			return []string{"zset-max-listpack-entries", limit, "zset-max-listpack-value", m.pick("8", "64")}
		case 2:
			return []string{"set-max-intset-entries", limit}
		default:
			return []string{"list-max-listpack-size", m.pick("-2", "-1", "2", "8")}
		}
	},
	"grid.fill": func(m *commandMaker) []string {
		return append(append(m.token(), m.text()), strings.Fields(m.pick("", "PX "+m.number(1, 5000)))...)
	},
	"grid.load": func(m *commandMaker) []string {
		return []string{m.pick("load", "load", "s") + m.number(1, keysOfKind), m.number(1, 5000)}
	},
	"grid.pass": (*commandMaker).token,
	"grid.read": func(m *commandMaker) []string {
		return []string{m.pick("GET", "TYPE", "STRLEN", "HGETALL", "LLEN", "SMEMBERS"), m.pick("s", "h", "l", "t", "z") + m.number(1, keysOfKind)}
	},
	"hello": func(m *commandMaker) []string { return []string{m.number(2, 3)} },
	"sort":  (*commandMaker).sort,
	"zrange": func(m *commandMaker) []string {
		return append([]string{m.key(m.row)}, m.zrange()...)
	},
	"zrangestore": func(m *commandMaker) []string {
		return append([]string{m.key(m.row), m.key(m.row)}, m.zrange()...)
	},
}

// tokensMax is how many tokens are remembered.
const tokensMax = 4

// learn remembers the token in a reply to GRID.LOAD.
func (m *commandMaker) learn(args []string, reply []byte) {
	if lines := strings.Split(string(reply), "\r\n"); args[0] == "grid.load" && len(lines) > 3 && lines[2] == "load" {
		m.tokens = append(m.tokens, [2]string{args[1], lines[3][1:]})
		m.tokens = m.tokens[max(0, len(m.tokens)-tokensMax):]
	}
}

// token is a key and a token that was once good for it, or another one's.
func (m *commandMaker) token() []string {
	if len(m.tokens) == 0 {
		return []string{"s1", "1"}
	}
	t := m.tokens[m.IntN(len(m.tokens))]
	if m.chance(10) {
		return []string{t[0], m.tokens[0][1]}
	}
	return t[:]
}

// sort mostly sorts ALPHA, so that any collection will do.
func (m *commandMaker) sort() []string {
	words := []string{m.pick("l", "t", "z") + m.number(1, keysOfKind)}
	if m.chance(20) {
		words = append(words, "BY", m.pick("s*", "nosort", "h1->f*"))
	}
	if m.chance(30) {
		words = append(words, "LIMIT", m.number(0, 3), m.number(1, 20))
	}
	if m.chance(20) {
		words = append(words, "GET", m.pick("#", "s*", "h1->f*"))
	}
	if m.chance(80) {
		words = append(words, "ALPHA")
	}
	if m.chance(50) {
		words = append(words, "STORE", m.key(m.row))
	}
	return words
}

// zrange is a range by index, score or member.
func (m *commandMaker) zrange() []string {
	switch m.IntN(3) {
	case 0:
		return []string{m.number(0, 5), m.number(-3, 12)}
	case 1:
		return []string{"-inf", m.pick("(", "") + m.number(0, 30), "BYSCORE", "LIMIT", "0", m.number(-1, 9)}
	default:
		return []string{"-", m.pick("+", "[m", "(m2"), "BYLEX"}
	}
}

// notRun are the rows that random commands leave out, each with the reason.
var notRun = map[string]string{
	"shutdown":     "ends the server",
	"quit":         "closes the connection",
	"debug":        "answers only where it is switched on",
	"client|kill":  "closes connections",
	"client|pause": "stops all sessions",
	"client|reply": "takes replies away",

	"client|tracking": "has pushes come between replies",
	"subscribe":       "a connection of RESP2 takes hardly any command behind it",
}

// randomRows are the rows to be run, in a fixed order, so that a seed repeats a run. Containers of subcommands and what
// may block are not among them.
func randomRows() (rows []*Row) {
	for name, r := range allRows() {
		if notRun[name] != "" || r.container != nil && notRun[r.container.Name] != "" || r.Run == nil || r.Flags&Blocking != 0 {
			continue
		}
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b *Row) int { return strings.Compare(a.fullName(), b.fullName()) })
	return rows
}

// oneIn says how seldom a row is run where that matters: one time in so many of those that it is chosen.
func oneIn(r *Row) int {
	switch r.Name {
	case "flushall", "flushdb":
		return 20
	case "select", "reset", "multi", "exec", "discard", "swapdb":
		return 5
	}
	switch {
	case r.Flags&Write == 0:
		return 4
	case r.Flags&DenyOOM == 0: // most of these delete
		return 2
	}
	return 1
}

// quoted is a command for people to read.
func quoted(args []string) string {
	words := make([]string, len(args))
	for i, a := range args {
		if words[i] = strconv.Quote(a); len(a) > 80 {
			words[i] = fmt.Sprintf("%.40q... (%d bytes)", a, len(a))
		}
	}
	return strings.Join(words, " ")
}
