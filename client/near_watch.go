package client

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/neargrid/neargrid/nearcache"
	"github.com/neargrid/neargrid/protocol"
)

// For programs that tell others what the servers tell them, and answer from the near cache without a goroutine for each read.

// NearWatch is told what is out of date of what was read by NearRead, in order with replies, by goroutines that must not wait.
type NearWatch struct {
	Changed func(key []byte, by uint64) // the key may have changed; key is valid during the call only. by is the member of Family that has changed it; 0: others
	Lost    func()                      // any key may have
	Rests   func() bool                 // whether anybody rests on what was read and is not looked up here: leases are renewed for them too
	// Family, where it is not 0, is a number up to 2^63-1 that nobody else has. Commands behind GRID.ORIGIN, the family and a number are a
	// member's.
	Family uint64
}

func (w *NearWatch) changed(key []byte, by uint64) {
	if w != nil {
		w.Changed(key, by)
	}
}

func (w *NearWatch) lost() {
	if w != nil {
		w.Lost()
	}
}

func (w *NearWatch) rests() bool { return w != nil && w.Rests() }

// NearTakes tells whether replies to a command of that name may be held, given a key with one of the prefixes.
func NearTakes(name string) bool {
	return specOf(name).is(flagPure) || name == "MGET" || name == "mget"
}

// NearAnswer writes the reply to a command from the near cache, or returns false where it is not held, may not be used now, or would be
// another in RESP2. The command is one that NearTakes; args are not kept. A hit of GET allocates nothing.
func (c *Client) NearAnswer(w *protocol.Writer, args [][]byte) bool {
	st := c.near.state.Load()
	if st == nil {
		return false
	}
	switch name := args[0]; {
	case len(args) == 2 && len(name) == len("GET") && name[0]|0x20 == 'g':
		return c.near.answer(st, w, args[1], "")
	case len(name) == len("MGET") && name[0]|0x20 == 'm':
		return c.near.answerMany(st, w, args[1:])
	default:
		words := sharedLine(args)
		return (w.Resp == 3 || !shapeDiffers(words)) && c.near.answer(st, w, args[1], viewOf(words))
	}
}

func (n *near) answer(st *nearState, w *protocol.Writer, key []byte, view string) bool {
	if !n.matches(shared(key)) {
		return false
	}
	k := nearcache.NewKeyBytes(n.client.options.DB, key)
	if view != "" {
		k = k.View(view)
	}
	held, ok := st.cache.Get(k, n.now())
	switch {
	case !ok:
		return false
	case held[0] == '$':
		w.Bulk(held[1:])
	case w.Resp == 3:
		w.Raw(held)
	default:
		v, _ := decodeHeld(held)
		w.Buf = protocol.AppendValue2(w.Buf, v)
	}
	return true
}

// answerMany is MGET: all of it is held, or nothing is answered.
func (n *near) answerMany(st *nearState, w *protocol.Writer, keys [][]byte) bool {
	start := len(w.Buf)
	w.Array(len(keys))
	for _, key := range keys {
		if !n.answer(st, w, key, "") {
			w.Buf = w.Buf[:start]
			return false
		}
	}
	return true
}

// shapeDiffers tells whether the reply to a command has another shape in RESP2 than AppendValue2 gives it.
func shapeDiffers(args []string) bool {
	if name := args[0]; len(name) > 3 && (name[0]|0x20) == 'g' && (name[1]|0x20) == 'e' && (name[2]|0x20) == 'o' {
		return true
	}
	for _, arg := range args[2:] {
		if len(arg) >= len("WITHSCORE") && len(arg) <= len("WITHSCORES") && (arg[0]|0x20) == 'w' {
			return true
		}
	}
	return false
}

// NearFits tells whether the reply to a command that NearTakes is one to hold: by its keys, and for a version of the protocol.
func (c *Client) NearFits(resp int, args [][]byte) bool {
	words := sharedLine(args)
	return (resp == 3 || !shapeDiffers(words)) && c.near.takes(specOf(words[0]), words)
}

// NearRead has a command that reads answered by its node, and the reply held where that is one that NearTakes. tracked tells whether NearWatch will be told when it is
// out of date: not where a connection for near reads was not there. The reply is RESP3's. args are kept as long as it runs.
func (c *Client) NearRead(ctx context.Context, args [][]byte) (v protocol.Value, tracked bool, err error) {
	words := sharedLine(args)
	s, st := specOf(words[0]), c.near.state.Load()
	if !c.near.takes(s, words) {
		return c.near.readTracked(ctx, s, words)
	}
	var past atomic.Bool
	read := func(args []string) (v protocol.Value, err error) {
		if st != nil && c.near.matches(args[1]) {
			view := viewOf(args)
			k := nearcache.NewKey(c.options.DB, args[1]).View(view)
			if v, ok, err := c.near.fetchNear(ctx, st, k, view, args); ok {
				return v, err
			}
		}
		past.Store(true)
		return c.near.past(ctx, specOf(args[0]), args)
	}
	if s.is(flagSplit) {
		v, err = c.near.readEach(words, read)
	} else {
		v, err = read(words)
	}
	return v, !past.Load(), err
}

// readTracked has a read executed where its keys are tracked, and holds nothing.
func (n *near) readTracked(ctx context.Context, s *spec, args []string) (v protocol.Value, tracked bool, err error) {
	if owner := n.client.choose(s.slotOf(args), nil); owner != nil {
		conn, err := owner.lanes[laneNear].get(ctx)
		if err == nil {
			if v, err = conn.ask(ctx, args); err == nil {
				return v, true, nil
			}
		}
	}
	v, err = n.past(ctx, s, args)
	return v, false, err
}

// NearLease is what one connection for near reads vouches for.
type NearLease struct {
	Conn  Sent
	Until time.Duration // on the near cache's clock: the end of the lease
	Left  time.Duration // from now; not positive: it has lapsed
}

// NearLeases returns the leases of all connections for near reads.
func (c *Client) NearLeases() (leases []NearLease) {
	now := c.near.now()
	for _, conn := range c.connections() {
		if conn.near != nil && !conn.dead() {
			until := conn.near.until.Load()
			leases = append(leases, NearLease{conn.number, time.Duration(until), time.Duration(until - int64(now))})
		}
	}
	return leases
}

// sharedLine is a command line as strings, which are the bytes.
func sharedLine(args [][]byte) []string {
	words := make([]string, len(args))
	for i, arg := range args {
		words[i] = shared(arg)
	}
	return words
}
