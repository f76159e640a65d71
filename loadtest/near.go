package loadtest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/neargrid/neargrid/client"
)

// Near is a target through package client with a near cache: what a Go program sees that keeps copies of what it reads. Each client of a
// run is one program, with a near cache and connections of its own; the operations that it has under way are its goroutines.
type Near struct {
	RESP  *RESP            // where it is, and what is asked of it; not as a Redis Cluster, as package client finds the nodes by itself
	Cache client.NearCache // without Prefixes, all keys of the run

	mu struct {
		sync.Mutex
		clients map[*nearClient]struct{}
	}
}

func (t *Near) String() string { return "near:" + t.RESP.String() }

// Dial connects one client.
func (t *Near) Dial(ctx context.Context, events Events) (Client, error) {
	cache := t.Cache
	if len(cache.Prefixes) == 0 {
		cache.Prefixes = []string{t.RESP.Prefix}
	}
	conn, err := client.Connect(ctx, []string{t.RESP.Addr}, client.Options{Password: t.RESP.Password, TLS: t.RESP.TLS, NearCache: &cache})
	if err != nil {
		return nil, &UnreachableError{t.RESP.Addr, err}
	}
	c := &nearClient{target: t, events: events, conn: conn}
	c.ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.clients == nil {
		t.mu.clients = map[*nearClient]struct{}{}
	}
	t.mu.clients[c] = struct{}{}
	return c, nil
}

// nearReads are the look-ups so far of the clients that there are, and how many of them memory answered.
func (t *Near) nearReads() NearReads {
	t.mu.Lock()
	defer t.mu.Unlock()
	sum := NearReads{}
	for c := range t.mu.clients {
		stats, _ := c.conn.NearStats()
		sum.Hits += uint64(stats.Hits)
		sum.Reads += uint64(stats.Hits + stats.Misses())
	}
	return sum
}

// nearClient carries out each operation on one of its workers. A worker whose operation has ended has the driver start further ones, and takes
// one of those itself: a closed loop goes on without a change of goroutine.
type nearClient struct {
	target  *Near
	events  Events
	conn    *client.Client
	ctx     context.Context // until Close
	cancel  context.CancelFunc
	workers sync.WaitGroup

	mu struct {
		sync.Mutex
		closed bool
		queue  queue[Op]
		coming int // workers that will look into the queue; 0 <= coming
	}
}

func (c *nearClient) Start(op Op) {
	c.mu.Lock()
	closed := c.mu.closed
	if !closed {
		c.mu.queue.push(op)
	}
	c.mu.Unlock()
	if closed {
		c.events.Done(op, c.tooLate(op))
	}
}

func (c *nearClient) tooLate(op Op) Result {
	return Result{Failure: unanswered, Detail: c.target.RESP.describe(op) + ": the run was over"}
}

// Flush has as many workers come as there are operations for.
func (c *nearClient) Flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.mu.coming < c.mu.queue.count {
		c.mu.coming++
		c.workers.Go(c.work)
	}
}

func (c *nearClient) work() {
	for {
		c.mu.Lock()
		c.mu.coming--
		op, ok := c.mu.queue.pop()
		c.mu.Unlock()
		if !ok {
			return
		}
		c.events.Done(op, c.carryOut(op))
		c.mu.Lock()
		c.mu.coming++
		c.mu.Unlock()
		c.events.Turn()
	}
}

// Close ends what is under way. What waits for a worker is ended here, so that none comes any more.
func (c *nearClient) Close() {
	c.mu.Lock()
	c.mu.closed = true
	var left []Op
	for op, ok := c.mu.queue.pop(); ok; op, ok = c.mu.queue.pop() {
		left = append(left, op)
	}
	c.mu.Unlock()
	c.cancel()
	for _, op := range left {
		c.events.Done(op, c.tooLate(op))
	}
	c.workers.Wait()
	c.target.mu.Lock()
	delete(c.target.mu.clients, c)
	c.target.mu.Unlock()
	c.conn.Close()
}

func (c *nearClient) carryOut(op Op) Result {
	switch op.Kind {
	case Read, ReadModifyWrite:
		return c.read(op)
	case Scan:
		return c.scan(op)
	}
	return c.write(op)
}

func (c *nearClient) read(op Op) Result {
	t := c.target.RESP
	value, err := c.conn.Get(c.ctx, string(t.appendName(nil, op.Key)))
	answer := reply{kind: '$', size: len(value), text: []byte(value[:min(len(value), headSize)])}
	switch {
	case errors.Is(err, client.ErrNil):
		answer = reply{kind: '$', null: true}
	case err != nil:
		return c.failed(op, err)
	}
	result := t.judgeRead(op, answer)
	if result.Failure != "" {
		return result
	}
	fill := op.Kind == Read && result.Misses > 0 && t.ReadThrough
	if fill {
		c.awaitSource()
	}
	if fill || op.Kind == ReadModifyWrite {
		written := c.write(op)
		result.Failure, result.Detail = written.Failure, written.Detail
		result.Filled = fill && written.Failure == ""
	}
	return result
}

func (c *nearClient) awaitSource() {
	timer := time.NewTimer(c.target.RESP.Source)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.ctx.Done():
	}
}

func (c *nearClient) write(op Op) Result {
	t := c.target.RESP
	value := string(appendValue(nil, op.Key, int(op.Size)))
	if err := c.conn.Set(c.ctx, string(t.appendName(nil, op.Key)), value, t.TTL); err != nil {
		return c.failed(op, err)
	}
	return Result{}
}

func (c *nearClient) scan(op Op) (result Result) {
	t := c.target.RESP
	names := make([]string, op.Count)
	for i := range names {
		names[i] = string(t.appendName(nil, op.Key+uint64(i)))
	}
	values, err := c.conn.MGet(c.ctx, names...)
	if err != nil {
		return c.failed(op, err)
	}
	answer := reply{kind: '*', size: len(values)}
	for _, v := range values {
		if !v.OK {
			answer.nulls++
		}
	}
	return t.judgeRead(op, answer)
}

// failed words an error of package client as those of other targets are.
func (c *nearClient) failed(op Op, err error) Result {
	kind := Connection
	var refused *client.ServerError
	switch {
	case c.ctx.Err() != nil:
		kind = unanswered
	case client.IsIndeterminate(err):
		kind = "INDETERMINATE"
	case errors.As(err, &refused):
		kind = Failure(refused.Code)
	}
	return Result{Failure: kind, Detail: c.target.RESP.describe(op) + ": " + err.Error()}
}
