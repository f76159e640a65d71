package client

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/neargrid/neargrid/protocol"
)

// call is what a goroutine waits for: the replies to the command lines it has sent in one piece.
type call struct {
	pool    *sync.Pool
	replies []protocol.Value
	want    int
	seq     uint64                        // its place among all calls of the connection, from 1
	err     error                         // a *ConnError, or nil
	hook    func(i int, v protocol.Value) // called by the reader with each reply, in order with pushes
	then    func(k *call)                 // called in place of waking who waits: nobody does
	waits   bool                          // who enqueues it waits for it next, and for nothing else before
	leads   bool                          // who waits for it reads: set by enqueue
	state   atomic.Uint32
	done    chan struct{} // capacity 1
	one     [1]protocol.Value
}

const (
	callWaiting uint32 = iota
	callAnswered
	callAbandoned // nobody waits any more: whoever would answer it returns it to the pool
)

// newCalls makes a client's pool of calls. Each has its own: a call's channel belongs to the client's goroutines.
func newCalls() *sync.Pool {
	calls := &sync.Pool{}
	calls.New = func() any { return &call{pool: calls, done: make(chan struct{}, 1)} }
	return calls
}

// newCall returns a call for so many replies. It is freed unless wait returned errAbandoned.
func (c *conn) newCall(want int) *call {
	k := c.node.client.calls.Get().(*call)
	k.want, k.err, k.hook, k.then, k.waits, k.leads = want, nil, nil, nil, false, false
	k.state.Store(callWaiting)
	if k.replies = k.one[:0]; want > 1 {
		k.replies = make([]protocol.Value, 0, want)
	}
	return k
}

func (k *call) free() {
	k.replies, k.hook, k.then, k.one[0] = nil, nil, nil, protocol.Value{}
	k.pool.Put(k)
}

// wait returns when all replies have come, or with an error:
//
//	*ConnError    the connection was lost, before or after the command was sent
//	errAbandoned  the context ended; the call is not the caller's any more
func (c *conn) wait(ctx context.Context, k *call) error {
	if k.leads {
		c.lead(ctx, k)
	}
	if ctx.Done() == nil {
		<-k.done
		return k.err
	}
	select {
	case <-k.done:
	case <-ctx.Done():
		if k.state.CompareAndSwap(callWaiting, callAbandoned) {
			return errAbandoned
		}
		<-k.done
	}
	return k.err
}

// roundTrip sends lines in one piece and has take read the replies, which are good until it returns. Errors are those of enqueue and wait.
func (c *conn) roundTrip(ctx context.Context, lines [][]string, take func(replies []protocol.Value)) error {
	k := c.newCall(len(lines))
	k.waits = true
	if err := c.enqueue(ctx, k, lines); err != nil {
		k.free()
		return err
	}
	err := c.wait(ctx, k)
	if err == errAbandoned {
		return err
	}
	if err == nil {
		take(k.replies)
	}
	k.free()
	return err
}

// end tells who waits for a call, or returns the call where nobody does.
func (k *call) end(err error) {
	k.err = err
	if k.then != nil {
		k.then(k)
		k.free()
		return
	}
	if k.state.CompareAndSwap(callWaiting, callAnswered) {
		k.done <- struct{}{}
		return
	}
	k.free()
}
