package client

import (
	"context"
	"errors"
	"strings"

	"github.com/neargrid/neargrid/protocol"
)

// Result is what has become of one command of a pipeline.
type Result struct {
	Reply
	Err error
}

// wordsMin is for how many words of commands a pipeline makes room at a time.
const wordsMin = 64

// Pipeline gathers commands and sends them together. It is used by one goroutine, once.
type Pipeline struct {
	c     *Client
	lines [][]string
	words []string // what lines are made of, and room for more
	multi bool
	on    *Session // whose connection it uses; nil: those of the client
	err   error    // of what was queued
}

// Pipeline returns an empty pipeline. Its commands are sent to the nodes of their first keys, all without waiting for a reply. Each is on
// its own: one may fail and others not. Commands on keys of one partition are executed in their order, as long as it stays with its node.
func (c *Client) Pipeline() *Pipeline { return &Pipeline{c: c} }

// Multi returns an empty transaction: its commands are executed together, with none of others between them (MULTI, EXEC). Their keys must
// be in one slot: see ErrCrossSlot. Commands without keys are refused by some servers.
func (c *Client) Multi() *Pipeline { return &Pipeline{c: c, multi: true} }

// Do queues a command. What cannot be queued is told by Exec.
func (p *Pipeline) Do(args ...string) {
	if p.err != nil {
		return
	}
	if len(args) == 0 {
		p.err = errors.New("neargrid: Pipeline.Do got no command")
		return
	}
	s := specOf(args[0])
	if p.err = s.shared(args); p.err != nil {
		return
	}
	if s.is(flagBlocks) && mayBlock(s, args) && !p.multi {
		p.err = &RefusedError{Command: strings.ToUpper(args[0]), Advice: "it may block what comes behind it in the pipeline; use Client.Do"}
		return
	}
	if len(args) > cap(p.words)-len(p.words) {
		p.words = make([]string, 0, max(len(args), wordsMin))
	}
	start := len(p.words)
	p.words = append(p.words, args...)
	p.lines = append(p.lines, p.words[start:len(p.words):len(p.words)])
}

// Len returns how many commands are queued.
func (p *Pipeline) Len() int { return len(p.lines) }

// Exec sends what is queued and returns a result for each command, in order. The error is the first of theirs, or says why nothing
// was sent or, of a transaction, why none of it was executed.
func (p *Pipeline) Exec(ctx context.Context) ([]Result, error) {
	if p.err != nil || len(p.lines) == 0 {
		return nil, p.err
	}
	if p.c.near != nil {
		for _, line := range p.lines {
			p.c.near.sending(specOf(line[0]), line)
		}
	}
	results, err := p.exec(ctx)
	if p.c.near != nil {
		for _, line := range p.lines {
			p.c.near.answered(specOf(line[0]), line)
		}
	}
	for i := range results {
		if err == nil && results[i].Err != nil {
			err = results[i].Err
		}
	}
	return results, err
}

func (p *Pipeline) exec(ctx context.Context) ([]Result, error) {
	switch {
	case p.multi:
		return p.transact(ctx)
	case p.on != nil:
		return p.on.pipeline(ctx, p.lines)
	}
	t := p.c.table.Load()
	for _, line := range p.lines {
		if s := specOf(line[0]); s.is(flagNodes) && t.perNode && len(t.nodes) > 1 {
			return nil, &RefusedError{Command: strings.ToUpper(line[0]), Advice: "it concerns all nodes, and a pipeline's command goes to one; use Client.Do"}
		}
	}
	return p.c.batch(ctx, p.lines), nil
}

// part is what of a batch one node gets in one piece.
type part struct {
	node   *node
	places []int // in the batch
	lines  [][]string
	bytes  int
	conn   *conn
	call   *call
	err    error
}

// batch sends commands to their nodes, all before it waits for any, and then those again, one by one, that were not executed.
func (c *Client) batch(ctx context.Context, lines [][]string) []Result {
	if !c.used.Load() {
		c.used.Store(true)
	}
	results := make([]Result, len(lines))
	again := make([]bool, len(lines))
	parts := c.divide(lines)
	for _, p := range parts {
		p.start(ctx, len(parts) == 1)
	}
	for _, p := range parts {
		p.finish(ctx, lines, results, again)
	}
	for i, line := range lines {
		if again[i] {
			s := specOf(line[0])
			v, err := c.one(ctx, s, line, s.slotOf(line), nil)
			results[i] = Result{Reply{v}, err}
		}
	}
	return results
}

// divide puts the commands of a batch together by node, in their order.
func (c *Client) divide(lines [][]string) []*part {
	open := map[*node]*part{} // the one that is filled
	var parts []*part
	var p *part
	for i, line := range lines {
		n := c.choose(specOf(line[0]).slotOf(line), nil)
		if p == nil || p.node != n {
			p = open[n]
		}
		if p == nil || len(p.lines) == pipelineMax {
			p = &part{node: n}
			if len(parts) == 0 { // most often it has them all
				p.places, p.lines = make([]int, 0, min(len(lines), pipelineMax)), make([][]string, 0, min(len(lines), pipelineMax))
			}
			open[n] = p
			parts = append(parts, p)
		}
		p.places = append(p.places, i)
		p.lines = append(p.lines, line)
		for _, arg := range line {
			p.bytes += len(arg)
		}
	}
	// All parts of a node take the same way, or they would not be executed in order.
	total := map[*node]int{}
	for _, p := range parts {
		total[p.node] += p.bytes
	}
	for _, p := range parts {
		p.bytes = total[p.node]
	}
	return parts
}

// start sends a part. only tells whether its replies are all that is waited for.
func (p *part) start(ctx context.Context, only bool) {
	if p.err = ctx.Err(); p.err != nil {
		p.err = &ConnError{Node: p.node.addr, Op: "send", Err: p.err}
		return
	}
	lane := laneMain
	if p.bytes >= bulkBytes {
		lane = laneBulk
	}
	if p.conn, p.err = p.node.lanes[lane].get(ctx); p.err != nil {
		return
	}
	p.call = p.conn.newCall(len(p.lines))
	p.call.waits = only
	if p.err = p.conn.enqueue(ctx, p.call, p.lines); p.err != nil {
		p.call.free()
	}
}

// finish waits for a part's replies, and marks those of its commands that were not executed and may be sent again.
func (p *part) finish(ctx context.Context, lines [][]string, results []Result, again []bool) {
	c := p.node.client
	if p.err == nil {
		if p.err = p.conn.wait(ctx, p.call); p.err == nil {
			for i, place := range p.places {
				results[place], again[place] = c.outcome(p.node, lines[place], p.call.replies[i])
			}
		}
		if p.err != errAbandoned {
			p.call.free()
		}
	}
	if p.err == nil {
		return
	}
	for _, place := range p.places {
		s := specOf(lines[place][0])
		err := c.settle(ctx, s, p.node, lines[place], p.err)
		results[place], again[place] = Result{Err: err}, err == nil
	}
}

// outcome reads one reply of a batch, and tells whether its command is to be sent again.
func (c *Client) outcome(n *node, line []string, v protocol.Value) (r Result, again bool) {
	r.v = v
	if !v.IsError() {
		return r, false
	}
	e := serverError(n.addr, v.Str)
	if notExecuted(e.Code, e.Text) {
		if e.Code != "ASK" {
			c.refreshSoon()
		}
		if c.options.RetryTime > 0 || e.Code == "MOVED" || e.Code == "ASK" {
			return r, true
		}
	}
	r.Err = c.final(n, line, e)
	return r, false
}
