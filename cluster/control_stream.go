package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/neargrid/neargrid/cluster/core"
	"github.com/neargrid/neargrid/protocol"
)

// Control streams: one request at a time, each with one answer. A message is cut into frames; all but the last say that more
// follows. Its body is in the encoding of encode.go.

// controlMessage is a frame's type. Values are part of the protocol: never reuse one.
type controlMessage uint8

const (
	pullRequest    controlMessage = 1
	pullAnswer     controlMessage = 2
	proposeRequest controlMessage = 3
	proposeAnswer  controlMessage = 4
	// Of R34, between nodes of any generations:
	surveyRequest   controlMessage = 5
	surveyAnswered  controlMessage = 6
	promiseRequest  controlMessage = 7
	promiseAnswered controlMessage = 8
	releaseRequest  controlMessage = 9
	releaseAnswered controlMessage = 10
)

const (
	frameMore = 1 // flag: the message goes on in the next frame

	controlSizeMax = tableSizeMax + 1<<16 // bytes of a message
	controlIdle    = time.Minute          // the server waits for so long for a request
	controlReuse   = 30 * time.Second     // the client uses a stream no more after so long
	controlWrite   = 5 * time.Second      // for an answer to be taken
	controlDial    = time.Second          // for a new stream
	linksIdleMax   = 64                   // peers of whom idle streams are kept
	linksIdleEach  = 2                    // for each of them: one to pull on while another proposes
)

// gridInfo is what a member answers to a pull: of the grid, and what has changed in the table.
type gridInfo struct {
	Member  bool // false: of no grid yet; then all else is empty
	Grid    [16]byte
	Leader  leaderInfo
	Servers serverList
	Delta   core.Delta
	// Generation is that of who answers; it is not in the message, as the handshake tells it.
	Generation Generation
}

// serverList is raft's configuration. Leaders number it, so that the newest is known wherever it comes from; 0: none.
type serverList struct {
	Index   uint64
	Servers []server
}

// server is one node of raft's configuration.
type server struct {
	ID    core.NodeID
	Votes bool
	Addr  string
}

// leaderInfo is who leads, in which term; Term 0: nobody is known to.
type leaderInfo struct {
	Term uint64
	ID   core.NodeID
	Addr string
}

func appendPull(dst []byte, since uint64) []byte {
	var e encoder
	e.uint(since)
	return e.appendTo(dst)
}

func parsePull(b []byte) (since uint64, err error) {
	d := newDecoder(b)
	since = d.uint()
	return since, d.end()
}

func appendInfo(dst []byte, i gridInfo) []byte {
	var e encoder
	e.flag(i.Member)
	e.id(i.Grid)
	e.leader(i.Leader)
	e.uint(i.Servers.Index)
	e.uint(uint64(len(i.Servers.Servers)))
	for _, s := range i.Servers.Servers {
		e.text(string(s.ID))
		e.flag(s.Votes)
		e.text(s.Addr)
	}
	e.bytes(appendDelta(nil, i.Delta))
	return e.appendTo(dst)
}

func parseInfo(b []byte) (i gridInfo, err error) {
	d := newDecoder(b)
	i.Member, i.Grid, i.Leader = d.flag(), d.id(), d.leader()
	i.Servers.Index = d.uint()
	for range d.count(nodesMax) {
		i.Servers.Servers = append(i.Servers.Servers, server{core.NodeID(d.text(nodeIDSizeMax)), d.flag(), d.text(textSizeMax)})
	}
	delta := d.bytes(tableSizeMax)
	if err := d.end(); err != nil {
		return gridInfo{}, err
	}
	i.Delta, err = parseDelta(delta)
	return i, err
}

func (e *encoder) leader(l leaderInfo) {
	e.uint(l.Term)
	e.text(string(l.ID))
	e.text(l.Addr)
}

func (d *decoder) leader() leaderInfo {
	return leaderInfo{Term: d.uint(), ID: core.NodeID(d.text(nodeIDSizeMax)), Addr: d.text(textSizeMax)}
}

// proposal is the answer to a command.
type proposal struct {
	Status proposalStatus
	Leader leaderInfo // who may know better, where it was not taken
	// Of one that was carried out:
	Refused map[int]string
	Reason  string // the whole command was refused
	Cause   uint8  // of Reason, an index into refusalCauses
}

type proposalStatus uint8

const (
	proposalDone     proposalStatus = 0
	proposalNotTaken proposalStatus = 1 // not executed, and not going to be
	proposalUnknown  proposalStatus = 2
	proposalBad      proposalStatus = 3 // the leader cannot read it
)

// refusalCauses are the errors that keep their identity over the wire. Indexes are part of the protocol.
var refusalCauses = []error{nil, core.ErrStale, core.ErrUnknown, core.ErrRefused}

func appendProposal(dst []byte, p proposal) []byte {
	var e encoder
	e.byte(byte(p.Status))
	e.leader(p.Leader)
	e.text(p.Reason)
	e.byte(p.Cause)
	e.uint(uint64(len(p.Refused)))
	for _, i := range slices.Sorted(maps.Keys(p.Refused)) {
		e.uint(uint64(i))
		e.text(p.Refused[i])
	}
	return e.appendTo(dst)
}

func parseProposal(b []byte) (p proposal, err error) {
	d := newDecoder(b)
	p.Status, p.Leader, p.Reason = proposalStatus(d.upTo(byte(proposalBad), "status")), d.leader(), d.text(controlSizeMax)
	p.Cause = d.upTo(byte(len(refusalCauses)-1), "cause")
	for range d.count(partitionsMax) {
		if p.Refused == nil {
			p.Refused = map[int]string{}
		}
		i := d.below(partitionsMax - 1)
		p.Refused[i] = d.text(controlSizeMax)
	}
	return p, d.end()
}

// controlStream reads and writes messages on a Control stream. One goroutine uses it.
type controlStream struct {
	conn   *Conn
	frames *protocol.FrameReader
	idleAt time.Time // when it was last used, while it is idle
}

func newControlStream(c *Conn) *controlStream {
	return &controlStream{conn: c, frames: protocol.NewFrameReader(c)}
}

func (s *controlStream) send(kind controlMessage, body []byte) error {
	var out []byte
	for {
		n := min(len(body), protocol.FrameSizeMax)
		var flags uint16
		if n < len(body) {
			flags = frameMore
		}
		out = protocol.AppendFrame(out, protocol.Frame{Type: uint8(kind), Flags: flags, Payload: body[:n]})
		if body = body[n:]; flags == 0 {
			break
		}
	}
	_, err := s.conn.Write(out)
	return err
}

// receive returns the next message; io.EOF where the peer has ended the stream between two.
func (s *controlStream) receive() (kind controlMessage, body []byte, err error) {
	for first := true; ; first = false {
		f, err := s.frames.Next()
		if err != nil {
			if !first && errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return 0, nil, err
		}
		switch {
		case first:
			kind = controlMessage(f.Type)
		case controlMessage(f.Type) != kind:
			return 0, nil, fmt.Errorf("%w: type %d within a message of type %d", protocol.ErrFrame, f.Type, kind)
		}
		if len(body)+len(f.Payload) > controlSizeMax {
			return 0, nil, fmt.Errorf("%w: a message of more than %d bytes", protocol.ErrFrame, controlSizeMax)
		}
		body = append(body, f.Payload...)
		if f.Flags&frameMore == 0 {
			return kind, body, nil
		}
	}
}

// controlLinks makes requests to peers, over streams that it keeps for further ones.
type controlLinks struct {
	transport *Transport
	mu        struct {
		sync.Mutex
		idle   map[string][]*controlStream // by address; at most linksIdleMax lists of at most linksIdleEach, none of them empty
		closed bool
	}
}

// errNotSent: the request has not reached the peer, so it was not carried out.
var errNotSent = errors.New("the request was not sent")

// notSent is an error that is also errNotSent, without saying so.
type notSent struct{ error }

func (e notSent) Unwrap() []error { return []error{e.error, errNotSent} }

// ask makes a request, within the time of ctx. fresh: over a new stream, for one that was kept may have ended unseen, and then
// the request might seem to be on its way. Errors before anything was sent wrap errNotSent.
func (l *controlLinks) ask(
	ctx context.Context, addr string, fresh bool, kind controlMessage, body []byte, want controlMessage,
) (answer []byte, peer Identity, err error) {
	s, err := l.stream(ctx, addr, fresh)
	if err != nil {
		return nil, peer, notSent{err}
	}
	return l.askOn(ctx, s, addr, kind, body, want)
}

// askOn is ask on a stream, which it keeps or closes.
func (l *controlLinks) askOn(
	ctx context.Context, s *controlStream, addr string, kind controlMessage, body []byte, want controlMessage,
) (answer []byte, peer Identity, err error) {
	peer = s.conn.Peer
	if err := l.transport.Identity().Generation.against(peer.Generation); kind == proposeRequest && err != nil {
		s.conn.Close()
		return nil, peer, notSent{fmt.Errorf("ask %s: %w", addr, err)}
	}
	deadline, _ := ctx.Deadline()
	_ = s.conn.SetDeadline(deadline)
	interrupt := context.AfterFunc(ctx, func() { _ = s.conn.SetDeadline(time.Unix(1, 0)) })
	answer, err = s.exchange(kind, body, want)
	if !interrupt() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		s.conn.Close()
		return nil, peer, fmt.Errorf("ask %s: %w", addr, err)
	}
	l.put(addr, s)
	return answer, peer, nil
}

// stream is an idle stream, or else a new one.
func (l *controlLinks) stream(ctx context.Context, addr string, fresh bool) (*controlStream, error) {
	if !fresh {
		if s := l.take(addr); s != nil {
			return s, nil
		}
	}
	c, err := l.dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	return newControlStream(c), nil
}

func (l *controlLinks) dial(ctx context.Context, addr string) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, controlDial)
	defer cancel()
	return l.transport.Dial(ctx, addr, Control)
}

func (s *controlStream) exchange(kind controlMessage, body []byte, want controlMessage) ([]byte, error) {
	if err := s.send(kind, body); err != nil {
		return nil, err
	}
	got, answer, err := s.receive()
	if err == nil && got != want {
		err = fmt.Errorf("%w: an answer of type %d, and %d was wanted", protocol.ErrFrame, got, want)
	}
	return answer, err
}

func (l *controlLinks) take(addr string) *controlStream {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.mu.idle[addr]
	for len(list) > 0 {
		s := list[len(list)-1]
		list = list[:len(list)-1]
		if len(list) == 0 {
			delete(l.mu.idle, addr)
		} else {
			l.mu.idle[addr] = list
		}
		if time.Since(s.idleAt) <= controlReuse {
			return s
		}
		s.conn.Close()
	}
	return nil
}

func (l *controlLinks) put(addr string, s *controlStream) {
	_ = s.conn.SetDeadline(time.Time{})
	s.idleAt = time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.mu.idle[addr]
	if l.mu.closed || len(list) == linksIdleEach || list == nil && len(l.mu.idle) == linksIdleMax {
		s.conn.Close()
		return
	}
	if l.mu.idle == nil {
		l.mu.idle = map[string][]*controlStream{}
	}
	l.mu.idle[addr] = append(list, s)
}

func (l *controlLinks) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.closed = true
	for _, list := range l.mu.idle {
		for _, s := range list {
			s.conn.Close()
		}
	}
	l.mu.idle = nil
}

// pull asks a peer for the grid, and for what has changed in the table. limit is for a stream to be opened, and once more for the answer:
// a peer that is far has answered over a stream that is open long before one would be opened anew, and closing that stream for want of time
// would have every further pull begin as this one did.
func (l *controlLinks) pull(ctx context.Context, addr string, limit time.Duration, since uint64) (gridInfo, error) {
	opens, cancel := context.WithTimeout(ctx, limit)
	s, err := l.stream(opens, addr, false)
	cancel()
	if err != nil {
		return gridInfo{}, err
	}
	ctx, cancel = context.WithTimeout(ctx, limit)
	defer cancel()
	b, peer, err := l.askOn(ctx, s, addr, pullRequest, appendPull(nil, since), pullAnswer)
	if err != nil {
		return gridInfo{}, err
	}
	i, err := parseInfo(b)
	if err != nil {
		return gridInfo{}, fmt.Errorf("answer of %s: %w", addr, err)
	}
	i.Generation = peer.Generation
	return i, nil
}

// propose sends an encoded command to a peer.
func (l *controlLinks) propose(ctx context.Context, addr string, fresh bool, command []byte) (proposal, error) {
	b, _, err := l.ask(ctx, addr, fresh, proposeRequest, command, proposeAnswer)
	if err != nil {
		return proposal{}, err
	}
	p, err := parseProposal(b)
	if err != nil {
		return proposal{}, fmt.Errorf("answer of %s: %w", addr, err)
	}
	return p, nil
}
