package server

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/neargrid/neargrid/partition"
	"github.com/neargrid/neargrid/protocol"
)

// Gather says how a command over several slots is divided and its answers are joined, where the grid has several data nodes.
// What one partition gets of it is atomic there; the whole is not.
type Gather struct {
	// Step is the number of arguments that belong to a key, itself included; the keys begin behind the name.
	Step int
	// Join writes the reply; pieces are in order of partition.
	Join func(w *protocol.Writer, pieces []piece)
}

// piece is what one partition gets of a command, or a node of a walk.
type piece struct {
	keys  []int // which keys of the command, in its order; empty in a walk
	parts []int
	reply []byte // a whole RESP reply
}

// gather divides a command by partition, and has all pieces executed at once. It is a barrier.
func (s *Session) gather(c *Call) {
	row, byPart := c.Row, map[int]*task{}
	g := row.Gather
	if (len(c.Args)-1)%g.Step != 0 {
		s.reject(c, wrongArity(row))
		return
	}
	keysOf := map[int][]int{}
	var parts []int
	for i := 1; i+g.Step <= len(c.Args); i += g.Step {
		p := c.srv.store.PartitionOf(c.Args[i])
		t := byPart[p]
		if t == nil {
			t = c.newTask(ForwardCommand, cloneArgs(c.Args[:1]), []int{p})
			byPart[p] = t
			parts = addSorted(parts, p)
		}
		t.args = append(t.args, cloneArgs(c.Args[i:i+g.Step])...)
		keysOf[p] = append(keysOf[p], (i-1)/g.Step)
	}
	s.spread(c, parts, func(w *protocol.Writer) {
		pieces := make([]piece, len(parts))
		var pending sync.WaitGroup
		for i, p := range parts {
			pieces[i] = piece{keys: keysOf[p], parts: []int{p}}
			pending.Add(1)
			byPart[p].run(func(reply []byte) {
				pieces[i].reply = bytes.Clone(reply)
				pending.Done()
			})
		}
		s.srv.flush()
		pending.Wait()
		if !joinErrors(w, row, pieces) {
			g.Join(w, pieces)
		}
	})
}

// spread has f run on a goroutine of its own, as a barrier, once no other node has anything of the session. What it writes becomes the
// reply of the command.
func (s *Session) spread(c *Call, parts []int, f func(w *protocol.Writer)) {
	t := c.newTask(ForwardCommand, nil, parts)
	t.work = f
	if c.Row.Flags&Write != 0 {
		s.noteParts(parts)
	}
	s.send(c, t, c.srv.router.Topology().Self)
}

// joinErrors answers with an error where a piece has one. Where others of a write were executed that must not be an error which
// means that nothing was (R14).
func joinErrors(w *protocol.Writer, row *Row, pieces []piece) bool {
	failed := slices.IndexFunc(pieces, func(p piece) bool { return isError(p.reply) })
	if failed < 0 {
		return false
	}
	executed := slices.ContainsFunc(pieces, func(p piece) bool { return !isError(p.reply) })
	if row.Flags&Write != 0 && executed {
		w.Error(errPartly + string(firstLine(pieces[failed].reply[1:])))
		return true
	}
	if i := slices.IndexFunc(pieces, func(p piece) bool { return isIndeterminate(p.reply) }); i >= 0 {
		failed = i
	}
	w.Raw(pieces[failed].reply)
	return true
}

const errPartly = "INDETERMINATE Executed for some of the keys only; for others the answer was: "

func isError(reply []byte) bool { return len(reply) > 0 && reply[0] == '-' }

func isIndeterminate(reply []byte) bool { return bytes.HasPrefix(reply, []byte("-INDETERMINATE ")) }

// joinOK is for commands that answer OK.
func joinOK(w *protocol.Writer, _ []piece) { w.OK() }

// joinSum adds numbers.
func joinSum(w *protocol.Writer, pieces []piece) {
	var sum int64
	for _, p := range pieces {
		n, _ := protocol.ParseInt(firstLine(p.reply[1:]))
		sum += n
	}
	w.Int(sum)
}

// joinByKey puts the elements of arrays where their keys were in the command.
func joinByKey(w *protocol.Writer, pieces []piece) {
	count := 0
	for _, p := range pieces {
		count += len(p.keys)
	}
	elements := make([][]byte, count)
	for _, p := range pieces {
		for i, element := range replyElements(p.reply) {
			elements[p.keys[i]] = element
		}
	}
	w.Array(count)
	for _, e := range elements {
		w.Raw(e)
	}
}

// joinArrays makes one array of many.
func joinArrays(w *protocol.Writer, pieces []piece) {
	var all [][]byte
	for _, p := range pieces {
		all = append(all, replyElements(p.reply)...)
	}
	w.Array(len(all))
	for _, e := range all {
		w.Raw(e)
	}
}

// replyElements are the elements of an array reply of ours.
func replyElements(reply []byte) (elements [][]byte) {
	line := firstLine(reply)
	count, _ := protocol.ParseInt(line[1:])
	rest := reply[len(line)+2:]
	for range count {
		n := replySize(rest)
		elements = append(elements, rest[:n])
		rest = rest[n:]
	}
	return elements
}

// replySize is the size of the reply at the start of b.
func replySize(b []byte) int {
	line := firstLine(b)
	size := len(line) + 2
	n, _ := protocol.ParseInt(line[1:])
	switch line[0] {
	case '$', '=':
		if n >= 0 {
			size += int(n) + 2
		}
	case '*', '~', '%':
		if line[0] == '%' {
			n *= 2
		}
		for range n {
			size += replySize(b[size:])
		}
	}
	return size
}

// placeWalk places a command about all keys of a database: those of this node at the cluster door, of the whole grid elsewhere.
func (s *Session) placeWalk(c *Call) {
	top := c.srv.router.Topology()
	parts := c.parts[:0]
	alone := true // all the partitions it is about are this node's
	for p := range top.Parts {
		mine := top.Parts[p].Primary == top.Self
		if mine || !s.info.Cluster {
			parts = append(parts, p)
		}
		alone = alone && (mine || s.info.Cluster)
	}
	c.parts = parts
	switch {
	case c.Row.Name == "swapdb" && s.info.Cluster:
		s.reject(c, "ERR SWAPDB is not allowed in cluster mode")
	case c.Row.Name == "swapdb" && top.DataNodes > 1:
		s.reject(c, "ERR SWAPDB is not possible in a grid of several data nodes")
	case alone && !c.Row.OffLoop && s.travels.count == 0:
		c.walk = slices.Clone(parts)
		defer func() { c.walk = nil }()
		start := len(c.W.Buf)
		if c.call() {
			s.noteWrote(c)
			s.awaitCommit(c, start)
			return
		}
		fallthrough
	default:
		s.walk(c, slices.Clone(parts))
	}
}

// walk has a command executed on some partitions, by whoever leads them. It is a barrier.
func (s *Session) walk(c *Call, parts []int) {
	t := c.newTask(ForwardWalk, cloneArgs(c.Args), parts)
	s.spread(c, parts, func(w *protocol.Writer) {
		switch t.row.Name {
		case "scan":
			t.scan(w)
		case "randomkey":
			t.randomKey(w)
		default:
			pieces := t.walk(parts)
			if !joinErrors(w, t.row, pieces) {
				t.row.Gather.Join(w, pieces)
			}
		}
	})
}

// walk has the task executed once on each of some partitions. Those that change hands meanwhile are tried again, alone.
func (t *task) walk(parts []int) (pieces []piece) {
	for left := parts; len(left) > 0; {
		round := t.divide(left)
		answers := make([]Answer, len(round))
		var pending sync.WaitGroup
		for i, p := range round {
			if p.reply != nil {
				continue
			}
			one := *t
			one.parts = p.parts
			pending.Add(1)
			one.attempt(func(a Answer) {
				a.Reply = bytes.Clone(a.Reply)
				answers[i] = a
				pending.Done()
			})
		}
		t.srv.flush()
		pending.Wait()
		left = left[:0:0]
		for i, p := range round {
			switch a := answers[i]; {
			case p.reply != nil:
			case a.Outcome == Executed:
				p.reply = a.Reply
			case a.Outcome == Unknown && t.writes():
				p.reply = errorReply(errIndeterminate)
			case t.srv.clock() >= t.deadline:
				p.reply = errorReply(errNotServed)
			default:
				left = append(left, p.parts...)
				continue
			}
			pieces = append(pieces, p)
		}
		if len(left) > 0 {
			t.pause = min(max(2*t.pause, retryPauseMin), retryPauseMax)
			time.Sleep(t.pause)
		}
	}
	return pieces
}

// divide groups partitions by who leads them. Those that are lost get their answer.
func (t *task) divide(parts []int) (pieces []piece) {
	top := t.srv.router.Topology()
	index := map[NodeID]int{}
	for _, p := range parts {
		owner := top.Parts[p].Primary
		if owner == "" {
			pieces = append(pieces, piece{parts: []int{p}, reply: errorReply(errLost)})
			continue
		}
		i, known := index[owner]
		if !known {
			i = len(pieces)
			index[owner] = i
			pieces = append(pieces, piece{})
		}
		pieces[i].parts = append(pieces[i].parts, p)
	}
	return pieces
}

// scan goes on with a SCAN from the partition that its cursor names. It ends with the keys that were asked for, the partitions, or
// scanPiecesMax of them that had too little.
func (t *task) scan(w *protocol.Writer) {
	c := Call{Args: t.args, W: &protocol.Writer{}}
	cursor, ok := c.scanCursor(1)
	o := scanOptions{}
	if ok {
		o, ok = c.scanOptions(2, cursor, true)
	}
	if !ok {
		w.Raw(c.W.Buf)
		return
	}
	var keys [][]byte
	for range scanPiecesMax {
		var parts []int
		if parts, cursor = t.scanPart(cursor); len(parts) == 0 {
			break
		}
		one := *t
		one.args = slices.Clone(t.args)
		one.args[1] = []byte(strconv.FormatUint(cursor, 10))
		pieces := one.walk(parts)
		if isError(pieces[0].reply) {
			w.Raw(pieces[0].reply)
			return
		}
		elements := replyElements(pieces[0].reply)
		next, _ := protocol.ParseInt(bulkOf(elements[0]))
		keys = append(keys, replyElements(elements[1])...)
		if cursor = uint64(next); cursor == 0 {
			cursor = partition.CursorOf(parts[len(parts)-1] + 1)
		}
		if len(keys) >= o.count {
			break
		}
	}
	if rest, _ := t.scanPart(cursor); len(rest) == 0 {
		cursor = 0
	}
	w.Array(2)
	w.Bulk([]byte(strconv.FormatUint(cursor, 10)))
	w.Array(len(keys))
	for _, k := range keys {
		w.Raw(k)
	}
}

// scanPiecesMax bounds how many nodes one SCAN asks, one after the other, before it answers with less than it was asked for.
const scanPiecesMax = 64

// scanPart is the partition that a cursor names, or the next one that the walk is about; none at the end.
func (t *task) scanPart(cursor uint64) ([]int, uint64) {
	p := partition.OfCursor(cursor)
	if i, found := slices.BinarySearch(t.parts, p); found {
		return t.parts[i : i+1], cursor
	} else if i < len(t.parts) {
		return t.parts[i : i+1], partition.CursorOf(t.parts[i])
	}
	return nil, cursor
}

// randomKey draws a node by how many keys it has, and has it draw one of them.
func (t *task) randomKey(w *protocol.Writer) {
	size := *t
	size.row, size.args = lookupName("dbsize"), [][]byte{[]byte("dbsize")}
	sizes := size.walk(t.parts)
	if joinErrors(w, t.row, sizes) {
		return
	}
	total := int64(0)
	counts := make([]int64, len(sizes))
	for i, p := range sizes {
		counts[i], _ = protocol.ParseInt(firstLine(p.reply[1:]))
		total += counts[i]
	}
	if total == 0 {
		w.Null()
		return
	}
	n := rand.Int64N(total)
	i := 0
	for ; n >= counts[i]; i++ {
		n -= counts[i]
	}
	pieces := t.walk(sizes[i].parts)
	w.Raw(pieces[0].reply)
}

// bulkOf is the content of a bulk string reply.
func bulkOf(reply []byte) []byte {
	line := firstLine(reply)
	return reply[len(line)+2 : len(reply)-2]
}

// encodeParts makes an argument of a list of partitions; decodeParts reads it, false where it is none of parts partitions.
func encodeParts(parts []int) (b []byte) {
	last := -1
	for _, p := range parts {
		b = binary.AppendUvarint(b, uint64(p-last-1))
		last = p
	}
	return b
}

func decodeParts(b []byte, count int) (parts []int, ok bool) {
	last := -1
	for len(b) > 0 {
		gap, n := binary.Uvarint(b)
		if n <= 0 || gap >= uint64(count) || last+1+int(gap) >= count {
			return nil, false
		}
		last += 1 + int(gap)
		parts = append(parts, last)
		b = b[n:]
	}
	return parts, len(parts) > 0
}
