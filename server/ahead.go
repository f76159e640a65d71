package server

import (
	"github.com/neargrid/neargrid/partition"
	"github.com/neargrid/neargrid/protocol"
)

// ahead holds the commands of a pipeline that were parsed before their turn comes, so that what their keys need is brought from
// memory while others are executed.
type ahead struct {
	reader   protocol.Reader
	commands [partition.PrefetchMax]parsed
	skip     int      // looks that are left out, as the last one was of no use
	n, next  int      // of commands: there are n, and those before next are executed
	args     [][]byte // of all commands, one behind the other

	keys, members [partition.PrefetchMax][]byte // their first two arguments, where they have any
}

// parsed is one command of ahead.
type parsed struct {
	from, to int // its arguments, in args
	size     int // of the command, in bytes of input
}

// take returns the next command that was parsed ahead, and its size in bytes; false where there is none.
func (a *ahead) take() (args [][]byte, size int, ok bool) {
	if a.next == a.n {
		return nil, 0, false
	}
	p := &a.commands[a.next]
	a.next++
	return a.args[p.from:p.to:p.to], p.size, true
}

// lookAhead parses the complete commands at the start of buf, and prefetches for them. It guesses that the first argument is a
// key and the second a member of it, unless the last command was about strings, which have none: a wrong guess costs nothing but time.
// Inline commands and what is malformed it leaves to the session's own reader.
func (c *Call) lookAhead(buf []byte) {
	a := &c.ahead
	if a.skip > 0 {
		a.skip--
		return
	}
	a.n, a.next, a.args = 0, 0, a.args[:0]
	a.reader.MaxBulk, a.reader.Unauthenticated = c.s.reader.MaxBulk, c.s.reader.Unauthenticated
	keys, mayHaveMembers := 0, c.lastRow == nil || c.lastRow.Group != "string"
	for len(buf) > 0 && buf[0] == '*' && a.n < len(a.commands) {
		size, ok, err := a.reader.Parse(buf)
		if !ok || err != nil {
			a.reader.Reset()
			break
		}
		args := a.reader.Args
		a.commands[a.n] = parsed{from: len(a.args), to: len(a.args) + len(args), size: size}
		a.n++
		a.args = append(a.args, args...)
		if len(args) > 1 && len(args[1]) > 0 {
			a.keys[keys], a.members[keys] = args[1], nil
			if len(args) > 2 && mayHaveMembers {
				a.members[keys] = args[2]
			}
			keys++
		}
		buf = buf[size:]
	}
	if keys > 1 && !c.Tx.Prefetch(c.s.db, a.keys[:keys], a.members[:keys]) {
		a.skip = skipsAfterUseless
	}
}

// skipsAfterUseless: where a client works on one small key, as in pushing to a list, looking ahead would cost a tenth.
const skipsAfterUseless = 255

// aheadKeepArgs is how many arguments' room is kept from one look to the next.
const aheadKeepArgs = 1024

// forgetAhead ends the use of the input that was looked at.
func (c *Call) forgetAhead() {
	a := &c.ahead
	if len(a.args) == 0 {
		return
	}
	clear(a.args)
	if cap(a.args) > aheadKeepArgs {
		a.args = nil
	}
	a.n, a.next, a.args = 0, 0, a.args[:0]
	clear(a.keys[:])
	clear(a.members[:])
	c.Tx.Prefetch(0, nil, nil)
}
