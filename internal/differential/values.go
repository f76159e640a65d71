package main

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// values makes random values. Pools are small, so that commands meet the same keys, fields and members again.
type values struct {
	*rand.Rand
	configs [][2]string // name and value of settings that both servers agree on
	names   []string    // of commands, for COMMAND INFO
}

func (v *values) chance(percent int) bool { return v.IntN(100) < percent }

func (v *values) pick(options ...string) string { return options[v.IntN(len(options))] }

func (v *values) number(first, last int) string { return strconv.Itoa(first + v.IntN(last-first+1)) }

// kinds are the kinds of keys, by the first letter of their names: strings, strings that hold integers, hashes, lists,
// sets, sorted sets, sorted sets of one score (for ranges of members), and collections of numbers only (for SORT).
const kinds = "sihltzyn"

// kindOf is the kind of key that a command works on; ' ' for any.
func kindOf(r *row) byte {
	switch r.name {
	case "incr", "decr", "incrby", "decrby", "incrbyfloat":
		return 'i'
	case "zrangebylex", "zrevrangebylex", "zremrangebylex", "zlexcount":
		return 'y'
	}
	switch r.group {
	case "string", "bitmap":
		return 's'
	case "hash":
		return 'h'
	case "list":
		return 'l'
	case "set":
		return 't'
	case "sorted-set":
		return 'z'
	}
	return ' '
}

// keysOfKind bounds the keys of each kind.
const keysOfKind = 4

// key is a key, most often of the given kind.
func (v *values) key(kind byte) string {
	switch n := v.IntN(100); {
	case n < 3:
		return v.pick("missing", "missing:2", "", "bin\x00\xff\r\n", "{tag}a", "{tag}b")
	case n < 8 || kind == ' ':
		kind = kinds[v.IntN(len(kinds))]
	case n < 16 && kind == 's':
		kind = 'i'
	}
	return fmt.Sprintf("%c:%d", kind, 1+v.IntN(keysOfKind))
}

var (
	text40  = strings.Repeat("long ", 8)
	text300 = strings.Repeat("0123456789", 30)
)

// value is what a string key, a field or an element holds.
func (v *values) value() string {
	switch v.IntN(10) {
	case 0, 1, 2:
		return v.number(-20, 20)
	case 3:
		return v.float()
	case 4:
		return v.pick("", text40, text300, "\x00\xff\n\r", "héllo", text40+text40)
	case 5:
		return v.integer()
	default:
		return v.pick("a", "b", "c", "hello", "world", "foobar", "ohmytext", "mynewtext", " 1", "007", "1e3")
	}
}

// member is an element of a list, set or sorted set.
func (v *values) member() string {
	switch v.IntN(12) {
	case 0, 1, 2, 3:
		return v.number(0, 6)
	case 4:
		return v.pick("", text40, text300, "\xff\x00", "-1", "3.5", "9223372036854775807", "-9223372036854775808", "70000", "-40000")
	case 5, 6:
		return "m" + v.number(0, 20)
	default:
		return "m" + v.number(0, 5)
	}
}

// field is a field of a hash.
func (v *values) field() string {
	if v.chance(5) {
		return v.pick("", text40, "\x00\xff", "12")
	}
	return "f" + v.number(0, 11)
}

// integer is a number, sometimes at the edge of 64 bits or beyond, or not a number.
func (v *values) integer() string {
	switch n := v.IntN(100); {
	case n < 80:
		return v.number(-10, 100)
	case n < 90:
		return v.pick("9223372036854775807", "-9223372036854775808", "4294967296", "-4294967296", "2147483647", "65536", "1000000007")
	default:
		return v.badInteger()
	}
}

func (v *values) badInteger() string {
	return v.pick("9223372036854775808", "-9223372036854775809", "abc", "", "1.5", "+1", "01", " 1", "1 ", "-0", "99999999999999999999", "0x10")
}

// small is an index or count: small, rarely wild.
func (v *values) small(first, last int) string {
	switch n := v.IntN(100); {
	case n < 95:
		return v.number(first, last)
	case n < 97:
		return v.pick("9223372036854775807", "-9223372036854775808", "-1", "0")
	default:
		return v.badInteger()
	}
}

// float leaves out what overflows or underflows: Redis's SORT looks at errno without clearing it, and then fails for what
// an earlier command has left there.
func (v *values) float() string {
	switch n := v.IntN(100); {
	case n < 45:
		return v.number(-5, 20)
	case n < 75:
		return strconv.FormatFloat(float64(v.IntN(4000)-2000)/float64(int(1)<<v.IntN(6)), 'f', -1, 64)
	case n < 85:
		return v.pick("0.1", "3.14159265358979", "-0.333333333333333333", "1e10", "1.5e-7", "12345678901234567", "1e17", "-1e21", "1.7976931348623157e308")
	case n < 92:
		return v.pick("inf", "+inf", "-inf", "Infinity", "-0", "0.0", "0x1p4")
	default:
		return v.pick("nan", "abc", "", " 1", "1 ", "1,5", "--1", "9223372036854775807", "9007199254740993")
	}
}

// bound is an end of a range of scores.
func (v *values) bound() string {
	switch n := v.IntN(100); {
	case n < 30:
		return v.pick("-inf", "+inf", "inf", "(-inf", "(+inf")
	case n < 92:
		return v.pick("", "", "(") + v.number(-5, 20)
	default:
		return v.pick("(1.5", "0.5", "abc", "(", "nan", "((1", "1e3")
	}
}

// bounds are both ends of a range of scores, most often the right way round.
func (v *values) bounds(lowest, highest string) (string, string) {
	if v.chance(40) {
		return lowest, highest
	}
	return v.bound(), v.bound()
}

// lexBound is an end of a range of members.
func (v *values) lexBound() string {
	switch n := v.IntN(100); {
	case n < 30:
		return v.pick("-", "+")
	case n < 94:
		return v.pick("[", "(") + v.pick("m", "m1", "m3", "m5", "a", "z", "1", "7", "", "\xff")
	default:
		return v.pick("m1", "", "abc", "--", "[[")
	}
}

// lexEnd is an end of a range, most often the given outermost one.
func (v *values) lexEnd(outermost string) string {
	if v.chance(55) {
		return outermost
	}
	return v.lexBound()
}

// Expiries lie in the past or so far ahead that no run sees them pass; a key that is to expire during the run is a
// story of its own (session.go).
const (
	secondsMin      = 1_000
	millisecondsMin = 1_000_000
)

func (v *values) seconds() string {
	switch n := v.IntN(100); {
	case n < 85:
		return strconv.Itoa(secondsMin + v.IntN(100_000_000))
	case n < 93:
		return v.pick("0", "-1", "-1000")
	default:
		return v.pick("9223372036854775807", "9223372036854775", "9223370000000000", "-9223372036854775808", "abc", "1.5", "")
	}
}

func (v *values) milliseconds() string {
	switch n := v.IntN(100); {
	case n < 85:
		return strconv.Itoa(millisecondsMin + v.IntN(100_000_000_000))
	case n < 93:
		return v.pick("0", "-1", "-100000")
	default:
		return v.pick("9223372036854775807", "-9223372036854775808", "9223372036854775000", "abc", "1.5", "")
	}
}

// atSeconds is an absolute time in seconds: in the past, or after the year 2100.
func (v *values) atSeconds() string {
	switch n := v.IntN(100); {
	case n < 80:
		return strconv.Itoa(4_200_000_000 + v.IntN(1000))
	case n < 92:
		return v.pick("1", "1000000000", "0", "-1")
	default:
		return v.pick("9223372036854775807", "9223372036854776", "9223372036854775", "-9223372036854775808", "abc", "")
	}
}

func (v *values) atMilliseconds() string {
	switch n := v.IntN(100); {
	case n < 80:
		return strconv.Itoa(4_200_000_000_000 + v.IntN(1_000_000))
	case n < 92:
		return v.pick("1", "1000000000000", "0", "-1")
	default:
		return v.pick("9223372036854775807", "-9223372036854775808", "abc", "")
	}
}

// byName gives each argument's values: by "row.name" where a row differs from others, else by "type name", else by name.
// The walk over a row's tree fails for an argument that is not here.
var byName = map[string]func(v *values) string{
	"double increment":       (*values).float,
	"double score":           (*values).float,
	"double max":             (*values).bound,
	"double min":             (*values).bound,
	"string max":             (*values).lexBound,
	"string min":             (*values).lexBound,
	"integer weight":         (*values).float,
	"zincrby.increment":      (*values).float,
	"integer increment":      (*values).integer,
	"integer decrement":      (*values).integer,
	"integer value":          (*values).integer,
	"setbit.value":           func(v *values) string { return v.small(0, 1) },
	"bit":                    func(v *values) string { return v.small(0, 1) },
	"integer count":          func(v *values) string { return v.small(0, 12) },
	"lrem.count":             func(v *values) string { return v.small(-3, 3) },
	"memory|usage.count":     func(v *values) string { return v.small(0, 12) },
	"hrandfield.count":       func(v *values) string { return v.small(-12, 12) },
	"srandmember.count":      func(v *values) string { return v.small(-12, 12) },
	"zrandmember.count":      func(v *values) string { return v.small(-12, 12) },
	"scan.count":             func(v *values) string { return v.pick("5", "10", "100", "1000", "0", "-1", "abc") },
	"sscan.count":            func(v *values) string { return v.pick("1", "2", "10", "100", "0", "-1", "abc") },
	"hscan.count":            func(v *values) string { return v.pick("1", "2", "10", "100", "0", "-1", "abc") },
	"zscan.count":            func(v *values) string { return v.pick("1", "2", "10", "100", "0", "-1", "abc") },
	"integer cursor":         func(v *values) string { return v.pick("0", "0", "0", "0", "0", "0", "0", "0", "abc", "-1") },
	"integer index":          func(v *values) string { return v.small(-12, 12) },
	"select.index":           (*values).database,
	"integer db":             (*values).database,
	"integer destination-db": (*values).database,
	"integer index1":         (*values).database,
	"integer index2":         (*values).database,
	"integer start":          func(v *values) string { return v.small(-15, 5) },
	"integer stop":           func(v *values) string { return v.small(-5, 15) },
	"integer end":            func(v *values) string { return v.small(-5, 15) },
	"integer len":            func(v *values) string { return v.small(0, 8) },
	"integer limit":          func(v *values) string { return v.small(0, 8) },
	"integer num-matches":    func(v *values) string { return v.small(0, 4) },
	"integer rank": func(v *values) string {
		return v.pick("1", "1", "-1", "2", "-2", "3", "0", "abc", "-9223372036854775808")
	},
	"integer offset": func(v *values) string { return v.small(-2, 8) },
	"getbit.offset": func(v *values) string {
		return v.pick("0", "1", "2", "3", "7", "8", "13", "63", "100", "4294967295", "-1", "4294967296")
	},
	"setbit.offset": func(v *values) string {
		return v.pick("0", "1", "2", "3", "7", "8", "13", "63", "100", "1000", "70000", "-1", "4294967296")
	},
	"setrange.offset": func(v *values) string {
		return v.pick("0", "1", "2", "3", "10", "20", "45", "200", "-1", "536870912", "9223372036854775807")
	},
	"bitfield.offset":    (*values).bitOffset,
	"bitfield_ro.offset": (*values).bitOffset,
	"string encoding": func(v *values) string {
		return v.pick("u1", "u4", "u8", "i8", "i5", "u16", "i16", "u32", "i32", "u63", "i64", "i1", "u8", v.pick("u64", "i65", "u0", "x8", ""))
	},
	"integer seconds":                  (*values).seconds,
	"integer milliseconds":             (*values).milliseconds,
	"unix-time unix-time-seconds":      (*values).atSeconds,
	"unix-time unix-time-milliseconds": (*values).atMilliseconds,
	"pattern pattern":                  (*values).pattern,
	"string element":                   (*values).member,
	"string member":                    (*values).member,
	"string pivot":                     (*values).member,
	"string field":                     (*values).field,
	"string value":                     (*values).value,
	"string type": func(v *values) string {
		return v.pick("string", "hash", "list", "set", "zset", "ZSET", "stream", "bogus")
	},
	"string message":         (*values).value,
	"string operation":       func(v *values) string { return v.pick("AND", "OR", "XOR", "NOT", "and", "bogus") },
	"string connection-name": func(v *values) string { return v.pick("name", "other", "", "with space", "new\nline") },
	"string section": func(v *values) string {
		return v.pick("server", "clients", "memory", "stats", "everything", "all", "default", "bogus")
	},
	"integer client-id":         func(v *values) string { return v.pick("1", "99999999", "0", "-1", "abc") },
	"string event":              func(v *values) string { return v.pick("command", "fast-command", "bogus") },
	"latency|histogram.command": func(v *values) string { return v.pick("get", "set", "bogus") },
}

// databases are those in use, plus some that are not there.
func (v *values) database() string {
	if v.chance(90) {
		return v.number(0, 3)
	}
	return v.pick("15", "16", "-1", "abc", "99999999999999999999")
}

func (v *values) bitOffset() string {
	return v.pick("0", "1", "2", "7", "8", "63", "100", "#0", "#1", "#2", "#3", "1000", v.pick("-1", "#-1", "4294967296", "x", "#"))
}

func (v *values) pattern() string {
	return v.pick("*", "*", "m*", "f?", "*[0-5]", "s:*", "h:[12]", "[^m]*", "m1", "", `\*`, "?", "*1*", "[", "[z-a]*", "nothing*")
}

// maker finds the values of an argument.
func maker(r *row, a *arg) func(v *values) string {
	for _, name := range []string{r.name + "." + a.name, a.kind + " " + a.name, a.name} {
		if f := byName[name]; f != nil {
			return f
		}
	}
	return nil
}
