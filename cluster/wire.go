package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/neargrid/neargrid/cluster/core"
	"github.com/neargrid/neargrid/protocol"
)

// What replicas say to each other, as bytes. Who says it and to whom is known from the stream's handshake. Numbers are
// varints, bounds have 8 bytes, bytes their length before them.

// messageKind is the type of a message's frames.
type messageKind uint8

const (
	appendMessage messageKind = 1
	chunkMessage  messageKind = 2
	ackMessage    messageKind = 3
	// digestMessage asks a copy for its digest, and digestAnswer has it (R21).
	digestMessage messageKind = 4
	digestAnswer  messageKind = 5
)

// Flags of a frame.
const (
	moreFollows  = 1 // its message goes on in the next one (R18)
	manyMessages = 2 // it has several whole messages
)

// messageSizeMax bounds a message that is put together from frames: as large as a batch or one key's value may be.
const messageSizeMax = 1 << 32

// errMessage is wrapped by what is wrong with the bytes of a message, of replication or forwarding.
var errMessage = errors.New("malformed message")

// appendFrames appends a message as one frame, or as many as it needs.
func appendFrames(dst []byte, kind messageKind, message []byte) []byte {
	for len(message) > protocol.FrameSizeMax {
		dst = protocol.AppendFrame(dst, protocol.Frame{Type: uint8(kind), Flags: moreFollows, Payload: message[:protocol.FrameSizeMax]})
		message = message[protocol.FrameSizeMax:]
	}
	return protocol.AppendFrame(dst, protocol.Frame{Type: uint8(kind), Payload: message})
}

// frameWriter gathers messages as frames. Small messages of one kind that follow each other share a frame, each with its length, in two
// bytes, before it: a frame of its own costs more than most of what nodes have to say about one command.
type frameWriter struct {
	buf     []byte
	shared  bool        // a frame goes on that messages share
	start   int         // of that frame, in buf
	kind    messageKind // of its messages
	message int         // where the message that is being written has its length, in buf
}

// frameSharedBytes bounds the payload of a frame that messages share.
const frameSharedBytes = 16 << 10

// begin makes room for a message of at most size bytes in a frame that is shared: the caller appends it to buf, and calls end. It returns
// false where that is too large: then the message is to be added.
func (w *frameWriter) begin(kind messageKind, size int) bool {
	size += 2
	if size > frameSharedBytes {
		return false
	}
	if w.shared && (w.kind != kind || len(w.buf)-w.start-protocol.FrameHeaderSize+size > frameSharedBytes) {
		w.flush()
	}
	if !w.shared {
		w.shared, w.start, w.kind = true, len(w.buf), kind
		w.buf = protocol.BeginFrame(w.buf, uint8(kind), manyMessages)
	}
	w.message = len(w.buf)
	w.buf = append(w.buf, 0, 0)
	return true
}

// end completes a message.
func (w *frameWriter) end() {
	binary.LittleEndian.PutUint16(w.buf[w.message:], uint16(len(w.buf)-w.message-2))
}

// add gathers a message of any size in frames of its own.
func (w *frameWriter) add(kind messageKind, message []byte) {
	w.flush()
	w.buf = appendFrames(w.buf, kind, message)
}

// flush completes the frame that goes on. Without it buf is not to be sent.
func (w *frameWriter) flush() {
	if w.shared {
		w.buf, w.shared = protocol.EndFrame(w.buf, w.start), false
	}
}

// messageReader puts messages together from a stream's frames.
type messageReader struct {
	frames *protocol.FrameReader
	parts  []byte      // of a message that goes on
	kind   messageKind // its kind, if goesOn; or that of many
	goesOn bool
	many   []byte // of a frame with several messages: those that were not returned yet
}

// newStreamReader reads messages from a stream on which much comes at a time.
func newStreamReader(conn *Conn) messageReader {
	return messageReader{frames: protocol.NewFrameReaderSize(conn, streamReadBytes)}
}

// streamReadBytes is the size of a stream's read buffer: what one read brings is executed, and answered, together.
const streamReadBytes = 64 << 10

// ready tells whether a frame, or what is left of one, can be taken without reading.
func (r *messageReader) ready() bool { return len(r.many) > 0 || r.frames.Ready() }

// next returns a message, valid until the next call.
func (r *messageReader) next() (kind messageKind, message []byte, err error) {
	for whole := false; !whole && err == nil; {
		kind, message, whole, err = r.frame()
	}
	return kind, message, err
}

// frame takes one frame, or one message of several in a frame. It returns a message, valid until the next call, where that was its last one.
func (r *messageReader) frame() (kind messageKind, message []byte, whole bool, err error) {
	if len(r.many) > 0 {
		message, err = r.oneOfMany()
		return r.kind, message, true, err
	}
	if !r.goesOn {
		r.parts = r.parts[:0]
		if cap(r.parts) > messageKeepBytes {
			r.parts = nil
		}
	}
	f, err := r.frames.Next()
	if err != nil {
		return 0, nil, false, err
	}
	if f.Flags&manyMessages != 0 {
		if r.goesOn || f.Flags&moreFollows != 0 || len(f.Payload) == 0 {
			return 0, nil, false, fmt.Errorf("%w: a frame of many messages that is a part of one, or has none", errMessage)
		}
		r.kind, r.many = messageKind(f.Type), f.Payload
		message, err = r.oneOfMany()
		return r.kind, message, true, err
	}
	more := f.Flags&moreFollows != 0
	if !r.goesOn && !more {
		return messageKind(f.Type), f.Payload, true, nil
	}
	if !r.goesOn {
		r.kind = messageKind(f.Type)
	}
	if messageKind(f.Type) != r.kind || len(r.parts)+len(f.Payload) > messageSizeMax {
		return 0, nil, false, fmt.Errorf("%w: frames of two messages mixed, or more than %d bytes", errMessage, int64(messageSizeMax))
	}
	r.parts = append(r.parts, f.Payload...)
	r.goesOn = more
	return r.kind, r.parts, !more, nil
}

// oneOfMany takes the next message of a frame that has several.
func (r *messageReader) oneOfMany() (message []byte, err error) {
	if len(r.many) < 2 {
		return nil, fmt.Errorf("%w: what is left of its frame is none", errMessage)
	}
	size := 2 + int(binary.LittleEndian.Uint16(r.many))
	if size > len(r.many) {
		return nil, fmt.Errorf("%w: it is longer than its frame", errMessage)
	}
	message, r.many = r.many[2:size:size], r.many[size:]
	return message, nil
}

// messageKeepBytes: a larger buffer is not kept from one message to the next.
const messageKeepBytes = 1 << 20

// appendSizeMax bounds the size of an append.
func appendSizeMax(a *core.Append) int {
	size := 8 * binary.MaxVarintLen64
	for i := range a.Entries {
		size += 3*binary.MaxVarintLen64 + len(a.Entries[i].Payload)
	}
	return size
}

func appendAppend(dst []byte, a *core.Append) []byte {
	for _, v := range []uint64{uint64(a.Partition), a.Reign, a.Stint, a.Prev, a.PrevEpoch, a.Commit, a.Ticket, uint64(len(a.Entries))} {
		dst = binary.AppendUvarint(dst, v)
	}
	for i := range a.Entries {
		e := &a.Entries[i]
		dst = binary.AppendUvarint(dst, e.Epoch)
		dst = binary.AppendUvarint(dst, uint64(e.TimeMs))
		dst = appendLengthBytes(dst, e.Payload)
	}
	return dst
}

// decodeAppend reads an append into a. The payloads are parts of b, and the array of the entries is used again.
func decodeAppend(b []byte, a *core.Append) error {
	r := wireReader{b: b}
	*a = core.Append{Entries: a.Entries[:0]}
	a.Partition = int(r.uint())
	a.Reign, a.Stint, a.Prev, a.PrevEpoch, a.Commit, a.Ticket = r.uint(), r.uint(), r.uint(), r.uint(), r.uint(), r.uint()
	count := r.uint()
	for i := uint64(0); i < count && !r.bad; i++ {
		e := core.Entry{Seq: a.Prev + 1 + i, Epoch: r.uint(), TimeMs: int64(r.uint()), Payload: r.bytes()}
		a.Entries = append(a.Entries, e)
	}
	return r.end("append")
}

func appendChunk(dst []byte, c *core.Chunk) []byte {
	for _, v := range []uint64{uint64(c.Partition), c.Reign, c.Stint, uint64(c.Walk), c.Seq, uint64(c.TimeMs), c.Ticket} {
		dst = binary.AppendUvarint(dst, v)
	}
	dst = binary.LittleEndian.AppendUint64(dst, uint64(c.Start))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(c.End))
	dst = appendReigns(dst, c.Reigns)
	return appendLengthBytes(dst, c.Data)
}

// decodeChunk reads a chunk; Data is a part of b.
func decodeChunk(b []byte) (c core.Chunk, err error) {
	r := wireReader{b: b}
	c.Partition, c.Reign, c.Stint, c.Walk = int(r.uint()), r.uint(), r.uint(), uint32(r.uint())
	c.Seq, c.TimeMs, c.Ticket = r.uint(), int64(r.uint()), r.uint()
	c.Start, c.End = core.Bound(r.fixed()), core.Bound(r.fixed())
	c.Reigns = r.reigns()
	c.Data = r.bytes()
	return c, r.end("chunk")
}

// ackSizeMax bounds the size of an ack.
func ackSizeMax(a *core.Ack) int { return (9+2*len(a.Position.Reigns))*binary.MaxVarintLen64 + 8 }

func appendAck(dst []byte, a *core.Ack) []byte {
	rejected := uint64(0)
	if a.Rejected {
		rejected = 1
	}
	for _, v := range []uint64{uint64(a.Partition), a.Reign, a.Stint, rejected, a.Ticket, a.Position.Match, a.Position.Applied, uint64(a.Position.Walk)} {
		dst = binary.AppendUvarint(dst, v)
	}
	dst = binary.LittleEndian.AppendUint64(dst, uint64(a.Position.Bound))
	return appendReigns(dst, a.Position.Reigns)
}

func decodeAck(b []byte) (a core.Ack, err error) {
	r := wireReader{b: b}
	a.Partition, a.Reign, a.Stint, a.Rejected, a.Ticket = int(r.uint()), r.uint(), r.uint(), r.uint() == 1, r.uint()
	a.Position.Match, a.Position.Applied, a.Position.Walk = r.uint(), r.uint(), uint32(r.uint())
	a.Position.Bound = core.Bound(r.fixed())
	a.Position.Reigns = r.reigns()
	return a, r.end("ack")
}

// digest is a question for what a copy holds at a sequence number, and the answer.
type digest struct {
	Partition  int
	Epoch, Seq uint64
	// Of an answer:
	Passed bool // the copy is beyond Seq
	Sum    uint64
}

func appendDigest(dst []byte, d *digest) []byte {
	passed := uint64(0)
	if d.Passed {
		passed = 1
	}
	for _, v := range []uint64{uint64(d.Partition), d.Epoch, d.Seq, passed} {
		dst = binary.AppendUvarint(dst, v)
	}
	return binary.LittleEndian.AppendUint64(dst, d.Sum)
}

func decodeDigest(b []byte) (d digest, err error) {
	r := wireReader{b: b}
	d.Partition, d.Epoch, d.Seq, d.Passed, d.Sum = int(r.uint()), r.uint(), r.uint(), r.uint() == 1, r.fixed()
	return d, r.end("digest")
}

func appendReigns(dst []byte, reigns []core.Reign) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(reigns)))
	for _, e := range reigns {
		dst = binary.AppendUvarint(binary.AppendUvarint(dst, e.Epoch), e.First)
	}
	return dst
}

func appendLengthBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// beaconKind tells a beacon's packet from its answer's.
type beaconKind uint8

const (
	beaconAsk    beaconKind = 1
	beaconAnswer beaconKind = 2
)

func appendBeacon(dst []byte, kind beaconKind, sent int64, version uint64) []byte {
	dst = append(dst, byte(kind))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(sent))
	return binary.AppendUvarint(dst, version)
}

func decodeBeacon(b []byte) (kind beaconKind, sent int64, version uint64, err error) {
	r := wireReader{b: b}
	kind, sent, version = beaconKind(r.byte()), int64(r.fixed()), r.uint()
	return kind, sent, version, r.end("beacon")
}

// wireReader decodes; after a failure it returns zeros, and bad stays true.
type wireReader struct {
	b   []byte
	bad bool
}

func (r *wireReader) fail() { r.bad, r.b = true, nil }

func (r *wireReader) byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *wireReader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *wireReader) fixed() uint64 {
	if len(r.b) < 8 {
		r.fail()
		return 0
	}
	v := binary.LittleEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

// bytes is a view.
func (r *wireReader) bytes() []byte {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *wireReader) reigns() (reigns []core.Reign) {
	for n := r.uint(); n > 0 && !r.bad; n-- {
		reigns = append(reigns, core.Reign{Epoch: r.uint(), First: r.uint()})
	}
	return reigns
}

func (r *wireReader) end(what string) error {
	if r.bad || len(r.b) > 0 {
		return fmt.Errorf("%w: %s", errMessage, what)
	}
	return nil
}
