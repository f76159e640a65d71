package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"testing"

	"github.com/neargrid/neargrid/cluster/core"
	"github.com/neargrid/neargrid/protocol"
)

// readMessages reads a stream of frames to its end.
func readMessages(b []byte) (messages []string, err error) {
	in := messageReader{frames: protocol.NewFrameReader(bytes.NewReader(b))}
	for {
		kind, message, err := in.next()
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return messages, nil
		}
		if err != nil {
			return messages, err
		}
		messages = append(messages, fmt.Sprintf("%d %d %x", kind, len(message), message[:min(len(message), 4)]))
	}
}

// TestFrameWriter: what was gathered is read as it was, whatever shares a frame.
func TestFrameWriter(t *testing.T) {
	var w frameWriter
	var want []string
	put := func(kind messageKind, size int) {
		message := bytes.Repeat([]byte{byte(size)}, size)
		want = append(want, fmt.Sprintf("%d %d %x", kind, size, message[:min(size, 4)]))
		if !w.begin(kind, size) {
			w.add(kind, message)
			return
		}
		w.buf = append(w.buf, message...)
		w.end()
	}
	for range 300 {
		put(appendMessage, 100)
	}
	put(ackMessage, 0)
	put(ackMessage, 7)
	put(ackMessage, frameSharedBytes-2)
	put(ackMessage, frameSharedBytes-1)
	put(ackMessage, 3)
	put(chunkMessage, protocol.FrameSizeMax+5)
	put(ackMessage, 9)
	w.flush()
	w.flush()
	got, err := readMessages(w.buf)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("read %d messages of %d, %v:\n%q\n%q", len(got), len(want), err, got, want)
	}
	frames := 0
	for b := w.buf; len(b) > 0; frames++ {
		f, n, _, err := protocol.ParseFrame(b)
		if err != nil {
			t.Fatal(err)
		}
		if f.Flags&manyMessages != 0 && len(f.Payload) > frameSharedBytes {
			t.Errorf("%d bytes share a frame", len(f.Payload))
		}
		b = b[n:]
	}
	if want := 2 + 1 + 1 + 1 + 1 + 2 + 1; frames != want { // 300 appends; two acks; a full frame; one alone; one; a chunk; one
		t.Errorf("%d frames, not %d", frames, want)
	}
}

// TestManyMalformed: a frame of many messages that is none ends the stream, and what comes before is read.
func TestManyMalformed(t *testing.T) {
	many := func(flags uint16, payload ...byte) []byte {
		return protocol.AppendFrame(nil, protocol.Frame{Type: uint8(ackMessage), Flags: flags, Payload: payload})
	}
	for name, c := range map[string]struct {
		frame []byte
		read  int
	}{
		"none":              {many(manyMessages), 0},
		"goes on":           {many(manyMessages|moreFollows, 1, 0, 'a'), 0},
		"longer":            {many(manyMessages, 1, 0, 'a', 2, 0, 'b'), 1},
		"half a length":     {many(manyMessages, 1, 0, 'a', 0), 1},
		"within another":    {append(many(moreFollows, 'a'), many(manyMessages|moreFollows, 9)...), 0},
		"followed by other": {append(many(manyMessages, 1, 0, 'a'), "HTTP/1.1 400 Bad Request\r\n"...), 1},
	} {
		got, err := readMessages(c.frame)
		if err == nil || len(got) != c.read {
			t.Errorf("%s: read %q, %v", name, got, err)
		}
	}
}

// FuzzDataMessage reads any bytes as a Data stream and as its messages: what can be read is encoded as it was read, within the size that is
// said beforehand.
func FuzzDataMessage(f *testing.F) {
	entry := core.Entry{Seq: 5, Epoch: 2, TimeMs: 1, Payload: []byte("payload")}
	f.Add(appendAppend(nil, &core.Append{Partition: 1, Reign: 2, Stint: 3, Prev: 4, PrevEpoch: 2, Entries: []core.Entry{entry}, Commit: 4, Ticket: 9}))
	f.Add(appendAck(nil, &core.Ack{Partition: 1, Rejected: true, Position: core.Position{Match: 1, Reigns: []core.Reign{{Epoch: 1, First: 1}}}}))
	f.Add(protocol.AppendFrame(nil, protocol.Frame{Type: 1, Flags: manyMessages, Payload: []byte{1, 0, 'a', 2, 0, 'b', 'c'}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		eachMessage(b, func(message []byte) { checkDataMessage(t, message) })
	})
}

// eachMessage passes on the messages of a stream of bytes, up to the first that cannot be read; and all the bytes, as one message.
func eachMessage(b []byte, f func(message []byte)) {
	in := messageReader{frames: protocol.NewFrameReader(bytes.NewReader(b))}
	for {
		_, message, err := in.next()
		if err != nil {
			break
		}
		f(message)
	}
	f(b)
}

func checkDataMessage(t *testing.T, b []byte) {
	var a, again core.Append
	if decodeAppend(b, &a) == nil {
		encoded := appendAppend(nil, &a)
		if len(encoded) > appendSizeMax(&a) {
			t.Errorf("%d bytes, and at most %d were said", len(encoded), appendSizeMax(&a))
		}
		if err := decodeAppend(encoded, &again); err != nil || !reflect.DeepEqual(a, again) {
			t.Errorf("%+v\nbecame %+v: %v", a, again, err)
		}
	}
	if ack, err := decodeAck(b); err == nil {
		encoded := appendAck(nil, &ack)
		if len(encoded) > ackSizeMax(&ack) {
			t.Errorf("%d bytes, and at most %d were said", len(encoded), ackSizeMax(&ack))
		}
		if again, err := decodeAck(encoded); err != nil || !reflect.DeepEqual(ack, again) {
			t.Errorf("%+v\nbecame %+v: %v", ack, again, err)
		}
	}
}

// BenchmarkMessages is what 32 appends of one SET each cost at both ends, beside what replicas do with them: with a frame for all, as they
// are sent, and with a frame for each.
func BenchmarkMessages(b *testing.B) {
	m := core.Append{Partition: 77, Reign: 12, Stint: 3, Prev: 100000, PrevEpoch: 12, Commit: 99999, Ticket: 100001}
	m.Entries = []core.Entry{{Seq: 100001, Epoch: 12, TimeMs: 1700000000000, Payload: make([]byte, 110)}}
	const count = 32
	for _, shared := range []bool{true, false} {
		b.Run(fmt.Sprintf("shared=%v", shared), func(b *testing.B) {
			b.ReportAllocs()
			var w frameWriter
			var scratch []byte
			var stream bytes.Reader
			in := messageReader{frames: protocol.NewFrameReaderSize(&stream, streamReadBytes)}
			var got core.Append
			for b.Loop() {
				w.buf = w.buf[:0]
				for range count {
					if shared && w.begin(appendMessage, appendSizeMax(&m)) {
						w.buf = appendAppend(w.buf, &m)
						w.end()
						continue
					}
					scratch = appendAppend(scratch[:0], &m)
					w.add(appendMessage, scratch)
				}
				w.flush()
				stream.Reset(w.buf)
				for range count {
					_, message, err := in.next()
					if err == nil {
						err = decodeAppend(message, &got)
					}
					if err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
