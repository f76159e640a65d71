package client

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/neargrid/neargrid/protocol"
)

// Do sends a command: its name, then its arguments. Errors that a node replies with are returned as errors; a reply without a value is
// not one (Reply.IsNil).
//
// A command goes to the node of its first key. MGET, MSET, DEL, UNLINK, EXISTS and TOUCH take keys of any nodes; commands about all
// keys, such as DBSIZE and FLUSHALL, are sent to every node where a node tells of its own keys alone. Such a command is several commands,
// one after the other: others may see some of them done, and where it fails some may have been executed.
func (c *Client) Do(ctx context.Context, args ...string) (Reply, error) {
	if len(args) == 0 {
		return Reply{}, errors.New("neargrid: Do got no command")
	}
	s := specOf(args[0])
	if err := s.shared(args); err != nil {
		return Reply{}, err
	}
	v, err := c.dispatch(ctx, s, args)
	return Reply{v}, err
}

// dispatch has a command served from the near cache, or sent; a near cache learns of what was sent either way.
func (c *Client) dispatch(ctx context.Context, s *spec, args []string) (protocol.Value, error) {
	if c.near == nil {
		return c.route(ctx, s, args)
	}
	if c.near.takes(s, args) {
		return c.near.read(ctx, s, args)
	}
	c.near.sending(s, args)
	v, err := c.route(ctx, s, args)
	c.near.answered(s, args)
	return v, err
}

// route sends a command where it belongs.
func (c *Client) route(ctx context.Context, s *spec, args []string) (protocol.Value, error) {
	t := c.table.Load()
	switch {
	case s.is(flagBlocks) && mayBlock(s, args):
		return c.exclusively(ctx, s, args)
	case s.is(flagSplit) && t.splits() && len(args) > int(s.step)+1:
		return c.split(ctx, t, s, args)
	case s.is(flagNodes) && t.perNode && len(t.nodes) > 1:
		return c.everywhere(ctx, t, s, args)
	}
	return c.one(ctx, s, args, s.slotOf(args), nil)
}

// attempts is what becomes of one command over time.
type attempts struct {
	c         *Client
	began     time.Time // of the first failure
	count     int
	redirects int
	pause     time.Duration
}

// trial is a command, or what stands for several, that is tried at one node after the other.
type trial struct {
	s    *spec
	args []string
	slot int
	to   *node // the first, in place of the slot's; without a slot no other will do
	asks bool  // it can be asked for keys that are on their way: ASK is followed
}

// try has a command attempted until it is executed, or that cannot be known or waited for. An attempt returns the error that the node
// replied with, or what went wrong on the way.
func (c *Client) try(ctx context.Context, t trial, attempt func(n *node, asking bool) (refusal *ServerError, err error)) error {
	a := attempts{c: c}
	var failed, pinned *node
	if t.slot < 0 {
		pinned = t.to
	}
	to, asking := t.to, false
	for {
		n := to
		if n == nil {
			n = c.choose(t.slot, failed)
		}
		refusal, err := attempt(n, asking)
		to, asking, failed = pinned, false, nil
		switch {
		case err != nil:
			failed = n
			if done := c.settle(ctx, t.s, n, t.args, err); done != nil {
				return done
			}
		case refusal == nil:
			return nil
		case !notExecuted(refusal.Code, refusal.Text):
			return c.final(n, t.args, refusal)
		default:
			if next, ask := c.redirect(n, refusal); next != nil && (t.asks || !ask) && a.follow() {
				to, asking = next, ask
				continue
			}
			err = refusal
		}
		if err := a.again(ctx, err); err != nil {
			return err
		}
	}
}

// one sends a command to the node of a slot until it is executed, or that cannot be known or waited for. With slot -1 it goes to the
// node given, or to any.
func (c *Client) one(ctx context.Context, s *spec, args []string, slot int, to *node) (v protocol.Value, err error) {
	if !c.used.Load() {
		c.used.Store(true)
	}
	lines, lane := [1][]string{args}, laneOf(args)
	t := trial{s: s, args: args, slot: slot, to: to, asks: true}
	err = c.try(ctx, t, func(n *node, asking bool) (refusal *ServerError, err error) {
		if v, err = c.send(ctx, n, lane, lines[:], asking); err == nil && v.IsError() {
			refusal = serverError(n.addr, v.Str)
		}
		return refusal, err
	})
	return v, err
}

// choose returns the node of a slot, or any where it has none or no key is concerned. Where nodes forward, another than the one that
// has just failed will do.
func (c *Client) choose(slot int, failed *node) *node {
	t := c.table.Load()
	if slot < 0 {
		return c.anyNode(t, failed)
	}
	n := t.owner(slot)
	if n == nil || n == failed && t.kind == tableGrid && !t.perNode {
		return c.anyNode(t, failed)
	}
	return n
}

// send sends command lines to a node in one piece and returns the last reply. errAbandoned says that the context ended
// after the command was sent, or was about to be.
func (c *Client) send(ctx context.Context, n *node, lane int, lines [][]string, asking bool) (v protocol.Value, err error) {
	if err := ctx.Err(); err != nil {
		return v, &ConnError{Node: n.addr, Op: "send", Err: err}
	}
	conn, err := n.lanes[lane].get(ctx)
	if err != nil {
		return v, err
	}
	if asking {
		lines = append([][]string{{"ASKING"}}, lines...)
	}
	err = conn.roundTrip(ctx, lines, func(replies []protocol.Value) { v = replies[len(replies)-1] })
	return v, err
}

// laneOf chooses the connection: large requests have one of their own.
func laneOf(args []string) int {
	size := 0
	for _, arg := range args {
		size += len(arg)
	}
	if size >= bulkBytes {
		return laneBulk
	}
	return laneMain
}

// settle returns what a command ends with whose attempt failed on the way, or nil where it may be tried again.
func (c *Client) settle(ctx context.Context, s *spec, n *node, args []string, err error) error {
	name := strings.ToUpper(args[0])
	if err == errAbandoned {
		err = &ConnError{Node: n.addr, Op: "read", Sent: true, Err: ctx.Err()}
		if s.is(flagRead) {
			return err
		}
		return &IndeterminateError{Node: n.addr, Command: name, Err: err}
	}
	var e *ConnError
	if errors.As(err, &e) && e.Sent && !s.is(flagRead) {
		return &IndeterminateError{Node: n.addr, Command: name, Err: err}
	}
	if errors.Is(err, ErrClosed) || ctx.Err() != nil {
		return err
	}
	var refused *ServerError // what the connection was to begin with: a password that is wrong stays wrong
	if errors.As(err, &refused) && !notExecuted(refused.Code, refused.Text) {
		return err
	}
	return nil
}

// final is the error of a reply that ends a command.
func (c *Client) final(n *node, args []string, e *ServerError) error {
	if e.Code == "INDETERMINATE" {
		return &IndeterminateError{Node: n.addr, Command: strings.ToUpper(args[0]), Err: e}
	}
	return e
}

// redirect returns the node that a reply names, and whether it wants to be asked for keys on their way to it. Any reply that says the
// command was not executed is a reason to look at the table again.
func (c *Client) redirect(from *node, e *ServerError) (to *node, asking bool) {
	if e.Code != "ASK" {
		c.refreshSoon()
	}
	if e.Code != "MOVED" && e.Code != "ASK" {
		return nil, false
	}
	words := strings.Fields(e.Text)
	if len(words) < 3 {
		return nil, false
	}
	addr := words[2]
	if i := strings.LastIndexByte(addr, ':'); i >= 0 {
		port, err := strconv.ParseInt(addr[i+1:], 10, 64)
		if err != nil {
			return nil, false
		}
		addr = joinPort(strings.Trim(addr[:i], "[]"), port, from.addr)
	}
	if addr == "" || c.options.Direct {
		return nil, false
	}
	return c.nodeAt(addr), e.Code == "ASK"
}

// follow tells whether one more redirection is followed at once.
func (a *attempts) follow() bool {
	a.redirects++
	return a.redirects <= redirectsMax
}

// again waits until the next attempt, or returns why there is none: err is what the last one ended with. Nothing was executed.
func (a *attempts) again(ctx context.Context, err error) error {
	a.c.refreshSoon()
	now := time.Now()
	if a.count++; a.count == 1 {
		a.began = now
	}
	limit := a.c.options.RetryTime
	if limit < 0 {
		return err
	}
	a.pause = min(max(2*a.pause, backoffFirst), backoffMax)
	pause := a.c.jitter(a.pause)
	next := now.Add(pause)
	if next.Sub(a.began) > limit {
		return &GaveUpError{Attempts: a.count, Reason: "RetryTime of " + limit.String() + " is over", Err: err}
	}
	if deadline, ok := ctx.Deadline(); ok && next.After(deadline) {
		return &GaveUpError{Attempts: a.count, Reason: "the context's deadline is near", Err: err}
	}
	if !sleep(ctx, pause) {
		return &GaveUpError{Attempts: a.count, Reason: ctx.Err().Error(), Err: err}
	}
	return nil
}

func itoa(n int) string { return strconv.Itoa(n) }
