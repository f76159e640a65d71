package server

import (
	"math"
	"strconv"

	"github.com/neargrid/neargrid/partition"
	"github.com/neargrid/neargrid/protocol"
)

// is tells whether an argument is the given word, which is in lower case.
func is(arg []byte, word string) bool {
	if len(arg) != len(word) {
		return false
	}
	for i, c := range arg {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != word[i] {
			return false
		}
	}
	return true
}

// intArg reads an integer argument; where it is none it answers so.
func (c *Call) intArg(i int) (n int64, ok bool) {
	if n, ok = protocol.ParseInt(c.Args[i]); !ok {
		c.W.Error(protocol.ErrNotInteger)
	}
	return n, ok
}

// floatArg reads a floating-point argument; where it is none it answers so.
func (c *Call) floatArg(i int) (f float64, ok bool) {
	if f, ok = protocol.ParseFloat(c.Args[i]); !ok {
		c.W.Error(protocol.ErrNotFloat)
	}
	return f, ok
}

// intInRange reads an argument that must fit 32 bits. errText answers for one that is no integer or does not fit; empty
// stands for Redis's usual words.
func (c *Call) intInRange(i int, errText string) (n int, ok bool) {
	v, ok := protocol.ParseInt(c.Args[i])
	switch {
	case ok && v >= math.MinInt32 && v <= math.MaxInt32:
		return int(v), true
	case errText != "":
		c.W.Error(errText)
	case !ok:
		c.W.Error(protocol.ErrNotInteger)
	default:
		c.W.Error(rangeError(math.MinInt32, math.MaxInt32))
	}
	return 0, false
}

func rangeError(low, high int64) string {
	return "ERR value is out of range, value must between " + strconv.FormatInt(low, 10) + " and " + strconv.FormatInt(high, 10)
}

// dbArg reads the number of a database.
func (c *Call) dbArg(i int, errText string) (db int, ok bool) {
	if db, ok = c.intInRange(i, errText); !ok {
		return 0, false
	}
	if db < 0 || db >= partition.Databases {
		c.W.Error(protocol.ErrDBIndex)
		return 0, false
	}
	return db, true
}

// help answers a container's HELP: its subcommands with their arguments and what they do.
func (c *Call) help() {
	container := c.Row.container
	lines := []string{upper(container.Name) + " <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"}
	for _, sub := range container.Subs {
		line := upper(sub.Name)
		if sub.Syntax != "" {
			line += " " + sub.usage()
		}
		lines = append(lines, line, "    "+sub.Summary)
	}
	c.W.Array(len(lines))
	for _, line := range lines {
		c.W.Simple(line)
	}
}
