package client

import (
	"context"
	"strings"

	"github.com/neargrid/neargrid/protocol"
)

// piece is the part of a command that one slot, or one node, executes.
type piece struct {
	args   []string
	places []int // of its keys among the command's, from 0
}

// split sends a command over many keys in pieces and joins the replies: MGET's values in the order of the keys; MSET's OK; the
// sum of the counts of the others. All pieces are tried, and the first error is returned; then some may have been executed.
func (c *Client) split(ctx context.Context, t *table, s *spec, args []string) (protocol.Value, error) {
	pieces := cut(t, s, args)
	if len(pieces) == 1 {
		return c.one(ctx, s, args, s.slotOf(args), nil)
	}
	lines := make([][]string, len(pieces))
	for i := range pieces {
		lines[i] = pieces[i].args
	}
	replies := c.batch(ctx, lines)
	name := strings.ToUpper(args[0])
	for i := range replies {
		if err := replies[i].Err; err != nil {
			return protocol.Value{}, partly(name, replies, err)
		}
	}
	switch name {
	case "MSET":
		return replies[0].v, nil
	case "MGET":
		joined := protocol.Value{Kind: '*', Elems: make([]protocol.Value, len(args)-1)}
		for i, p := range pieces {
			if len(replies[i].v.Elems) != len(p.places) {
				return joined, Reply{replies[i].v}.mismatch("as many values as keys")
			}
			for j, place := range p.places {
				joined.Elems[place] = replies[i].v.Elems[j]
			}
		}
		return joined, nil
	}
	return sum(replies), nil
}

// partly is the error of a command some of whose pieces may have been executed: then it is not NotExecuted, whatever one piece says.
func partly(name string, replies []Result, err error) error {
	if specOf(name).is(flagRead) || !NotExecuted(err) {
		return err
	}
	for i := range replies {
		if replies[i].Err == nil || !NotExecuted(replies[i].Err) {
			return &IndeterminateError{Node: "(several)", Command: name, Err: err}
		}
	}
	return err
}

func sum(replies []Result) protocol.Value {
	total := protocol.Value{Kind: ':'}
	for i := range replies {
		total.Int += replies[i].v.Int
	}
	return total
}

// cut divides a command by slot where servers want one, else by node.
func cut(t *table, s *spec, args []string) []piece {
	bySlot := t.perNode
	step := int(s.step)
	index := map[any]int{}
	var pieces []piece
	for i := 1; i+step <= len(args); i += step {
		slot := Slot(args[i])
		var where any = slot
		if !bySlot {
			where = t.owner(slot)
		}
		at, ok := index[where]
		if !ok {
			at = len(pieces)
			index[where] = at
			pieces = append(pieces, piece{args: []string{args[0]}})
		}
		pieces[at].args = append(pieces[at].args, args[i:i+step]...)
		pieces[at].places = append(pieces[at].places, (i-1)/step)
	}
	if (len(args)-1)%step != 0 { // wrong, for the server to say
		return []piece{{args: args}}
	}
	return pieces
}

// everywhere sends a command about all keys to every node that tells of its own alone, and joins the replies: DBSIZE's sum, KEYS's list;
// of others the first. All nodes are asked; the first error is returned.
func (c *Client) everywhere(ctx context.Context, t *table, s *spec, args []string) (protocol.Value, error) {
	name := strings.ToUpper(args[0])
	if name == "SCAN" {
		return protocol.Value{}, &RefusedError{Command: name, Advice: "its cursor is that of one node; use Client.Scan"}
	}
	if name == "RANDOMKEY" {
		return c.randomKey(ctx, t, s, args)
	}
	replies := make([]Result, len(t.nodes))
	for i, n := range t.nodes {
		v, err := c.one(ctx, s, args, -1, n)
		replies[i] = Result{Reply{v}, err}
	}
	for i := range replies {
		if err := replies[i].Err; err != nil {
			return protocol.Value{}, partly(name, replies, err)
		}
	}
	switch name {
	case "DBSIZE":
		return sum(replies), nil
	case "KEYS":
		joined := protocol.Value{Kind: '*'}
		for i := range replies {
			joined.Elems = append(joined.Elems, replies[i].v.Elems...)
		}
		return joined, nil
	}
	return replies[0].v, nil
}

// randomKey asks one node after the other until one has keys.
func (c *Client) randomKey(ctx context.Context, t *table, s *spec, args []string) (v protocol.Value, err error) {
	start := c.anyNode(t, nil)
	if v, err = c.one(ctx, s, args, -1, start); err != nil || !v.Null {
		return v, err
	}
	for _, n := range t.nodes {
		if v, err = c.one(ctx, s, args, -1, n); err != nil || !v.Null {
			return v, err
		}
	}
	return v, nil
}
